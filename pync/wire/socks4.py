"""SOCKS4, in both roles, with what 4a adds.

Ying-Da Lee: "SOCKS: A protocol for TCP proxy across firewalls", and "SOCKS 4A: A
Simple Extension to SOCKS 4 Protocol".  The client asks in one message, the proxy
answers in one of eight bytes.  In 4a an address that nobody has, 0.0.0.1 to
0.0.0.255, says that a name follows.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from pync.errors import ProtocolError, UsageError
from pync.wire.dialogue import Reading, exactly
from pync.wire.socks import (
    NOWHERE,
    SHOWN_ANSWER,
    SHOWN_REQUEST,
    Command,
    Request,
    SocksClient,
    SocksServer,
    credential,
    credential_text,
    expect,
    host_field,
    host_text,
    literal,
    number,
    port_field,
    terminated,
)

VERSION = 4
ANSWER_VERSION = 0
GRANTED, REJECTED = 90, 91
REFUSALS = {
    REJECTED: "request rejected or failed",
    92: "it cannot connect to identd on the client",
    93: "identd on the client says another user",
}
NAME_FOLLOWS = bytes([0, 0, 0, 1])


class Socks4(SocksClient):
    """The client: asks the proxy to connect to host:port.

    peer: the proxy as messages name it.  user: empty for none.
    Raises UsageError for what SOCKS4 cannot say.
    """

    def __init__(self, peer: str, host: str, port: int, user: str = "") -> None:
        request = connect_request(host, port, user)
        super().__init__("SOCKS4", peer, f"connect to {host} port {port}", self._ask(request))

    def _ask(self, request: bytes) -> Reading[None]:
        self._say(request)
        yield from expect(ANSWER_VERSION, shown=SHOWN_ANSWER)
        code = yield from number(1)
        if code != GRANTED:
            raise self._refused(REFUSALS.get(code, f"code {code}"))
        yield exactly(6)  # a port and an address, which mean nothing here


class Socks4Server(SocksServer):
    """The server."""

    def __init__(self) -> None:
        super().__init__("SOCKS4", self._listen())

    def grant(self, bound_host: str = NOWHERE, bound_port: int = 0) -> None:
        """Say that the tunnel stands, and where this side of it is bound."""
        self._grant(answer(GRANTED, bound_host, bound_port))

    def refuse(self, code: int = REJECTED, _why: str = "") -> None:
        """Say that there will be no tunnel.  code: of REFUSALS."""
        self._refuse(answer(code))

    def _listen(self) -> Reading[None]:
        yield from expect(VERSION, shown=SHOWN_REQUEST)
        self.request = yield from self._or_refuse(answer(REJECTED), read_request())


def connect_request(host: str, port: int, user: str) -> bytes:
    head = bytes([VERSION, Command.CONNECT]) + port_field(port)
    user_field = credential(user, "the user's name") + b"\0"
    address = literal(host)
    if address and address.version == 6:
        raise UsageError(f"SOCKS4 has no IPv6 and cannot reach {host}; SOCKS5 can")
    if address and not name_follows(address.packed):
        return head + address.packed + user_field
    return head + NAME_FOLLOWS + user_field + host_field(host) + b"\0"


def name_follows(packed: bytes) -> bool:
    """Whether that is no address but says that a name follows."""
    return packed[:3] == bytes(3) and packed[3] != 0


def read_request() -> Reading[Request]:
    """All behind the version."""
    command = yield from number(1)
    target_port = yield from number(2)
    packed = yield exactly(4)
    user = yield from terminated()
    name = (yield from terminated()) if name_follows(packed) else b""
    if command != Command.CONNECT:
        raise ProtocolError(f"it wants command {command}, and connecting is all there is")
    host = host_text(name) if name_follows(packed) else str(IPv4Address(packed))
    return Request(Command.CONNECT, host, target_port, credential_text(user, "the user's name"))


def answer(code: int, bound_host: str = NOWHERE, bound_port: int = 0) -> bytes:
    address = literal(bound_host)
    packed = address.packed if address and address.version == 4 else bytes(4)
    return bytes([ANSWER_VERSION, code]) + port_field(bound_port) + packed
