"""Rules by address and by name: what they have in common, and where a proxy's clients may go.

An entry of a rule is an address, a network (10.0.0.0/8), a range (10.0.0.1-10.0.0.20,
or nmap's 10.0.0.1-20), or a name.  An IPv4 address that comes in IPv6's clothes,
::ffff:10.0.0.1, is the IPv4 address, in entries as in what is compared with them; so
::/0 is IPv6 alone.  The scope of fe80::1%eth0 is nothing to a rule.

What cannot be read raises ValueError with words that go behind "... is".
"""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from pync.address import PORT_RANGE, port_range

# An address as it is compared: its IP version and its number.  A span is all from one to another.
Point: TypeAlias = tuple[int, int]
Span: TypeAlias = tuple[Point, Point]
IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Its last label has more than digits, or it would be a mistaken address.
NAME = re.compile(r"(?:[\w-]+\.)*(?=[\w-]*[^\W\d])[\w-]+\.?")
ANY_PORT = (range(1 << 16),)


def read_span(entry: str) -> Span | None:
    """The addresses of an entry; None for a name."""
    if address := read_address(entry):
        return span(address, address)
    low, dash, high = entry.partition("-")
    if "/" in entry:
        return read_network(entry)
    if dash and (first := read_address(low)):
        last = read_address(high) or read_address(f"{low.rpartition('.')[0]}.{high}")
        if last is None:
            raise ValueError("not a range such as 10.0.0.1-10.0.0.20 or 10.0.0.1-20")
        return span(first, last)
    if not NAME.fullmatch(entry):
        raise ValueError("neither an address, a network, a range nor the name of a host")
    return None


def read_address(text: str) -> IP | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def read_network(text: str) -> Span:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("not a network such as 10.0.0.0/8 or fd00::/8") from None
    return span(network[0], network[-1])


def span(first: IP, last: IP) -> Span:
    low, high = point(first), point(last)
    if low[0] != high[0]:  # more than IPv4's addresses in IPv6's clothes, or a mistake
        low, high = (first.version, int(first)), (last.version, int(last))
    if low[0] != high[0]:
        raise ValueError("a range from one family to another")
    if low > high:
        raise ValueError("a range that ends before it begins")
    return low, high


def point(address: IP) -> Point:
    address = getattr(address, "ipv4_mapped", None) or address
    return address.version, int(address)


class Addresses:
    """A set of addresses, in which one is found quickly however many rules made it."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._lows: list[Point] = []
        self._highs: list[Point] = []
        for low, high in sorted(spans):
            if self._highs and low <= self._highs[-1]:
                self._highs[-1] = max(high, self._highs[-1])
            else:
                self._lows.append(low)
                self._highs.append(high)

    def __contains__(self, host: str) -> bool:
        """Whether `host`, a number, is among them."""
        address = read_address(host)
        if address is None:
            return False
        where = point(address)
        before = bisect_right(self._lows, where)
        return before > 0 and where <= self._highs[before - 1]


# --- targets ---


class ByAddress(NamedTuple):
    """Is about where a connection really goes, so that no name leads around it."""

    addresses: Addresses

    def could_mean(self, host: str) -> bool:
        return read_address(host) is None or host in self.addresses

    def means(self, host: str, address: str) -> bool:  # noqa: ARG002
        return address in self.addresses


class ByName(NamedTuple):
    """Is about what was asked for, wherever that leads.  pattern: NAME, *.NAME or *."""

    pattern: str

    def could_mean(self, host: str) -> bool:
        if self.pattern == "*":
            return True
        name = canonical(host)
        if self.pattern[0] == "*":
            return name.endswith(self.pattern[1:]) and bool(NAME.fullmatch(name))
        return name == self.pattern

    def means(self, host: str, address: str) -> bool:  # noqa: ARG002
        return self.could_mean(host)


class TargetRule(NamedTuple):
    """A place that a proxy's clients may go to."""

    place: ByAddress | ByName
    ports: tuple[range, ...]

    def has(self, port: int) -> bool:
        return any(port in some for some in self.ports)


class TargetRules:
    """Where a proxy's clients may go: where one of `rules` leads; without any, anywhere."""

    def __init__(self, rules: Sequence[TargetRule]) -> None:
        self._rules = rules

    def may_ask_for(self, host: str, port: int) -> bool:
        """Whether `host`, as it was asked for, may be looked up: some address could do."""
        return not self._rules or any(place.could_mean(host) for place in self._places(port))

    def may_reach(self, host: str, port: int, address: str) -> bool:
        """Whether a connection may go to `address`, a number that was found for `host`."""
        return not self._rules or any(place.means(host, address) for place in self._places(port))

    def _places(self, port: int) -> Iterator[ByAddress | ByName]:
        return (rule.place for rule in self._rules if rule.has(port))


def read_target(text: str) -> TargetRule:
    """A rule as in 10.0.0.0/8, example.com:443, *.example.com:80,8000-8100 or [::1]:1-1023."""
    match = re.fullmatch(r"(?:\[([^]]+)\]|([^:]+))(?::([^:]+))?", text)
    host, ports = (match[1] or match[2], match[3]) if match else (text, None)
    if not match:
        check_unambiguous(text)
    among = ANY_PORT if ports is None else tuple(map(read_ports, ports.split(",")))
    if host == "*" or (host[:2] == "*." and NAME.fullmatch(host[2:])):
        return TargetRule(ByName(canonical(host)), among)
    found = read_span(host)
    return TargetRule(ByAddress(Addresses([found])) if found else ByName(canonical(host)), among)


def check_unambiguous(text: str) -> None:
    """Raise ValueError for addresses of IPv6 whose last part could be a port."""
    host, _, ports = text.rpartition(":")
    if has_addresses(host) and PORT_RANGE.fullmatch(ports.partition(",")[0]):
        meanings = [f"[{host}]:{ports}", *([f"[{text}]"] if has_addresses(text) else [])]
        raise ValueError(f"not clear without brackets: {' or '.join(meanings)}")


def has_addresses(entry: str) -> bool:
    """Whether it is an address, a network or a range."""
    try:
        return read_span(entry) is not None
    except ValueError:
        return False


def read_ports(text: str) -> range:
    try:
        return port_range(text)
    except ValueError:
        told = "not a rule with ports such as 80, 80,443, 8000-8100, 1- or -1024"
        raise ValueError(told) from None


def canonical(name: str) -> str:
    """A name as it is compared: an international one as the DNS has it."""
    if not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("idna").decode()
    return name.lower().removesuffix(".")
