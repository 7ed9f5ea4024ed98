"""pync as a proxy: tunnels, what passes through them, and how they end."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from gateway_talk import (
    ASKING,
    KINDS,
    Tunnel,
    accept,
    ask,
    breaks,
    dial,
    digest,
    drain_to_any_end,
    duplex,
    port_of,
    read_grant,
    send_all,
    serving,
    settled,
    target,
    tunnel,
    wait_for,
)
from harness import PATIENCE, Program, descriptors, free_port, full_backlog, needs_ipv6
from plain_peer import (
    HERE,
    LITTLE,
    complaints,
    drain,
    drain_until_reset,
    flood,
    reset,
    silent,
    start,
)

MUCH = os.urandom(3 << 20)
RANDOM = os.urandom(1 << 18)

Proxies = dict[str, Program]
REACHED = [
    *(("http", HERE), ("http", "localhost"), ("socks4", HERE), ("socks4a", "localhost")),
    *(("socks5", HERE), ("socks5", "localhost")),
    *(pytest.param(kind, "::1", marks=needs_ipv6) for kind in ("http", "socks5")),
]


@pytest.fixture(scope="module", autouse=True)
def proxies() -> Iterator[Proxies]:
    """One for each kind, for all tests here."""
    with ExitStack() as stack:
        yield {kind: stack.enter_context(serving(kind)) for kind in KINDS}


@pytest.fixture
def ends(proxies: Proxies, listener: socket.socket) -> Iterator[Tunnel]:
    """Of a tunnel."""
    with tunnel("socks5", proxies["socks5"].port, listener) as both:
        yield both


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with target() as listening:
        yield listening


def of(kind: str) -> str:
    """The host that a test goes to with it."""
    return "localhost" if kind == "socks4a" else HERE


@pytest.mark.parametrize(("kind", "host"), REACHED)
def test_all_passes_both_ways(kind: str, host: str, proxies: Proxies) -> None:
    address = HERE if host == "localhost" else host
    with target(address) as listener, tunnel(kind, proxies[kind].port, listener, host) as ends:
        assert duplex(ends, MUCH, RANDOM) == (digest(MUCH), digest(RANDOM))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 5_000, 200_000])
def test_what_is_glued_to_the_request_is_the_tunnels(
    kind: str, size: int, proxies: Proxies, listener: socket.socket
) -> None:
    glued = RANDOM[:size]
    with tunnel(kind, proxies[kind].port, listener, of(kind), glued=glued) as ends:
        ends.client.sendall(b"more")
        ends.client.shutdown(socket.SHUT_WR)
        assert drain(ends.far) == glued + b"more"
        ends.far.sendall(b"answer")
        assert ends.client.recv(100) == b"answer"


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_may_come_byte_by_byte(
    kind: str, proxies: Proxies, listener: socket.socket
) -> None:
    with dial(proxies[kind].port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in ASKING[kind](of(kind), port_of(listener)):
            client.send(bytes([byte]))
        read_grant(kind, client)
        with accept(listener) as far:
            far.sendall(b"hello")
            assert client.recv(100) == b"hello"


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_ends_with_its_request_gets_its_answer(
    kind: str, proxies: Proxies, listener: socket.socket
) -> None:
    with dial(proxies[kind].port) as client:
        send_all(client, ASKING[kind](of(kind), port_of(listener)) + b"question")
        with accept(listener) as far:
            assert drain(far) == b"question"
            send_all(far, b"answer")
            read_grant(kind, client)
            assert drain(client) == b"answer"


# How it ends.

BOTH_WAYS = pytest.mark.parametrize("turn", [tuple, reversed], ids=["client first", "target first"])
Turn = Callable[[Tunnel], Iterator[socket.socket]]


@BOTH_WAYS
def test_an_end_passes_and_the_other_direction_goes_on(ends: Tunnel, turn: Turn) -> None:
    first, other = turn(ends)
    first.shutdown(socket.SHUT_WR)
    assert drain(other) == b""
    for _ in range(3):
        other.sendall(b"still here")
        assert first.recv(100) == b"still here"
        assert silent(first, 0.1)
    other.shutdown(socket.SHUT_WR)
    assert drain(first) == b""


def test_half_a_tunnel_stands_for_longer_than_half_a_session_of_pync_itself(
    proxies: Proxies, listener: socket.socket
) -> None:
    with (
        tunnel("http", proxies["http"].port, listener) as one,
        tunnel("http", proxies["http"].port, listener) as two,
    ):
        one.client.shutdown(socket.SHUT_WR)
        two.far.shutdown(socket.SHUT_WR)
        assert two.client.recv(1) == one.far.recv(1) == b""
        assert silent(one.client, 2.5)
        for first, other in (one, reversed(two)):
            other.sendall(b"late")
            assert first.recv(100) == b"late"


@BOTH_WAYS
def test_a_reset_passes_as_one_behind_all_that_came_before(ends: Tunnel, turn: Turn) -> None:
    first, other = turn(ends)
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(drain_until_reset, other)
        first.sendall(MUCH)
        while unacknowledged(first) != bytes(4):
            time.sleep(0.001)
        reset(first)
        assert digest(received.result()) == digest(MUCH)


def unacknowledged(sock: socket.socket) -> bytes:
    return fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))


@BOTH_WAYS
def test_a_reset_passes_as_one_also_against_the_stream(
    proxies: Proxies, listener: socket.socket, turn: Turn
) -> None:
    for pieces in (0, 3):
        with tunnel("socks5", proxies["socks5"].port, listener) as ends:
            first, other = turn(ends)
            flood(other)
            for _ in range(pieces):
                first.recv(1 << 16)
            reset(first)
            drain_until_reset(other)


@BOTH_WAYS
def test_what_goes_on_one_way_stops_when_its_reader_has_gone(ends: Tunnel, turn: Turn) -> None:
    """It ends its own direction, and then closes without a word."""
    first, other = turn(ends)
    first.shutdown(socket.SHUT_WR)
    assert drain(other) == b""
    first.close()
    with pytest.raises(ConnectionError):
        other.sendall(bytes(1 << 26))


@BOTH_WAYS
def test_a_reader_that_pauses_at_the_end_gets_everything(
    proxies: Proxies, listener: socket.socket, turn: Turn
) -> None:
    """The rest waits in the proxy's kernel, longer than its own patience with most things."""
    data = RANDOM[:50_000]
    with (
        ask("socks5", proxies["socks5"].port, port_of(listener), receive_buffer=LITTLE) as client,
        accept(listener) as far,
    ):
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        reader, writer = turn(Tunnel(client, far))
        reader.shutdown(socket.SHUT_WR)
        assert drain(writer) == b""
        send_all(writer, data)
        writer.close()
        assert not breaks(reader, 1.4)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, len(data))
        assert digest(drain(reader)) == digest(data)


