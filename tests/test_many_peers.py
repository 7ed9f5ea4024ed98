"""Clients of a listener that keeps open do not spoil it for each other.

One that ends, one that is stuck, one that reads after a pause: whoever takes
what it gets gets all of it, and is told nothing that is not true.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from harness import NULL, PATIENCE, PIPE, Program, Result
from plain_peer import (
    HERE,
    LITTLE,
    complaints,
    drain,
    drain_until_reset,
    ended_within,
    start,
)
from test_signals import until, waiting_in

PIECE = 1 << 20


def client_of(server: Program) -> socket.socket:
    return socket.create_connection((HERE, server.port), PATIENCE)


def welcomed(stack: ExitStack, server: Program, count: int) -> list[socket.socket]:
    """So many clients, each of whom the server knows of."""
    clients = [stack.enter_context(client_of(server)) for _ in range(count)]
    server.expect(rf"(Connection received on \S+ \d+\n){{{count}}}")
    return clients


def exactly(client: socket.socket, size: int) -> bytes:
    """The next `size` bytes, or what comes until the end."""
    received = bytearray()
    while len(received) < size and (data := client.recv(min(PIECE, size - len(received)))):
        received += data
    return bytes(received)


def stopped(server: Program) -> list[str]:
    """Let the server end; its errors."""
    server.signal(signal.SIGTERM)
    return complaints(server.finish())


# How long a client may take nothing is not what --linger says.


def test_a_client_that_makes_a_pause_gets_all_of_a_file_whatever_linger_says(
    tmp_path: Path,
) -> None:
    data = os.urandom(PIECE) * 30
    path = tmp_path / "data"
    path.write_bytes(data)
    with (
        path.open("rb") as file,
        start("-lknv", "--linger", "0", HERE, "0", stdin=file) as server,
        client_of(server) as client,
    ):
        begin = exactly(client, 1)
        assert not ended_within(server, 0.3)
        rest = drain(client)
        assert len(rest) == len(data) - 1
        assert begin + rest == data
        assert stopped(server) == []


def test_a_long_linger_gives_a_stuck_client_no_more_time() -> None:
    data = os.urandom(PIECE) * 32
    options = ("-lknv", "--linger", "1h")
    with start(*options, HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        _stuck, good = welcomed(stack, server, 2)
        with Program("cat", stdin=data, stdout=server.process.stdin) as feeder:
            server.end()
            assert exactly(good, len(data)) == data
            assert feeder.finish().status == 0
        server.expect("pync: .*takes nothing: dropped")


# Who waits for whom.  A client that is stuck is one with little room for what it does not read.


@contextmanager
def stuck_at(server: Program) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        client.connect((HERE, server.port))
        server.expect(rf"Connection received on \S+ {client.getsockname()[1]}\n")
        yield client


@contextmanager
def feeding(server: Program, data: bytes) -> Iterator[None]:
    """Its standard input gets the data, as fast as it is read, and does not end."""
    with Program("cat", stdin=data, stdout=server.process.stdin):
        yield


LITTLE_ROOM = ("-lknv", "-O", "16k")


def test_a_client_that_is_alone_is_waited_for_until_another_one_comes() -> None:
    data = os.urandom(PIECE) * 4
    with (
        start(*LITTLE_ROOM, HERE, "0", stdin=PIPE) as server,
        stuck_at(server),
        feeding(server, data),
    ):
        server.receive(1, within=1.0)
        assert complaints(Result(0, b"", server.text())) == []
        with client_of(server) as newcomer:
            rest = exactly(newcomer, 1 << 20)
            assert len(rest) == 1 << 20
            assert rest in data
        server.expect("pync: .*takes nothing: dropped; [0-9]+ bytes not delivered")


def test_those_who_stopped_before_their_outboxes_were_full_delay_nobody() -> None:
    """Several, since any delay would then be one for each of them."""
    data = os.urandom(PIECE) * 4
    with start(*LITTLE_ROOM, HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(stuck_at(server))
        good = stack.enter_context(client_of(server))
        server.send(data[:100_000])
        assert exactly(good, 100_000) == data[:100_000]
        assert not ended_within(server, 0.6)
        stack.enter_context(feeding(server, data[100_000:]))
        assert exactly(good, 1) == data[100_000:100_001]
        begin = time.monotonic()
        assert exactly(good, len(data) - 100_001) == data[100_001:]
        assert time.monotonic() - begin < 3
        server.expect("(pync: .*takes nothing: dropped.*\n){6}")


def test_one_that_takes_a_little_now_and_then_is_waited_for() -> None:
    data = os.urandom(1 << 16) * 40
    options = (*LITTLE_ROOM, "--outbox", "64k")
    with (
        start(*options, HERE, "0", stdin=PIPE) as server,
        stuck_at(server) as slow,
        client_of(server) as good,
        feeding(server, data),
    ):
        for begin in range(0, len(data), 1 << 16):
            piece = data[begin : begin + (1 << 16)]
            assert exactly(good, len(piece)) == exactly(slow, len(piece)) == piece
            select.select([], [], [], 0.05)
        assert stopped(server) == []


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [((), 1_000_000, 1_500_000), (("--outbox", "200k"), 180_000, 500_000)],
)
def test_so_much_may_wait_for_one(options: tuple[str, ...], least: int, most: int) -> None:
    """As is told when it is dropped; a piece on its way, and what the kernel has, come on top."""
    data = os.urandom(PIECE) * 4
    with (
        start(*LITTLE_ROOM, *options, HERE, "0", stdin=PIPE) as server,
        stuck_at(server),
        client_of(server) as good,
        feeding(server, data),
    ):
        assert exactly(good, len(data)) == data
        told = server.expect(r"dropped; (\d+) bytes not delivered")
        assert least < int(told[1]) < most


def test_an_outbox_of_one_byte_is_enough() -> None:
    with start("-lknv", "--outbox", "1", HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        clients = welcomed(stack, server, 3)
        server.send(b"little by little")
        server.end()
        assert [drain(client) for client in clients] == [b"little by little"] * 3


def test_what_was_read_of_one_is_written_whole_though_it_is_dropped() -> None:
    sent = b"a" * 50_000
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with start(*LITTLE_ROOM, HERE, "0", stdin=PIPE, stdout=writing) as server, ExitStack() as stack:
        out = stack.enter_context(os.fdopen(reading, "rb"))
        os.close(writing)
        stuck = stack.enter_context(stuck_at(server))
        good = stack.enter_context(client_of(server))
        server.signal(signal.SIGSTOP)
        os.waitpid(server.pid, os.WUNTRACED)
        stuck.sendall(sent)  # which is more than is written at once
        server.signal(signal.SIGCONT)
        stack.enter_context(feeding(server, bytes(PIECE * 4)))
        assert len(exactly(good, PIECE * 4)) == PIECE * 4
        good.sendall(b"b")
        assert out.read(len(sent) + 1) == sent + b"b"
        server.expect("takes nothing: dropped")


# A client that ends while the others still get something.


def test_a_client_that_ends_neither_stalls_the_others_nor_is_blamed() -> None:
    """It has sent its one packet, is told the end, and keeps its own end back."""
    data = os.urandom(PIECE) * 4
    with start("-lknv", "-W", "1", HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        ending, staying = welcomed(stack, server, 2)
        server.send(b"hello\n")
        assert [exactly(client, 6) for client in (ending, staying)] == [b"hello\n"] * 2
        ending.sendall(b"done\n")
        assert server.receive(5) == b"done\n"
        assert drain(ending) == b""
        with Program("cat", stdin=data, stdout=server.process.stdin) as feeder:
            first = exactly(staying, 1)
            begin = time.monotonic()
            assert first + exactly(staying, len(data) - 1) == data
            assert time.monotonic() - begin < 1.4
            assert feeder.finish().status == 0
        ending.close()
        server.send(b"bye\n")
        assert exactly(staying, 4) == b"bye\n"
        assert stopped(server) == []


# --tcp-keepalive: what the kernel cannot do is told before anybody comes.


@pytest.mark.parametrize("role", ["-lk", "-l", "connects"])
def test_a_keepalive_time_beyond_the_kernels_is_refused_at_once(role: str) -> None:
    options = () if role == "connects" else (role,)
    port = "9" if role == "connects" else "0"
    with start(*options, "--tcp-keepalive", "10h", HERE, port, stdin=NULL) as pync:
        result = pync.finish()
    assert (result.status, result.out) == (2, b"")
    (line,) = complaints(result)
    assert "--tcp-keepalive" in line


def test_a_keepalive_time_of_an_hour_keeps_nobody_out() -> None:
    with (
        start("-lknv", "--tcp-keepalive", "1h", HERE, "0", stdin=NULL) as server,
        client_of(server) as client,
    ):
        client.sendall(b"hello")
        assert server.receive(5) == b"hello"
        assert stopped(server) == []


# A signal ends the listening; what is held for clients is not lost by that.

HELD = os.urandom(500_000)


@contextmanager
def holding_for_a_client() -> Iterator[tuple[Program, socket.socket]]:
    """A listener that has taken HELD from stdin, of which its client has read nothing."""
    with (
        start("-lknv", "-O", "16k", HERE, "0", stdin=PIPE) as server,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        client.connect((HERE, server.port))
        server.send(HELD)
        pipe = server.process.stdin
        assert pipe
        until(lambda: waiting_in(pipe.fileno()) == 0)
        yield server, client


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_clients_have_what_is_held_for_them(number: signal.Signals) -> None:
    with holding_for_a_client() as (server, client):
        server.signal(number)
        assert drain_until_reset(client) == HELD  # an end would say that there was no more
        assert server.finish().status == -number


def test_a_signal_waits_for_no_client_that_takes_nothing() -> None:
    with holding_for_a_client() as (server, client):
        server.signal(signal.SIGTERM)
        result = server.finish()
        assert result.status == -signal.SIGTERM
        assert "bytes not delivered" in complaints(result)[0]
        assert len(drain_until_reset(client)) < len(HELD)
