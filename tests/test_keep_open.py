"""A listener that keeps open: many clients, one after the other and at the same time.

Rude clients, stuck clients, more clients than there are descriptors, and a
thousand at once: the listener goes on, and each client's bytes stay together.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from harness import NULL, PATIENCE, PIPE, Program
from plain_peer import HERE, drain, reset, start

CROWD = 1100  # more than select() could serve


@contextmanager
def client_of(server: Program) -> Iterator[socket.socket]:
    with socket.create_connection((HERE, server.port), PATIENCE) as client:
        yield client


def connected(stack: ExitStack, server: Program, count: int) -> list[socket.socket]:
    """So many clients, each of whom has been welcomed."""
    clients = [stack.enter_context(client_of(server)) for _ in range(count)]
    server.expect(rf"(Connection received on \S+ \d+\n){{{count}}}")
    return clients


def hears(server: Program, words: list[bytes]) -> bool:
    """Whether exactly these words, in any order, are what has come out so far."""
    heard = server.receive(sum(map(len, words)))
    return sorted(heard.splitlines(keepends=True)) == sorted(words)


def test_one_client_after_the_other_is_served() -> None:
    with Program.pync("-klv", HERE, "0") as server:
        for number in range(5):
            with Program.pync(HERE, str(server.port), stdin=b"client %d\n" % number) as client:
                assert client.finish().status == 0
        assert hears(server, [b"client %d\n" % number for number in range(5)])


def test_several_clients_are_served_at_the_same_time() -> None:
    with Program.pync("-klv", HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        port = str(server.port)
        clients = [stack.enter_context(Program.pync(HERE, port, stdin=PIPE)) for _ in range(5)]
        for number, client in enumerate(clients):
            client.send(b"client %d\n" % number)
        assert hears(server, [b"client %d\n" % number for number in range(5)])
        server.send(b"to all of you")
        for client in clients:
            assert client.receive(13) == b"to all of you"


def test_what_is_piped_in_reaches_every_client_whole() -> None:
    data = os.urandom(1 << 20)
    with Program.pync("-klv", HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        clients = connected(stack, server, 3)
        with ExitStack() as reading:
            readers = [reading.enter_context(client.makefile("rb")) for client in clients]
            for begin in range(0, len(data), 1 << 16):
                piece = data[begin : begin + (1 << 16)]
                server.send(piece)
                assert [reader.read(len(piece)) for reader in readers] == [piece] * 3
            server.end()
            assert [reader.read() for reader in readers] == [b""] * 3


@pytest.mark.parametrize("said", [b"", b"x"], ids=["silent", "talking"])
def test_two_hundred_resets_do_not_harm_it(said: bytes) -> None:
    with Program.pync("-klv", HERE, "0", stdin=PIPE) as server:
        for _ in range(200):
            with client_of(server) as client:
                client.sendall(said)
                reset(client)
        with client_of(server) as client:
            client.sendall(b"good\n")
            server.expect("good\n", "out")
            server.send(b"welcome")
            assert client.recv(100) == b"welcome"
        assert "Traceback" not in server.text()


# More clients than descriptors.


def test_without_descriptors_it_waits_for_one_in_peace() -> None:
    few = 'ulimit -n 16; exec "$@"'
    with start("-klv", HERE, "0", shell=few, stdin=NULL) as server, ExitStack() as stack:
        clients = [stack.enter_context(client_of(server)) for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall(b"client %02d\n" % number)
        server.expect("pync: .*open files")
        before = server.cpu_seconds
        served = len(server.receive(20 * 10, within=1.0)) // 10
        assert server.cpu_seconds - before < 0.05
        assert 5 < served < 16
        begin = time.monotonic()
        clients[0].close()
        assert len(server.receive((served + 1) * 10)) == (served + 1) * 10
        assert time.monotonic() - begin < 1.5
        for client in clients:
            client.close()
        assert hears(server, [b"client %02d\n" % number for number in range(20)])
        assert server.text().count("pync: ") == 1


def test_it_takes_all_the_descriptors_that_it_may_have() -> None:
    few_at_first = 'ulimit -Sn 16; exec "$@"'
    with start("-klv", HERE, "0", shell=few_at_first, stdin=NULL) as server, ExitStack() as stack:
        for number, client in enumerate(connected(stack, server, 30)):
            client.sendall(b"client %02d\n" % number)
        assert hears(server, [b"client %02d\n" % number for number in range(30)])
        assert "pync: " not in server.text()


# A crowd.


@pytest.mark.usefixtures("_descriptors_for_a_crowd")
def test_a_crowd_that_comes_at_once_is_heard_and_told() -> None:
    with Program.pync("-kln", "-v", HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        address = (HERE, server.port)
        crowd = [stack.enter_context(socket.socket()) for _ in range(CROWD)]
        begin = time.monotonic()
        for client in crowd:
            client.setblocking(False)
            client.connect_ex(address)
        for number, client in enumerate(crowd):
            client.settimeout(PATIENCE)
            client.sendall(b"client %04d\n" % number)
        assert hears(server, [b"client %04d\n" % number for number in range(CROWD)])
        assert time.monotonic() - begin < 5  # a backlog that overflows costs more
        server.send(b"welcome")
        assert {client.recv(100) for client in crowd} == {b"welcome"}


# Clients that get in each other's way.


def test_a_stuck_client_does_not_stop_the_others_for_good() -> None:
    size = 32 << 20
    with Program.pync("-klv", HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        _stuck, good = connected(stack, server, 2)
        feeder = stack.enter_context(
            Program("head", "-c", str(size), "/dev/zero", stdout=server.process.stdin)
        )
        server.end()
        with good.makefile("rb") as reader:
            assert len(reader.read(size)) == size
        assert feeder.finish().status == 0


def test_what_is_read_at_once_comes_out_together() -> None:
    """While pync is stopped each client sends a block, so each can be read in one piece."""
    count, size = 20, 16_384
    with Program.pync("-klv", HERE, "0", stdin=NULL) as server, ExitStack() as stack:
        clients = connected(stack, server, count)
        server.signal(signal.SIGSTOP)
        os.waitpid(server.pid, os.WUNTRACED)
        for number, client in enumerate(clients):
            client.sendall(bytes([number]) * size)
        server.signal(signal.SIGCONT)
        heard = server.receive(count * size)
        blocks = [heard[begin : begin + size] for begin in range(0, len(heard), size)]
        assert sorted(blocks) == [bytes([number]) * size for number in range(count)]


def test_a_client_that_leaves_in_the_middle_takes_nothing_with_it() -> None:
    with Program.pync("-klv", HERE, "0", stdin=NULL) as server, ExitStack() as stack:
        leaving, staying = connected(stack, server, 2)
        leaving.sendall(b"last words\n")
        leaving.shutdown(socket.SHUT_WR)
        assert drain(leaving) == b""
        staying.sendall(b"still here\n")
        assert hears(server, [b"last words\n", b"still here\n"])
