"""--retry and --reconnect: dialling again, and what is lost then: nothing that was not sent."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from harness import PATIENCE, PIPE, Program, free_port
from plain_peer import (
    HERE,
    LITTLE,
    Way,
    complaints,
    drain,
    drain_until_any_end,
    ended_within,
    reset,
    start,
)
from tls_socket import over_tls

from pync.redial import JITTER, SHORTEST, pauses

IN_OUR_SYSTEM = 64 * 1024  # bytes that it may take with -O 16k
IN_PEERS_SYSTEM = 64 * 1024  # bytes that the system of a peer that reads little may take
IAC = b"\xff"  # of telnet: begins a command, or its own double
QUICK = ("--retry-delay", "50ms")


@contextmanager
def dialling(*options: str, **how: object) -> Iterator[tuple[Program, socket.socket]]:
    """pync on its way to a listening socket."""
    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(PATIENCE)
        port = str(listener.getsockname()[1])
        with start("-n", *QUICK, *options, HERE, port, **how) as pync:
            yield pync, listener


@contextmanager
def next_client(listener: socket.socket) -> Iterator[socket.socket]:
    peer, _ = listener.accept()
    with peer:
        peer.settimeout(PATIENCE)
        yield peer


# --- --retry ---


def test_the_pauses_are_about_as_long_as_was_asked_for() -> None:
    found = list(pauses(1000, 2.0))
    assert len(found) == 1000
    assert 2 * (1 - JITTER) <= min(found) < 1.8
    assert 2.2 < max(found) <= 2 * (1 + JITTER)


def test_none_is_so_short_that_pync_would_do_nothing_else() -> None:
    assert set(pauses(100, 0.0)) == {SHORTEST}


def test_a_listener_that_comes_late_is_reached() -> None:
    port = free_port()
    with start("-nv", "--retry", "1000", *QUICK, HERE, str(port), stdin=b"hello") as pync:
        pync.expect("(Connection refused\n.*){2}")
        with socket.create_server((HERE, port)) as listener:
            listener.settimeout(PATIENCE)
            with next_client(listener) as peer:
                assert drain(peer) == b"hello"
        result = pync.finish()
    assert result.status == 0
    assert result.err.endswith(f"Connection to {HERE} {port} port [tcp/*] succeeded!\n")


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (3, 4)])
def test_as_many_attempts_are_made_as_were_asked_for(retries: int, attempts: int) -> None:
    port = free_port()
    with start("-nv", "--retry", str(retries), *QUICK, HERE, str(port)) as pync:
        result = pync.finish()
    refused = f"pync: connect to {HERE} port {port} (tcp) failed: Connection refused"
    assert (result.status, result.err.splitlines()) == (1, [refused] * attempts)


def test_the_same_failure_is_told_at_first_and_at_last() -> None:
    port = free_port()
    with start("-n", "--retry", "5", *QUICK, HERE, str(port)) as pync:
        assert len(complaints(pync.finish())) == 2


def test_z_may_try_again_and_stays_quiet() -> None:
    port = free_port()
    with start("-nz", "--retry", "2", *QUICK, HERE, str(port)) as pync:
        result = pync.finish()
    assert (result.status, result.err) == (1, "")


def test_a_name_that_is_not_there_yet_is_looked_up_again() -> None:
    with start("-v", "--retry", "2", *QUICK, "nowhere.invalid", "80") as pync:
        result = pync.finish()
    assert result.status == 1
    assert len(re.findall("cannot resolve nowhere.invalid", result.err)) == 3


def test_a_signal_ends_the_waiting() -> None:
    with start("-nv", "--retry", "9", "--retry-delay", "1h", HERE, str(free_port())) as pync:
        pync.expect("refused")
        pync.signal(signal.SIGTERM)
        assert pync.finish().status == -signal.SIGTERM


def test_a_mistake_is_not_made_again() -> None:
    with start("-n", "--retry", "9", "--retry-delay", "1h", "nowhere.invalid", "80") as pync:
        result = pync.finish()
    assert result.status == 2
    assert len(complaints(result)) == 1


# --- --reconnect ---


def test_each_peer_gets_what_is_said_while_it_is_there() -> None:
    with dialling("--reconnect", stdin=PIPE) as (pync, listener):
        for said in (b"one", b"two", b"three"):
            with next_client(listener) as peer:
                pync.send(said)
                assert peer.recv(100) == said
                peer.sendall(b"<" + said + b">")
        pync.expect("<three>", "out")
        with next_client(listener) as peer:
            pync.end()
            assert drain(peer) == b""
        result = pync.finish()
    assert (result.status, result.out) == (0, b"<one><two><three>")
    assert complaints(result) == []


@pytest.mark.parametrize(
    ("stdin", "wire"),
    [
        *((stdin, "plain") for stdin in ("a pipe", "a file", "a socket", "a tap")),
        *(("a pipe", wire) for wire in ("TLSv1.2", "TLSv1.3", "telnet")),
        ("a file", "TLSv1.3"),
    ],
)
def test_what_was_not_sent_goes_to_the_next_peer(
    stdin: str, wire: str, authority: Authority, tmp_path: Path
) -> None:
    """The first one takes a little and stops; when it goes, what it has not got is gone on with.

    What its system has confirmed, and what was on its way, cannot be had back: so the next
    one goes on at most that far behind.
    """
    data = os.urandom(3 << 20)
    path = tmp_path / "data"
    path.write_bytes(data)
    options = ("-C",) if stdin == "a tap" else ()
    if stdin == "a tap":
        data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    way = way_of(wire, authority)
    options += (*way.options("connects"), "--reconnect", "-O", "16k")
    with a_stdin_of(stdin, path) as how, dialling(*options, **how) as (pync, server):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        with next_client(server) as sock:
            peer = way.peer("connects", sock)
            begin = peer.recv(1000)
            assert not ended_within(pync, 0.3)
            reset(peer)
        with next_client(server) as sock, closing(way.peer("connects", sock)) as peer:
            rest = drain(peer)
        result = pync.finish()
    assert result.status == 0
    assert data.startswith(begin)
    assert data.endswith(rest)
    assert len(begin) + len(rest) <= len(data)
    (told,) = complaints(result)
    on_its_way = re.search(r"; (\d+) bytes? not delivered", told)
    assert on_its_way
    assert int(on_its_way[1]) <= IN_OUR_SYSTEM
    assert len(data) - len(rest) - int(on_its_way[1]) <= IN_PEERS_SYSTEM


def test_standard_input_has_not_ended_as_long_as_some_of_it_is_unsent(
    authority: Authority,
) -> None:
    """All of this fits between it and the wire, where it is encrypted."""
    data = os.urandom(128 << 10)
    way = over_tls(authority, "TLSv1.3")
    options = (*way.options("connects"), "--reconnect", "-O", "16k")
    with dialling(*options, stdin=data) as (pync, server):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        with next_client(server) as sock:
            peer = way.peer("connects", sock)
            assert data.startswith(peer.recv(1000))
            assert not ended_within(pync, 0.3)
            reset(peer)
        with next_client(server) as sock, closing(way.peer("connects", sock)) as peer:
            rest = drain(peer)
        assert pync.finish().status == 0
    assert rest
    assert data.endswith(rest)


class TelnetSocket:
    """A plain socket whose bytes 255 come doubled."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._half = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, limit: int) -> bytes:
        data = self._half + self._sock.recv(limit)
        half = data.count(IAC) % 2
        self._half = data[len(data) - half :]
        return data[: len(data) - half].replace(IAC + IAC, IAC)


