"""HAProxy's PROXY protocol: what a relay says first, of whom it connects for.

The specification is proxy-protocol.txt, which comes with HAProxy; its sections stand below.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"  # section 2.2
PROXY = 0x21  # version 2, and a connection that is made for somebody else
INET, INET6, UNIX = 0x11, 0x21, 0x31  # the family, and a stream of it
UNIX_PATH = 108  # bytes

Addresses = tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address]


class Connection(NamedTuple):
    """A client's: from its host and port to ours.

    As numbers; an IPv6 address may have its scope behind it, which is told to nobody.
    """

    source: tuple[str, int]
    destination: tuple[str, int]

    @property
    def ports(self) -> tuple[int, int]:
        return self.source[1], self.destination[1]

    @property
    def addresses(self) -> Addresses:
        """Of one family: an IPv4 address stands in IPv6 beside one of that (RFC 4291, 2.5.5.2)."""
        one, other = (ip_address(host.partition("%")[0]) for host, _ in self)
        if isinstance(one, IPv4Address) and isinstance(other, IPv4Address):
            return one, other
        return as_ipv6(one), as_ipv6(other)


def as_ipv6(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if address.version == 6 else IPv6Address(f"::ffff:{address}")


def version_1(connection: Connection | None, path: str = "") -> bytes:  # noqa: ARG001
    """The line in words (section 2.1), which knows no unix sockets."""
    if connection is None:
        return b"PROXY UNKNOWN\r\n"
    one, other = connection.addresses
    family = "TCP4" if one.version == 4 else "TCP6"
    return "PROXY {} {} {} {} {}\r\n".format(family, one, other, *connection.ports).encode()


def version_2(connection: Connection | None, path: str = "") -> bytes:
    """The same in bytes (section 2.2).  path: of our unix socket, where there is no connection."""
    if connection is None:
        name = path.encode("utf-8", "surrogateescape")
        if name.startswith(b"@"):
            name = b"\0" + name[1:]
        return frame(UNIX, bytes(UNIX_PATH) + name.ljust(UNIX_PATH, b"\0"))
    one, other = connection.addresses
    ports = b"".join(port.to_bytes(2, "big") for port in connection.ports)
    return frame(INET if one.version == 4 else INET6, one.packed + other.packed + ports)


def frame(family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes([PROXY, family]) + len(block).to_bytes(2, "big") + block


VERSIONS: dict[int, Callable[[Connection | None, str], bytes]] = {1: version_1, 2: version_2}


class Announcement:
    """A dialogue (see stage.Dialogue) in which only we say something."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    @property
    def established(self) -> bool:
        return not self._words

    def receive(self, data: bytes | memoryview) -> None:
        raise NotImplementedError  # it is over before anybody listens

    def receive_end(self) -> None:
        raise NotImplementedError

    def data_to_send(self, limit: int) -> bytes:
        words, self._words = self._words[:limit], self._words[limit:]
        return words