def test_a_signal_cuts_both_sides() -> None:
    with one_tunnel() as (pync, client, far):
        client.sendall(b"hello")
        assert far.recv(5) == b"hello"
        pync.signal(signal.SIGTERM)
        assert drain_until_reset(client) == drain_until_reset(far) == b""
        assert pync.finish().status == -signal.SIGTERM


@pytest.mark.parametrize("keep", ["keep open", "one turn"])
def test_a_signal_gives_a_reader_that_pauses_what_is_held_for_it(keep: str) -> None:
    """A piece at least, which the kernel's buffers on the way have no room for; then a reset."""
    started = serving if keep == "keep open" else lone
    with (
        started("socks5", "-O", "4k") as pync,
        target() as listener,
        ask("socks5", pync.port, port_of(listener), receive_buffer=LITTLE) as client,
        accept(listener) as far,
    ):
        flood(far)
        pync.signal(signal.SIGTERM)
        assert len(drain_until_reset(client)) > 40_000
        assert pync.finish().status == -signal.SIGTERM


def test_a_signal_does_not_wait_for_a_client_that_has_said_nothing() -> None:
    with serving("socks5") as pync, socket.create_connection((HERE, pync.port)) as client:
        pync.expect("Connection received")
        pync.signal(signal.SIGTERM)
        assert drain_until_reset(client) == b""
        assert pync.finish().status == -signal.SIGTERM