def way_of(wire: str, authority: Authority) -> Way:
    if wire == "plain":
        return Way()
    if wire == "telnet":
        return Way(lambda _: ("-t",), lambda _, sock: TelnetSocket(sock))
    return over_tls(authority, wire)


@contextmanager
def a_stdin_of(kind: str, path: Path) -> Iterator[dict[str, object]]:
    if kind == "a socket":
        ours, theirs = socket.socketpair()
        with ours, theirs, Program("cat", str(path), stdout=theirs):
            theirs.close()
            yield {"stdin": ours}
    elif kind == "a file":
        with path.open("rb") as file:
            yield {"stdin": file}
    else:
        yield {"stdin": path.read_bytes()}


def test_a_line_that_nobody_was_there_for_waits_for_the_next() -> None:
    with dialling("--reconnect", "-v", stdin=PIPE) as (pync, listener):
        with next_client(listener) as peer:
            pync.send(b"one")
            assert peer.recv(100) == b"one"
        pync.expect("has closed the connection")
        pync.send(b"two")
        with next_client(listener) as peer:
            assert peer.recv(100) == b"two"


def test_output_goes_on_from_peer_to_peer_into_one_pipe() -> None:
    with dialling("--reconnect", "-d") as (pync, listener):
        for word in (b"one", b"two"):
            with next_client(listener) as peer:
                peer.sendall(word)
        pync.expect("onetwo", "out")


