"""SOCKS5 (RFC 1928), in both roles, with users and passwords (RFC 1929).

The client says how it could prove who it is, and the proxy chooses; the proof, if
there is one, is answered; then the client asks for a connection, or for a relay
of datagrams, which lasts as long as this connection does.  Reserved bytes are sent
as zero and not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from pync.errors import ProtocolError
from pync.wire.dialogue import Check, Reading, exactly, parse
from pync.wire.socks import (
    NOWHERE,
    SHOWN_ANSWER,
    SHOWN_REQUEST,
    Command,
    Request,
    SocksClient,
    SocksServer,
    counted,
    credential,
    credential_text,
    expect,
    host_field,
    host_text,
    literal,
    number,
    port_field,
)

VERSION = 5
NO_PROOF, PASSWORD, NO_METHOD = 0x00, 0x02, 0xFF
PASSWORD_VERSION = 1
ACCEPTED, DENIED = bytes([PASSWORD_VERSION, 0]), bytes([PASSWORD_VERSION, 1])


class Reply(IntEnum):
    """What became of a request (RFC 1928 section 6)."""

    SUCCEEDED = 0
    FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


REFUSALS: Mapping[int, str] = {
    Reply.FAILURE: "general SOCKS server failure",
    Reply.NOT_ALLOWED: "connection not allowed by ruleset",
    Reply.NETWORK_UNREACHABLE: "network unreachable",
    Reply.HOST_UNREACHABLE: "host unreachable",
    Reply.CONNECTION_REFUSED: "connection refused",
    Reply.TTL_EXPIRED: "TTL expired",
    Reply.COMMAND_NOT_SUPPORTED: "command not supported",
    Reply.ADDRESS_TYPE_NOT_SUPPORTED: "address type not supported",
}

CLOSED = "it lets nobody in without a user and a password; --proxy-auth gives them"
# What a client is told of the method that the proxy chose, and whether it has a password.
UNUSABLE = {
    (PASSWORD, False): CLOSED,
    (NO_METHOD, False): CLOSED,
    (NO_METHOD, True): "it wants another proof than a user and a password",
}


class Place(NamedTuple):
    host: str
    port: int


class Socks5(SocksClient):
    """The client: asks the proxy to connect to host:port.

    peer: the proxy as messages name it.  user: None if there is none to be told.
    command: UDP_ASSOCIATE asks for a relay of the datagrams that will come from
    host:port, zeros if that is unknown.
    bound: once established, the proxy's side of the tunnel, or where it relays datagrams;
    a host of zeros is the proxy's own.
    Raises UsageError for what SOCKS5 cannot say.
    """

    def __init__(
        self,
        peer: str,
        host: str,
        port: int,
        user: str | None = None,
        password: str = "",
        command: Command = Command.CONNECT,
    ) -> None:
        self.bound = Place(NOWHERE, 0)
        self._user = user
        proof = b"" if user is None else password_message(user, password)
        request = bytes([VERSION, command, 0]) + place_field(host, port)
        relays = command == Command.UDP_ASSOCIATE
        wanted = "relay datagrams" if relays else f"connect to {host} port {port}"
        super().__init__("SOCKS5", peer, wanted, self._ask(proof, request))

    def _ask(self, proof: bytes, request: bytes) -> Reading[None]:
        yield from self._enter(proof)
        self._say(request)
        yield from expect(VERSION)
        code = yield from number(1)
        if code != Reply.SUCCEEDED:
            raise self._refused(REFUSALS.get(code, f"code {code}"))
        _reserved, kind = yield exactly(2)
        self.bound = yield from place(kind)

    def _enter(self, proof: bytes) -> Reading[None]:
        methods = bytes([NO_PROOF, PASSWORD]) if proof else bytes([NO_PROOF])
        self._say(bytes([VERSION, len(methods)]) + methods)
        yield from expect(VERSION, shown=SHOWN_ANSWER)
        method = yield from number(1)
        if method not in methods:
            unoffered = f"it chose method {method}, which was not offered"
            raise ProtocolError(UNUSABLE.get((method, bool(proof)), unoffered))
        if method == PASSWORD:
            yield from self._prove(proof)

    def _prove(self, proof: bytes) -> Reading[None]:
        self._say(proof)
        yield from expect(PASSWORD_VERSION, VERSION)  # many servers answer with the latter
        if (yield from number(1)) != 0:
            raise ProtocolError(f"it does not accept user {self._user!r} with this password")


class Socks5Server(SocksServer):
    """The server.

    check: tells whether a user has a password; without it nobody is asked.  A request is
    to CONNECT or for UDP_ASSOCIATE.
    """

    def __init__(self, check: Check | None = None) -> None:
        self._check = check
        super().__init__("SOCKS5", self._listen())

    def grant(self, bound_host: str = NOWHERE, bound_port: int = 0) -> None:
        """Say that the tunnel stands, and where this side of it is bound, or takes datagrams."""
        self._grant(answer(Reply.SUCCEEDED, bound_host, bound_port))

    def refuse(self, code: int = Reply.FAILURE, _why: str = "") -> None:
        """Say that there will be no tunnel.  code: a Reply."""
        self._refuse(answer(code))

    def _listen(self) -> Reading[None]:
        user = yield from self._admit()
        yield from expect(VERSION)
        command, _reserved, kind = yield exactly(3)
        if kind not in HOSTS:
            words = answer(Reply.ADDRESS_TYPE_NOT_SUPPORTED)
            raise self._turned_away(words, unknown_kind(kind))
        target = yield from self._or_refuse(answer(Reply.FAILURE), place(kind))
        if command not in (Command.CONNECT, Command.UDP_ASSOCIATE):
            words = answer(Reply.COMMAND_NOT_SUPPORTED)
            raise self._turned_away(words, f"it wants command {command}, which is not supported")
        self.request = Request(Command(command), *target, user)

    def _admit(self) -> Reading[str]:
        """The user, if anybody must say who it is."""
        yield from expect(VERSION, shown=SHOWN_REQUEST)
        offered = yield from counted()
        method = PASSWORD if self._check else NO_PROOF
        if method not in offered:
            words = bytes([VERSION, NO_METHOD])
            raise self._turned_away(words, "it does not offer the method that is wanted")
        self._say(bytes([VERSION, method]))
        return (yield from self._identify(self._check)) if self._check else ""

    def _identify(self, check: Check) -> Reading[str]:
        user, password = yield from self._or_refuse(DENIED, read_password())
        if not check(user, password):
            raise self._turned_away(DENIED, f"wrong password, or no such user: {user!r}")
        self._say(ACCEPTED)
        return user


def password_message(user: str, password: str) -> bytes:
    """RFC 1929 section 2."""
    fields = credential(user, "the user's name"), credential(password, "the password")
    return bytes([PASSWORD_VERSION]) + b"".join(bytes([len(f)]) + f for f in fields)


def read_password() -> Reading[tuple[str, str]]:
    yield from expect(PASSWORD_VERSION)
    user = yield from counted()
    password = yield from counted()
    return credential_text(user, "the user's name"), credential_text(password, "the password")


def answer(code: int, bound_host: str = NOWHERE, bound_port: int = 0) -> bytes:
    return bytes([VERSION, code, 0]) + place_field(bound_host.partition("%")[0], bound_port)


# --- addresses: RFC 1928 section 5 ---

IPV4, NAME, IPV6 = 1, 3, 4
KINDS = {4: IPV4, 6: IPV6}


def ipv4() -> Reading[str]:
    return str(IPv4Address((yield exactly(4))))


def ipv6() -> Reading[str]:
    return str(IPv6Address((yield exactly(16))))


def name() -> Reading[str]:
    return host_text((yield from counted()))


HOSTS = {IPV4: ipv4, NAME: name, IPV6: ipv6}


def place(kind: int) -> Reading[Place]:
    """What follows after the kind of an address.  Raises ProtocolError."""
    if kind not in HOSTS:
        raise ProtocolError(unknown_kind(kind))
    host = yield from HOSTS[kind]()
    return Place(host, (yield from number(2)))


def unknown_kind(kind: int) -> str:
    return f"it gives an address of type {kind}, which does not exist"


def place_field(host: str, port: int) -> bytes:
    """The kind of an address and the address.  Raises UsageError for a bad name."""
    address = literal(host)
    if address:
        return bytes([KINDS[address.version]]) + address.packed + port_field(port)
    field = host_field(host)
    return bytes([NAME, len(field)]) + field + port_field(port)


# --- datagrams on their way to the relay and from it: RFC 1928 section 7 ---


class Datagram(NamedTuple):
    """host, port: where it goes to, or came from."""

    host: str
    port: int
    data: bytes


def wrap(host: str, port: int, data: bytes) -> bytes:
    """The datagram that carries `data`.  Raises UsageError for a bad name."""
    return bytes(3) + place_field(host, port) + data


def unwrap(datagram: bytes) -> Datagram:
    """What a datagram carries.  Raises ProtocolError, also for a fragment."""
    try:
        origin, data = parse(datagram_header(), datagram)
    except ProtocolError as error:
        raise ProtocolError(f"cannot take a SOCKS5 datagram: {error}") from None
    return Datagram(*origin, data)


def datagram_header() -> Reading[Place]:
    _reserved, _reserved, fragment, kind = yield exactly(4)
    if fragment:
        raise ProtocolError("it is a fragment")
    return (yield from place(kind))
