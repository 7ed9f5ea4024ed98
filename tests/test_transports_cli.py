"""TCP and UDP as one chooses them on the command line.

Which address, family and port are used, what -v says of it in Debian's words,
that nobody's port is ever stolen, and datagrams of all sizes from all comers.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from harness import PATIENCE, PEERS, PIPE, PYNC, Program, free_port, needs_ipv6
from plain_peer import HERE, drain, joined

THERE = "127.0.0.2"  # another address of this machine, on Linux
SERVICES = {
    "http": 80, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "pop3": 110,
    "https": 443,
}  # fmt: skip
MOST = 65_507  # bytes in one datagram over IPv4
SIZES = (0, 1, 8192, 8193, 16385, MOST)


linux_only = pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux has it")


@contextmanager
def a_socket(family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> Iterator[Any]:
    with socket.socket(family, kind) as plain:
        plain.settimeout(PATIENCE)
        yield plain


@contextmanager
def a_datagram_peer(pync: Program) -> Iterator[socket.socket]:
    """A datagram socket of its own port, connected to a listening pync."""
    with a_socket(kind=socket.SOCK_DGRAM) as peer:
        peer.connect((HERE, pync.port))
        yield peer


def check_both_ways(
    listener: tuple[str, ...], client: Callable[[Program], tuple[str, ...]]
) -> None:
    """What each pync is given comes out of the other.  client: its arguments."""
    with (
        Program.pync(*listener, stdin=PIPE) as server,
        Program.pync(*client(server), stdin=PIPE) as caller,
    ):
        caller.send(b"question")
        assert server.receive(8) == b"question"
        server.send(b"answer")
        assert caller.receive(6) == b"answer"


# TCP and UDP over both families.


@pytest.mark.parametrize("udp", [(), ("-u",)], ids=["TCP", "UDP"])
@pytest.mark.parametrize(
    ("places", "target"),
    [
        (("127.0.0.1",), "127.0.0.1"),
        pytest.param(("::1",), "::1", marks=needs_ipv6),
        ((), "127.0.0.1"),
        pytest.param((), "::1", marks=needs_ipv6),
        (("-4",), "127.0.0.1"),
        pytest.param(("-6",), "::1", marks=needs_ipv6),
        (("localhost",), "localhost"),
    ],
    ids=["IPv4", "IPv6", "any by IPv4", "any by IPv6", "-4", "-6", "localhost"],
)
def test_both_families_both_ways(
    udp: tuple[str, ...], places: tuple[str, ...], target: str
) -> None:
    check_both_ways(("-lv", *udp, *places, "0"), lambda server: (*udp, target, str(server.port)))


@needs_ipv6
@pytest.mark.parametrize("udp", [(), ("-u",)], ids=["TCP", "UDP"])
@pytest.mark.parametrize("port", ["0", "free"])
def test_a_listener_without_a_host_has_one_port_for_both_families(
    udp: tuple[str, ...], port: str
) -> None:
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    number = str(free_port(kind)) if port == "free" else port
    with Program.pync("-lkv", *udp, number) as server:
        got = server.port
        server.expect(rf"\AListening on 0\.0\.0\.0 {got}\nListening on :: {got}\n")
        assert number in ("0", str(got))
        for family, host in ((socket.AF_INET, HERE), (socket.AF_INET6, "::1")):
            with a_socket(family, kind) as peer:
                peer.connect((host, got))
                peer.send(b"hello")
        assert server.receive(10) == b"hellohello"


@needs_ipv6
@pytest.mark.parametrize(
    ("option", "place", "other"), [("-4", "0.0.0.0", "::1"), ("-6", "::", "127.0.0.1")]
)
def test_a_listener_may_be_kept_to_one_family(option: str, place: str, other: str) -> None:
    with Program.pync("-lv", option, "0") as server:
        port = str(server.port)
        assert server.text() == f"Listening on {place} {port}\n"
        with Program.pync(other, port) as client:
            assert client.finish().status == 1


@pytest.mark.parametrize(("option", "other"), [("-4", "::1"), ("-6", "127.0.0.1")])
def test_a_client_may_be_kept_to_one_family(option: str, other: str) -> None:
    with Program.pync(option, other, "9") as client:
        status, out, err = client.finish()
    assert (status, out) == (1, b"")
    assert re.fullmatch(rf"pync: cannot resolve {re.escape(other)}: .+\n", err)


# The local end.


@pytest.mark.parametrize(
    "arguments",
    ["-l -p {port}", "-l -p {port} {host}", "-l -s {host} -p {port}", "-l {host} {port}"],
)
def test_the_place_to_listen_on_may_be_told_in_several_ways(arguments: str) -> None:
    port = free_port()
    with Program.pync("-v", *arguments.format(host=HERE, port=port).split()) as server:
        server.expect(rf"Listening on (0\.0\.0\.0|127\.0\.0\.1) {port}\n")
        with socket.create_connection((HERE, port), PATIENCE) as peer:
            peer.sendall(b"hello")
        assert server.finish()[:2] == (0, b"hello")


@linux_only
@pytest.mark.parametrize("udp", [(), ("-u",)], ids=["TCP", "UDP"])
def test_a_client_comes_from_the_address_and_port_it_was_given(udp: tuple[str, ...]) -> None:
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    port = free_port(kind, THERE)
    with Program.pync("-lnv", *udp, HERE, "0") as server:
        with Program.pync(
            *udp, "-q", "0", "-s", THERE, "-p", str(port), HERE, str(server.port), stdin=b"hello"
        ) as client:
            assert client.finish().status == 0
        server.expect(rf"Connection received on {THERE} {port}\n")
        assert server.receive(5) == b"hello"


@pytest.mark.parametrize("udp", [(), ("-u",)], ids=["TCP", "UDP"])
@pytest.mark.parametrize("host", [(), (HERE,)], ids=["anywhere", "here"])
def test_a_busy_port_is_not_stolen(udp: tuple[str, ...], host: tuple[str, ...]) -> None:
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    with Program.pync("-lv", *udp, HERE, "0") as first, a_socket(kind=kind) as peer:
        with Program.pync("-l", *udp, *host, str(first.port)) as second:
            status, out, err = second.finish()
        assert (status, out) == (2, b"")
        assert re.fullmatch(rf"pync: .*\b{first.port}\b.*\n", err)
        peer.connect((HERE, first.port))
        peer.send(b"for the first")
        assert first.receive(13) == b"for the first"


def test_a_port_that_was_in_use_a_moment_ago_can_be_had() -> None:
    """A connection that was ended from this side leaves its port in TIME_WAIT."""
    with Program.pync("-lv", HERE, "0", stdin=b"hello") as server, a_socket() as peer:
        port = server.port
        peer.connect((HERE, port))
        assert drain(peer) == b"hello"
        peer.close()
        assert server.finish().status == 0
    with Program.pync("-lv", HERE, str(port)) as server:
        assert server.port == port


# Service names.


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_known_by_its_name(service: str) -> None:
    """Whether anybody listens there or not, what -v says has the number."""
    with Program.pync("-zv4", "localhost", service) as client:
        status, out, err = client.finish()
    assert (status, out) in ((0, b""), (1, b""))
    assert f" {SERVICES[service]} " in err


# What -v says, word for word.


def test_what_a_listener_says() -> None:
    with Program.pync("-lv", "localhost", "0", stdin=PIPE) as server:
        port = server.port
        with a_socket() as peer:
            peer.connect(("localhost", port))
            server.expect("received.*\n")
            assert server.text() == (
                f"Listening on 127.0.0.1 {port}\n"
                f"Connection received on localhost {peer.getsockname()[1]}\n"
            )


@pytest.mark.parametrize("udp", [(), ("-u",)], ids=["TCP", "UDP"])
def test_what_a_listener_says_without_look_ups(udp: tuple[str, ...]) -> None:
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    with Program.pync("-lnv", *udp, HERE, "0", stdin=PIPE) as server, a_socket(kind=kind) as peer:
        port = server.port
        peer.connect((HERE, port))
        peer.send(b"hello")
        server.receive(5)
        assert server.text() == (
            f"Listening on 127.0.0.1 {port}\n"
            f"Connection received on 127.0.0.1 {peer.getsockname()[1]}\n"
        )


@needs_ipv6
def test_what_a_listener_on_ipv6_says() -> None:
    with Program.pync("-lnv", "::1", "0") as server, a_socket(socket.AF_INET6) as peer:
        port = server.port
        peer.connect(("::1", port))
        server.expect("received.*\n")
        assert server.text() == (
            f"Listening on ::1 {port}\nConnection received on ::1 {peer.getsockname()[1]}\n"
        )


@pytest.mark.parametrize(
    ("options", "host", "shown"),
    [
        ("-zv4", "localhost", f"localhost ({HERE})"),
        ("-zv4", "127.1", f"127.1 ({HERE})"),
        ("-zv4", HERE, HERE),
        ("-znv4", HERE, HERE),
    ],
)
@pytest.mark.parametrize("program", ["pync", "openbsd"])
def test_what_a_client_says(program: str, options: str, host: str, shown: str) -> None:
    """The very words of Debian's nc."""
    command = {"pync": PYNC, "openbsd": (PEERS["openbsd"] or "",)}[program]
    if command == ("",):
        pytest.skip("nc.openbsd is not installed (Debian: netcat-openbsd)")
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        with Program(*command, options, host, str(port)) as client:
            told = f"Connection to {shown} {port} port [tcp/*] succeeded!\n"
            assert client.finish() == (0, b"", told)


