"""Who the peer of a TLS connection says it is."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from pync.address import printable

SHORT = {  # RFC 4514, section 3
    "commonName": "CN", "countryName": "C", "localityName": "L", "stateOrProvinceName": "ST",
    "organizationName": "O", "organizationalUnitName": "OU", "domainComponent": "DC",
}  # fmt: skip


SHOWN = 5  # names of hosts, of those in one certificate


class Certificate(NamedTuple):
    """What a person wants to know of one, escaped: it is the peer who wrote it.

    subject, issuer: as in `CN=localhost, O=pync`.  names: the hosts that it is for.
    begins, ends: as in `Nov 24 23:41:45 2026 GMT`.  fingerprint: `sha256:` and 64
    hexadecimal digits.
    """

    subject: str
    issuer: str
    names: str
    begins: str
    ends: str
    fingerprint: str

    @property
    def current(self) -> bool:
        """Whether this is neither before nor after its time."""
        try:
            begins, ends = map(ssl.cert_time_to_seconds, (self.begins, self.ends))
        except ValueError:
            return False
        return begins <= time.time() <= ends


def fingerprint(der: bytes) -> str:
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def peer_certificate(tls: ssl.SSLObject) -> Certificate | None:
    """The peer's certificate, also where it has just been refused, or None if it sent none.

    getpeercert knows only those that were accepted.  This one is public from Python
    3.13 on (SSLObject.get_unverified_chain), and as old as 3.10.
    """
    chain = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    if not chain:
        return None
    der = ssl.PEM_cert_to_DER_cert(chain[0].public_bytes())
    texts = (*contents(chain[0]), fingerprint(der))
    forget_errors(tls)
    return Certificate(*map(printable, texts))


def forget_errors(tls: ssl.SSLObject) -> None:
    """Empty OpenSSL's queue of errors.

    What ssl leaves there when it passes over a part that cannot be read would be taken for
    the next connection's failing.  It has no call for this, but a new object begins with it.
    """
    tls.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), tls.server_side)


def contents(certificate: Any) -> Sequence[str]:
    """What stands in one, as the fields of Certificate have it."""
    try:
        found = certificate.get_info()
    except (ValueError, ssl.SSLError):  # text that is not UTF-8, where it has to be
        return ("(unreadable)",) * 5
    return (
        distinguished(found["subject"]),
        distinguished(found["issuer"]),
        hosts(found),
        found["notBefore"],
        found["notAfter"],
    )


def hosts(found: Any) -> str:
    """What a certificate is for: its subject's name where no other is given."""
    names = [name for _, name in found.get("subjectAltName", ())]
    names = names or [value for kind, value in pairs(found["subject"]) if kind == "commonName"]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "no host") + more


def distinguished(name: Any) -> str:
    """A distinguished name as text."""
    return ", ".join(f"{SHORT.get(kind, kind)}={value}" for kind, value in pairs(name)) or "nobody"


def pairs(name: Any) -> list[tuple[str, str]]:
    """A distinguished name's parts, which ssl has in tuples of tuples."""
    return [pair for relative in name for pair in relative]


def describe(tls: ssl.SSLObject) -> tuple[str, ...]:
    """What was agreed on, and who the peer is, in a line each."""
    cipher = tls.cipher()
    alpn = tls.selected_alpn_protocol()
    agreed = [tls.version(), cipher and cipher[0], alpn and f"ALPN {alpn}"]
    lines = [f"TLS: {', '.join(filter(None, agreed))}"]
    if peer := peer_certificate(tls):
        lines.append(
            f"TLS: certificate of {peer.subject}, issued by {peer.issuer}, "
            f"valid from {peer.begins} to {peer.ends}, {peer.fingerprint}"
        )
    return tuple(lines)


def words(reason: str) -> str:
    """OpenSSL's name of an error as words."""
    return reason.replace("_", " ").lower()
