"""What rules by address and by name mean, and where a proxy's clients may go, as tables."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.access import ANY_PORT, Addresses, TargetRules, read_span, read_target

# --- entries ---


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("10.0.0.1", "10.0.0.1 ::ffff:10.0.0.1 ::ffff:a00:1", "10.0.0.2 ::10.0.0.1 ::1"),
        ("::ffff:10.0.0.1", "10.0.0.1 ::ffff:10.0.0.1", "10.0.0.2 ::10.0.0.1"),
        ("10.0.0.0/30", "10.0.0.0 10.0.0.3", "9.255.255.255 10.0.0.4"),
        ("10.0.0.2/30", "10.0.0.0 10.0.0.3", "9.255.255.255 10.0.0.4"),
        ("10.0.0.0/255.255.255.0", "10.0.0.0 10.0.0.255", "10.0.1.0"),
        ("::ffff:10.0.0.0/126", "10.0.0.3 ::ffff:10.0.0.3", "10.0.0.4"),
        ("0.0.0.0/0", "0.0.0.0 255.255.255.255 ::ffff:1.2.3.4", ":: ::1 fe80::1"),
        ("::/0", ":: ::1 fe80::1%eth0 ffff::", "1.2.3.4 ::ffff:1.2.3.4"),
        ("::fffe:0:0/95", "::fffe:0:1", "0.0.0.1 ::ffff:0.0.0.1"),
        ("10.0.0.1-10.0.1.1", "10.0.0.1 10.0.0.255 10.0.1.1", "10.0.0.0 10.0.1.2"),
        ("10.0.0.1-20", "10.0.0.1 10.0.0.20", "10.0.0.0 10.0.0.21"),
        ("10.0.0.1-::ffff:10.0.0.3", "10.0.0.3", "10.0.0.4 ::3"),
        ("10.0.0.1-1", "10.0.0.1", "10.0.0.2"),
        ("::1-::5", "::1 ::5", ":: ::6"),
        ("fe80::1", "fe80::1 fe80::1%eth0 fe80::1%2", "fe80::2%eth0"),
        ("fe80::1%eth-0", "fe80::1 fe80::1%wlan0", "fe80::2"),
        ("fe80::/10", "fe80::1%eth0", "fec0::1"),
        ("::1", "::1 0:0:0:0:0:0:0:1", "127.0.0.1"),
    ],
)
def test_an_entry_has_these_addresses(entry: str, inside: str, outside: str) -> None:
    span = read_span(entry)
    assert span
    addresses = Addresses([span])
    assert [host for host in inside.split() if host not in addresses] == []
    assert [host for host in outside.split() if host in addresses] == []


@pytest.mark.parametrize(
    "name", ["localhost", "a", "a.test", "a.test.", "1.a", "my-host-2", "10-0-0-1.test", "bücher"]
)
def test_a_name_is_no_address(name: str) -> None:
    assert read_span(name) is None


NEITHER = "neither an address, a network, a range nor the name of a host"
NO_NETWORK = r"not a network such as 10\.0\.0\.0/8 or fd00::/8"
NO_RANGE = r"not a range such as 10\.0\.0\.1-10\.0\.0\.20 or 10\.0\.0\.1-20"


MISTAKEN = {
    NEITHER: (
        *("", "10", "10.0.0", "10.0.0.256", "010.0.0.1", "192.168.0-1.7", "10.0.0.1:80"),
        *("::g", "[::1]", "a b", "a..b", ".", "-", "*", "a\0"),
    ),
    NO_NETWORK: ("10.0.0.0/33", "10.0.0.0/", "a.test/24", "::/129"),
    NO_RANGE: ("10.0.0.1-", "10.0.0.1-256", "10.0.0.1-a", "::1-5"),
    "a range that ends before it begins": ("10.0.0.2-1", "::2-::1"),
    "a range from one family to another": ("10.0.0.1-::5",),
}


@pytest.mark.parametrize(
    ("told", "entry"), [(told, entry) for told, entries in MISTAKEN.items() for entry in entries]
)
def test_what_is_no_entry_is_told(told: str, entry: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        read_span(entry)


small = st.integers(0, 40)


@given(st.lists(st.tuples(small, small).map(sorted), max_size=8), small)
def test_many_rules_are_any_of_them(spans: list[list[int]], asked: int) -> None:
    def place(number: int) -> tuple[int, int]:
        return 4, number

    addresses = Addresses((place(low), place(high)) for low, high in spans)
    expected = any(low <= asked <= high for low, high in spans)
    assert (str(ipaddress.IPv4Address(asked)) in addresses) == expected


@given(st.text("0159.:-/*[]%ax", max_size=20))
def test_any_text_is_a_rule_or_is_told(text: str) -> None:
    for read in (read_span, read_target):
        with suppress(ValueError):
            read(text)


# --- targets ---


class Going(NamedTuple):
    """Where a client wants to go, and an address that was found for it."""

    host: str
    port: int
    address: str


def going(text: str) -> Going:
    host, port, address = text.split()
    return Going(host, int(port), address)


@pytest.mark.parametrize(
    ("rules", "allowed", "forbidden"),
    [
        ("", "a.test 1 10.0.0.1, ::1 65535 ::1", ""),
        ("10.0.0.0/8", "10.0.0.1 80 10.0.0.1, a.test 80 10.0.0.1", "a.test 80 11.0.0.1"),
        ("10.0.0.0/8", "::ffff:10.0.0.1 80 ::ffff:10.0.0.1", "11.0.0.1 80 11.0.0.1"),
        ("10.0.0.1:80", "10.0.0.1 80 10.0.0.1", "10.0.0.1 81 10.0.0.1, 10.0.0.2 80 10.0.0.2"),
        ("10.0.0.1-20:80", "10.0.0.20 80 10.0.0.20", "10.0.0.21 80 10.0.0.21"),
        ("::1", "::1 80 ::1", "127.0.0.1 80 127.0.0.1, ::2 80 ::2"),
        ("[::1]:80", "::1 80 ::1", "::1 81 ::1"),
        ("[fd00::/8]:80", "fd00::1 80 fd00::1", "fe00::1 80 fe00::1"),
        ("[a.test]:80", "a.test 80 10.0.0.1", "a.test 81 10.0.0.1"),
        ("a.test", "a.test 80 10.0.0.1, A.Test. 9 ::1", "b.a.test 80 10.0.0.1, a.tes 80 ::1"),
        ("A.test.:80", "a.test 80 10.0.0.1", "a.test 81 10.0.0.1"),
        ("*.a.test", "b.a.test 80 ::1, c.b.A.TEST. 80 ::1", "a.test 80 ::1, ba.test 80 ::1"),
        ("*.a.test", "b.a.test 80 ::1", "x\0.a.test 80 ::1, fe80::1%.a.test 80 fe80::1"),
        ("*:443", "a.test 443 10.0.0.1, ::1 443 ::1", "a.test 80 10.0.0.1"),
        ("bücher.test", "xn--bcher-kva.test 80 ::1, BÜCHER.test 80 ::1", "bucher.test 80 ::1"),
        ("localhost", "localhost 80 ::1", "127.0.0.1 80 127.0.0.1, a.test 80 127.0.0.1"),
        ("a.test:80 10.0.0.0/8:22", "a.test 80 ::1, a.test 22 10.0.0.1", "a.test 22 ::1"),
        ("a.test:80,443", "a.test 80 ::1, a.test 443 ::1", "a.test 81 ::1, a.test 442 ::1"),
        ("a.test:20-22", "a.test 20 ::1, a.test 22 ::1", "a.test 19 ::1, a.test 23 ::1"),
        ("a.test:1-", "a.test 1 ::1, a.test 65535 ::1", "a.test 0 ::1"),
        ("a.test:-1024", "a.test 1 ::1, a.test 1024 ::1", "a.test 1025 ::1, a.test 0 ::1"),
        ("a.test:-2,9-", "a.test 2 ::1, a.test 9 ::1", "a.test 3 ::1, a.test 8 ::1"),
    ],
)
def test_where_a_proxy_s_clients_may_go(rules: str, allowed: str, forbidden: str) -> None:
    targets = TargetRules([read_target(rule) for rule in rules.split()])
    for target in map(going, allowed.split(", ")):
        assert targets.may_ask_for(target.host, target.port), target
        assert targets.may_reach(*target), target
    for target in map(going, forbidden.split(", ") if forbidden else ()):
        assert not targets.may_reach(*target), target


@pytest.mark.parametrize(
    ("rules", "host", "port", "may_ask"),
    [
        ("10.0.0.0/8:80", "a.test", 80, True),  # it may have such an address
        ("10.0.0.0/8:80", "127.1", 80, True),  # which the system takes for a number: looked up
        ("10.0.0.0/8:80", "a.test", 81, False),
        ("10.0.0.0/8:80", "11.0.0.1", 80, False),
        ("10.0.0.0/8:80", "10.0.0.1", 80, True),
        ("a.test", "b.test", 80, False),
        ("a.test", "a.test", 80, True),
        ("*.a.test", "a.test", 80, False),
        ("a.test", "10.0.0.1", 80, False),
    ],
)
def test_what_leads_nowhere_is_not_looked_up(
    rules: str, host: str, port: int, may_ask: bool
) -> None:
    targets = TargetRules([read_target(rule) for rule in rules.split()])
    assert targets.may_ask_for(host, port) == may_ask


NO_PORTS = "not a rule with ports such as 80, 80,443, 8000-8100, 1- or -1024"


NO_TARGETS = {
    NO_PORTS: (
        *("a:0", "a:65536", "a:-", "a:2-1", "a:1-2-3", "a:80,", "a:http"),
        *("a:0-", "a:-0", "a:1-65536", "a:+1", "a: 1", "a:1 ", "a:000080"),
    ),
    NEITHER: (
        *("", ":80", "a:", "[::1", "[::1]80", "a:1:2", "[]:80", "[[::1]]", "a b"),
        *("*.", "*.*", "a.*", "**", "*.10.0.0.1"),
    ),
    NO_NETWORK: ("10.0.0.0/33:80", "*.10.0.0.0/8", "a/8"),
}


@pytest.mark.parametrize(
    ("rule", "meanings"),
    [
        ("::1:80", "[::1]:80 or [::1:80]"),
        ("2001:db8::1:443", "[2001:db8::1]:443 or [2001:db8::1:443]"),
        ("::1:80,443", "[::1]:80,443"),
        ("::1:8000-8100", "[::1]:8000-8100"),
        ("fd00::/8:80", "[fd00::/8]:80"),
        ("fd00::1-fd00::5:80", "[fd00::1-fd00::5]:80 or [fd00::1-fd00::5:80]"),
    ],
)
def test_a_port_behind_ipv6_wants_brackets(rule: str, meanings: str) -> None:
    with pytest.raises(ValueError, match=rf"^not clear without brackets: {re.escape(meanings)}$"):
        read_target(rule)
    for meaning in meanings.split(" or "):
        read_target(meaning)


@pytest.mark.parametrize(
    "rule", ["::1", "fd00::1", "fd00::1/64", "::1-::5", "1:2:3:4:5:6:7:80", "::ffff:10.0.0.1", "::"]
)
def test_what_of_ipv6_has_no_port_wants_none(rule: str) -> None:
    assert read_target(rule).ports == ANY_PORT


@pytest.mark.parametrize(
    ("told", "rule"), [(told, rule) for told, rules in NO_TARGETS.items() for rule in rules]
)
def test_what_is_no_target_is_told(told: str, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        read_target(rule)