def test_without_v_nothing_is_said() -> None:
    with joined("connects", stdin=b"hello") as (pync, peer):
        assert drain(peer) == b"hello"
        peer.close()
        assert pync.finish() == (0, b"", "")


# UDP.


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("role", ["client", "listener"])
def test_what_is_read_at_once_is_one_datagram(role: str, size: int) -> None:
    """A piece of stdin goes out whole; there is no piece of no bytes."""
    data = os.urandom(size)
    with ExitStack() as stack:
        peer = stack.enter_context(a_socket(kind=socket.SOCK_DGRAM))
        peer.bind((HERE, 0))
        where = str(peer.getsockname()[1])
        if role == "client":
            pync = stack.enter_context(Program.pync("-u", HERE, where, stdin=PIPE))
        else:
            pync = stack.enter_context(Program.pync("-luv", HERE, "0", stdin=PIPE))
            peer.sendto(b"I am here", (HERE, pync.port))
            pync.receive(1)
        if data:
            pync.send(data)
            assert peer.recv(1 << 16) == data
        pync.send(b"next")
        assert peer.recv(1 << 16) == b"next"


def test_every_peer_of_a_udp_listener_gets_replies() -> None:
    with Program.pync("-lukv", HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        peers = [stack.enter_context(a_datagram_peer(server)) for _ in range(5)]
        for number, peer in enumerate(peers, start=1):
            peer.send(b"hello")
            assert len(server.receive(5 * number)) == 5 * number
        server.send(b"to all of you")
        assert {peer.recv(100) for peer in peers} == {b"to all of you"}


@pytest.mark.parametrize("options", ["-luv", "-lukv"])
def test_an_empty_datagram_is_a_datagram(options: str) -> None:
    """The first thing that a peer says may be nothing; it is a peer all the same."""
    with Program.pync(options, HERE, "0", stdin=PIPE) as server, a_datagram_peer(server) as peer:
        peer.send(b"")
        server.expect("Connection received on")
        server.send(b"you are heard")
        assert peer.recv(100) == b"you are heard"
        peer.send(b"")
        peer.send(b"the end")
        assert server.receive(7) == b"the end"


def test_ten_thousand_peers_are_heard_in_bounded_memory() -> None:
    count, at_once = 10_000, 100
    with Program.pync("-luk", "-nv", HERE, "0") as server:
        address = (HERE, server.port)
        ports = iter(range(10_000, 65_536))
        heard = b""
        for first in range(0, count, at_once):
            for number in range(first, first + at_once):
                send_from_new_port(ports, b"%05d\n" % number, address)
            heard = server.receive(6 * (first + at_once))
            if first == 2000:
                at_first = server.peak_memory
        assert sorted(heard.split()) == [b"%05d" % number for number in range(count)]
        assert server.peak_memory < at_first + (16 << 20)


def send_from_new_port(ports: Iterator[int], data: bytes, address: tuple[str, int]) -> None:
    """Send from the first of these ports that nobody uses."""
    with a_socket(kind=socket.SOCK_DGRAM) as peer:
        for port in ports:
            try:
                peer.bind((HERE, port))
            except OSError:
                continue
            peer.sendto(data, address)
            return