def test_somebody_who_only_sends_comes_back_as_well() -> None:
    with dialling("--reconnect", "-v", "--send-only", stdin=PIPE) as (pync, listener):
        with next_client(listener) as peer:
            pync.send(b"one")
            assert peer.recv(100) == b"one"
            peer.sendall(b"who listens?")
        pync.expect("has closed the connection")
        pync.send(b"two")
        with next_client(listener) as peer:
            assert peer.recv(100) == b"two"
            pync.end()
            assert drain(peer) == b""
        result = pync.finish()
    assert (result.status, result.out) == (0, b"")


def test_an_idle_peer_is_left_for_another_connection() -> None:
    with dialling("--reconnect", "--idle-timeout", "200ms", "-d") as (pync, listener):
        for _ in range(2):
            with next_client(listener) as peer:
                drain_until_any_end(peer)
        pync.expect("(pync: timed out: idle for 0.2 s\n){2}")


def test_the_end_of_standard_input_is_the_end() -> None:
    with dialling("--reconnect", stdin=b"hello") as (pync, listener):
        with next_client(listener) as peer:
            assert drain(peer) == b"hello"
            peer.sendall(b"answer")
        result = pync.finish()
    assert (result.status, result.out) == (0, b"answer")


def test_after_the_end_of_standard_input_a_reset_is_an_error() -> None:
    with dialling("--reconnect", stdin=b"hello") as (pync, listener):
        with next_client(listener) as peer:
            assert drain(peer) == b"hello"
            reset(peer)
        assert pync.finish().status == 1


def test_retry_bounds_the_attempts_for_each_next_peer() -> None:
    with dialling("--reconnect", "--retry", "2", stdin=PIPE) as (pync, listener):
        with next_client(listener):
            listener.close()
        result = pync.finish()
    assert result.status == 1
    assert "Connection refused" in complaints(result)[-1]


def test_somebody_who_only_receives_outlives_its_peers() -> None:
    with dialling("--reconnect", "-v", "--recv-only") as (pync, listener):
        for _ in range(3):
            with next_client(listener) as peer:
                peer.sendall(b".")
        pync.expect(r"\.\.\.", "out")
        pync.expect(rf"({HERE} port \d+ has closed the connection\n.*\n){{2}}")
        pync.signal(signal.SIGTERM)
        assert pync.finish().status == -signal.SIGTERM


def test_a_reader_of_the_output_that_goes_is_the_end() -> None:
    reading, writing = os.pipe()
    with dialling("--reconnect", stdin=PIPE, stdout=writing) as (pync, listener):
        os.close(writing)
        with next_client(listener):
            pass
        with next_client(listener):
            os.close(reading)
            assert pync.finish().status == 141