def test_a_client_that_leaves_before_its_target_answers_is_nobodys_trouble(
    listener: socket.socket,
) -> None:
    with serving("socks5", "--wait", "0.6") as pync, full_backlog() as nowhere:
        port, before = pync.port, settled(pync)
        with dial(port) as client:
            client.sendall(ASKING["socks5"](HERE, nowhere))
            assert client.recv(2) == b"\5\0"
        with tunnel("socks5", port, listener) as (client, far):
            client.sendall(b"hello")
            assert far.recv(5) == b"hello"
            client.close()
            assert drain(far) == b""
        pync.expect("timed out")
        wait_for(lambda: len(descriptors(pync.pid)) == before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_breaks_off_before_its_target_answers_is_not_waited_for(kind: str) -> None:
    with serving(kind, "--wait", f"{PATIENCE}") as pync, full_backlog() as nowhere:
        port, before = pync.port, settled(pync)
        with dial(port) as client:
            client.sendall(ASKING[kind](HERE, nowhere) + b"glued")
            wait_for(lambda: len(descriptors(pync.pid)) == before + 2)
            reset(client)
        begin = time.monotonic()
        pync.expect(
            f"pync: client {HERE} port .*: connection with .* lost: Connection reset by peer"
        )
        wait_for(lambda: len(descriptors(pync.pid)) == before)
        assert time.monotonic() - begin < PATIENCE / 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_has_said_all_is_there_when_its_target_answers(
    kind: str, proxies: Proxies
) -> None:
    """The kernel tries again after a second, when the target's queue has room."""
    pync = proxies[kind]
    before = settled(pync)
    with target(backlog=0) as listener, dial(port_of(listener)), dial(pync.port) as client:
        send_all(client, ASKING[kind](HERE, port_of(listener)) + b"hello")
        wait_for(lambda: len(descriptors(pync.pid)) == before + 2)
        accept(listener).close()
        with accept(listener) as far:
            assert drain(far) == b"hello"
            far.sendall(b"and back")
        assert drain(client).endswith(b"and back")


def test_a_tunnel_that_is_idle_ends_as_a_connection_does() -> None:
    """-w ends it in order, --idle-timeout with a line that names the client."""
    with one_tunnel("-w", "0.3") as (_, client, far):
        client.sendall(b"hello")
        assert (drain(far), drain(client)) == (b"hello", b"")
    with one_tunnel("--idle-timeout", "0.3") as (pync, client, far):
        assert drain_until_reset(client) == drain_until_reset(far) == b""
        pync.expect(r"pync: client 127\.0\.0\.1 port \d+: timed out: idle for 0.3 s\n")


@contextmanager
def one_tunnel(*options: str) -> Iterator[tuple[Program, socket.socket, socket.socket]]:
    """Through a proxy of its own."""
    with (
        serving("http", *options) as pync,
        target() as listener,
        tunnel("http", pync.port, listener) as (client, far),
    ):
        yield pync, client, far


# One client alone.


def test_without_keep_open_the_one_client_decides_the_status(listener: socket.socket) -> None:
    with lone("socks5") as pync:
        with tunnel("socks5", pync.port, listener) as ends:
            assert duplex(ends, RANDOM, b"x") == (digest(RANDOM), digest(b"x"))
        assert pync.finish().status == 0
    with lone("socks5") as pync:
        with tunnel("socks5", pync.port, listener) as (client, far):
            reset(client)
            drain_until_reset(far)
        result = pync.finish()
        assert (result.status, len(complaints(result))) == (1, 1)


def test_without_keep_open_no_second_client_is_let_in(listener: socket.socket) -> None:
    with (
        lone("socks5") as pync,
        tunnel("socks5", pync.port, listener),
        pytest.raises(ConnectionRefusedError),
    ):
        dial(pync.port)


def lone(kind: str, *options: str) -> Program:
    return Program.pync("-lv", "--proxy-type", kind, *options, HERE, "0")


def leaves(_: socket.socket) -> None:
    """As one does who only looks whether somebody listens."""


def says(words: bytes) -> Callable[[socket.socket], None]:
    def play(client: socket.socket) -> None:
        client.sendall(words)
        drain_to_any_end(client)

    return play


def asked(client: socket.socket) -> None:
    client.sendall(ASKING["http"](HERE, 80))
    client.shutdown(socket.SHUT_WR)
    assert drain(client).startswith(b"HTTP/1.1 407 ")


def vanishes(client: socket.socket) -> None:
    client.sendall(ASKING["socks5"](HERE, 80)[:-1])
    reset(client)


def vanishes_with_a_wish(client: socket.socket) -> None:
    with full_backlog() as port:
        client.sendall(ASKING["socks5"](HERE, port))
        assert client.recv(2) == b"\5\0"
        reset(client)


LOGIN = ("--proxy-auth", "bob:secret")
ALLOWED = ("--proxy-allow", HERE)
NO_TURNS = {
    "a look": ("http", (), leaves),
    "nonsense": ("http", (), says(b"nonsense\r\n\r\n")),
    "no password": ("http", LOGIN, asked),
    "what is not allowed": ("http", ALLOWED, says(ASKING["http"]("127.0.0.9", 80))),
    "a look at SOCKS": ("socks5", (), leaves),
    "nonsense for SOCKS": ("socks5", (), says(b"nonsense")),
    "a wrong password": ("socks5", LOGIN, says(b"\5\1\2\1\3bob\1x")),
    "what SOCKS must not reach": ("socks5", ALLOWED, says(ASKING["socks5"]("127.0.0.9", 80))),
    "a reset": ("socks5", (), vanishes),
    "a reset while it waits": ("socks5", (), vanishes_with_a_wish),
}


@pytest.mark.parametrize("name", NO_TURNS)
def test_the_one_turn_is_left_to_who_gets_its_way(name: str, listener: socket.socket) -> None:
    kind, options, play = NO_TURNS[name]
    with lone(kind, *options) as pync:
        for _ in range(3):
            with dial(pync.port) as client:
                play(client)
        through = f"{kind}://bob:secret@{HERE}:{pync.port}"
        with start("-x", through, HERE, f"{port_of(listener)}", stdin=b"hello") as client:
            with accept(listener) as far:
                assert drain(far) == b"hello"
                with pytest.raises(ConnectionRefusedError):
                    dial(pync.port)
                send_all(far, b"and back")
            assert client.finish() == (0, b"and back", "")
        result = pync.finish()
    assert result.status == 0
    assert len(complaints(result)) == (0 if play is leaves and kind == "http" else 3)


def test_who_waits_while_another_gets_the_one_turn_is_cut_off(listener: socket.socket) -> None:
    with lone("http") as pync, dial(pync.port) as silent, dial(pync.port) as waiting:
        with full_backlog() as port:
            waiting.sendall(ASKING["http"](HERE, port))
            pync.expect(f"wants {HERE} port {port}\n")
            with tunnel("http", pync.port, listener) as (client, far):
                for other in (silent, waiting):
                    assert drain_until_reset(other) == b""
                    who = "{} port {}".format(*other.getsockname())
                    pync.expect(f"pync: client {who}: another client has the one turn; .*\n")
                send_all(client, b"")
                send_all(far, b"")
        assert pync.finish().status == 0


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_the_one_turn_may_be_for_a_target_that_cannot_be_reached(kind: str) -> None:
    with lone(kind) as pync, dial(pync.port) as client:
        client.sendall(ASKING[kind](HERE, free_port()))
        drain(client)
        result = pync.finish()
    assert result.status == 1
    assert "Connection refused" in complaints(result)[0]
