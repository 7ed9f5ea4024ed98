"""Whose share of the look-ups a client's are."""

from __future__ import annotations

import socket

import pytest

from pync.transports.inet import InetAddress
from pync.transports.resolver import owner


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth0", True),
        ("", "", True),  # over a unix socket
    ],
)
def test_they_are_its_host_s(one: str, other: str, same: bool) -> None:
    first, second = (InetAddress(socket.AF_INET6, (host, 1), "tcp") for host in (one, other))
    assert (owner(first) == owner(second)) == same
