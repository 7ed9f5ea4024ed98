"""Who a client of a proxy is: Basic (RFC 7617) and Digest (RFC 7616, and RFC 2069 without qop).

Everything is bytes but the names of schemes and parameters: what a proxy says
goes back to it as it came.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import NamedTuple

from pync.address import has_controls
from pync.errors import UsageError, WantsNewConnection

TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
END = rb"[ \t]*(?:,|$)"
# RFC 9110 section 11.6.1: challenges are separated by commas, and so are the parameters of one.
PARAMETER = re.compile(rb"(%b)[ \t]*=[ \t]*(?:(%b)|\"((?:[^\"\\]|\\.)*)\")%b" % (TOKEN, TOKEN, END))
SCHEME = re.compile(rb"(%b)(?:[ \t]+|%b)" % (TOKEN, END))
TOKEN68 = re.compile(rb"[-._~+/0-9A-Za-z]+=*%b" % END)
NOTHING = re.compile(rb"[ \t,]*")


class Hash(NamedTuple):
    """session: whether the secret is hashed again, with both sides' nonces."""

    name: str
    session: bool


ALGORITHMS = {  # the strongest first
    b"sha-256": Hash("sha256", session=False),
    b"sha-256-sess": Hash("sha256", session=True),
    b"md5": Hash("md5", session=False),
    b"md5-sess": Hash("md5", session=True),
}
FIRST_USE = b"00000001"  # of a nonce: none is used twice


class Credentials(NamedTuple):
    """Who a client says it is."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.user!r}, ...)"


class Challenge(NamedTuple):
    """How a proxy wants to be told.  scheme, and the names of parameters, in lower case."""

    scheme: str
    parameters: dict[str, bytes]

    @property
    def algorithm(self) -> bytes:
        return self.parameters.get("algorithm", b"md5").lower()

    @property
    def stale(self) -> bool:
        """Whether only the nonce was wrong."""
        return self.parameters.get("stale", b"").lower() == b"true"


class AuthenticationNeeded(WantsNewConnection):
    """The proxy closes the connection on which it asked for credentials.

    challenge: what a second connection can begin with the answer to.
    """

    def __init__(self, message: str, challenge: Challenge) -> None:
        super().__init__(message)
        self.challenge = challenge


def check_credentials(credentials: Credentials) -> None:
    """Raise UsageError for what Basic cannot carry (RFC 7617 section 2).  Spaces it can."""
    if ":" in credentials.user:
        raise UsageError("the name of a proxy's user cannot have a colon in it")
    for text in credentials:
        if has_controls(text) or not encodable(text):
            raise UsageError("the user or the password for a proxy cannot be sent: not plain text")


def encodable(text: str) -> bool:
    try:
        encoded(text)
    except UnicodeError:
        return False
    return True


def encoded(text: str) -> bytes:
    """In UTF-8, but an argument that was none goes out as it came."""
    return text.encode("utf-8", "surrogateescape")


# --- the client ---


def read_challenges(values: Iterable[bytes]) -> list[Challenge]:
    """All that these values of Proxy-Authenticate offer; what makes no sense is left out."""
    challenges: list[Challenge] = []
    for value in values:
        challenges += read_value(value)
    return challenges


def read_value(value: bytes) -> list[Challenge]:
    challenges: list[Challenge] = []
    place = end(NOTHING.match(value))
    while place < len(value):
        parameter = PARAMETER.match(value, place)
        scheme = SCHEME.match(value, place)
        if parameter and challenges:
            name, token, quoted = parameter.groups(b"")
            content = token or re.sub(rb"\\(.)", rb"\1", quoted)
            challenges[-1].parameters.setdefault(name.decode().lower(), content)
        elif scheme:
            challenges.append(Challenge(scheme[1].decode().lower(), {}))
        match = parameter or scheme or TOKEN68.match(value, place)
        if not match:
            break
        place = end(NOTHING.match(value, match.end()))
    return challenges


def end(match: re.Match[bytes] | None) -> int:
    return match.end() if match else 0


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """The best of those that can be answered."""
    offered = [challenge for challenge in challenges if answerable(challenge)]
    return min(offered, key=rank, default=None)


def answerable(challenge: Challenge) -> bool:
    if challenge.scheme != "digest":
        return challenge.scheme == "basic"
    algorithm = ALGORITHMS.get(challenge.algorithm)
    qop = challenge.parameters.get("qop")
    if not algorithm or not {"realm", "nonce"} <= challenge.parameters.keys():
        return False
    if qop is None:
        return not algorithm.session
    return b"auth" in [word.strip() for word in qop.lower().split(b",")]


def rank(challenge: Challenge) -> int:
    if challenge.scheme == "basic":
        return len(ALGORITHMS)
    return list(ALGORITHMS).index(challenge.algorithm)


def answer(
    challenge: Challenge,
    credentials: Credentials,
    method: bytes,
    target: bytes,
    client_nonce: bytes = b"",
) -> bytes:
    """The value of Proxy-Authorization.

    client_nonce: for Digest; a fresh one if there is none.
    """
    user, password = map(encoded, credentials)
    if challenge.scheme == "basic":
        return b"Basic " + base64.b64encode(b"%b:%b" % (user, password))
    given = challenge.parameters
    protection = [FIRST_USE, client_nonce or fresh_nonce(), b"auth"] if "qop" in given else []
    response = digest(challenge, (user, given["realm"], password), (method, target), protection)
    fields = [
        b"username=%b, realm=%b" % (quoted(user), quoted(given["realm"])),
        b"nonce=%b, uri=%b" % (quoted(given["nonce"]), quoted(target)),
        b"response=%b" % quoted(response),
    ]
    if "algorithm" in given:
        fields.append(b"algorithm=%b" % given["algorithm"])
    if "opaque" in given:
        fields.append(b"opaque=%b" % quoted(given["opaque"]))
    if protection:
        count, client_nonce, qop = protection
        fields.append(b"nc=%b, cnonce=%b, qop=%b" % (count, quoted(client_nonce), qop))
    return b"Digest " + b", ".join(fields)


def digest(
    challenge: Challenge,
    secret: tuple[bytes, ...],
    request: tuple[bytes, ...],
    protection: list[bytes],
) -> bytes:
    """RFC 7616 section 3.4.1; without qop, and so without protection, RFC 2069 section 2.1.2."""
    import hashlib

    algorithm = ALGORITHMS[challenge.algorithm]
    nonce = challenge.parameters["nonce"]

    def hashed(*parts: bytes) -> bytes:
        text = b":".join(parts)
        return hashlib.new(algorithm.name, text, usedforsecurity=False).hexdigest().encode()

    key = hashed(*secret)
    if algorithm.session:
        _count, client_nonce, _qop = protection
        key = hashed(key, nonce, client_nonce)
    return hashed(key, nonce, *protection, hashed(*request))


def fresh_nonce() -> bytes:
    import secrets

    return secrets.token_urlsafe(24).encode()


def quoted(content: bytes) -> bytes:
    return b'"%b"' % re.sub(rb'(["\\])', rb"\\\1", content)


# --- the proxy ---

DEMAND = b'Basic realm="pync", charset="UTF-8"'


def read_basic(value: bytes) -> Credentials | None:
    """The credentials that a value of Proxy-Authorization holds; None: it holds none."""
    scheme, _, text = value.partition(b" ")
    try:
        user, colon, password = base64.b64decode(text.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    if scheme.lower() != b"basic" or not colon:
        return None
    return Credentials(decoded(user), decoded(password))


def decoded(text: bytes) -> str:
    """As arguments are decoded, so that the two can be compared."""
    return text.decode("utf-8", "surrogateescape")
