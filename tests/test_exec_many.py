"""-k with -e and -c: a program for each client, at the same time, and nothing left of any."""

from __future__ import annotations

import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from gateway_talk import dial, settled, wait_for
from harness import PYNC, Program, descriptors
from namespaces import Namespace
from plain_peer import (
    HERE,
    complaints,
    drain,
    drain_until_any_end,
    ended_within,
    reset,
    silent,
    start,
)
from programs import ENDLESS, Room, alive, children, programs
from rooms import STREAMS, exactly

each_stream = pytest.mark.parametrize("kind", STREAMS)
ECHO = "echo $$; exec cat"


def told(client: socket.socket) -> int:
    """The program's number, which it has told."""
    return int(client.recv(100))


def stopped(pync: Program) -> list[str]:
    """What it complained of, once it has been asked to end."""
    pync.signal(signal.SIGTERM)
    result = pync.finish()
    assert result.status == -signal.SIGTERM
    return complaints(result)


@each_stream
def test_each_client_has_a_program_of_its_own(kind: str, served: Room) -> None:
    with served(kind, "-k", "-c", ECHO) as (server, join):
        clients = [join() for _ in range(5)]
        numbers = [told(client) for client in clients]
        assert {*numbers} == {*programs(server, 5)}
        for client, number in zip(reversed(clients), reversed(numbers), strict=True):
            client.sendall(f"hello, {number}".encode())
        for client, number in zip(clients, numbers, strict=True):
            assert client.recv(100) == f"hello, {number}".encode()
        for client in clients[1:]:
            client.shutdown(socket.SHUT_WR)
            assert drain(client) == b""
        assert programs(server, 1) == numbers[:1]
        clients[0].sendall(b"still here")
        assert clients[0].recv(100) == b"still here"
        assert stopped(server) == []
        assert not alive(numbers[0])


@each_stream
def test_how_one_exits_is_nobodys_business(kind: str, served: Room) -> None:
    with served(kind, "-k", "-c", "echo $$; exit 3") as (server, join):
        for _ in range(3):
            assert drain(join())
        assert stopped(server) == []


def test_one_that_vanishes_costs_its_own_program_alone(served: Room) -> None:
    with served("tcp", "-k", "-c", f"echo $$; {ENDLESS}") as (server, join):
        one, other = join(), join()
        gone, stays = told(one), told(other)
        reset(one)
        assert programs(server, 1) == [stays]
        assert not alive(gone)
        server.expect(rf"(?m)^pync: connection with {HERE} port \d+ lost: .*\n")
        assert len(stopped(server)) == 1


def test_one_that_is_silent_is_named(served: Room) -> None:
    with served("tcp", "-k", "--idle-timeout", "0.3", "-c", f"echo; {ENDLESS}") as (server, join):
        client = join()
        name = f"client {HERE} port {client.getsockname()[1]}"
        assert drain_until_any_end(client) == (b"\n", "RST")
        programs(server, 0)
        assert stopped(server) == [f"pync: {name}: timed out: idle for 0.3 s"]


def test_a_slow_client_delays_nobody(served: Room) -> None:
    with served("tcp", "-k", "-c", "head -c 30000000 /dev/zero; cat") as (_, join):
        join()  # takes nothing
        quick = join()
        assert exactly(quick, 30_000_000) == bytes(30_000_000)
        quick.sendall(b"words")
        assert quick.recv(100) == b"words"


# Short connections, many of them.

MANY = 1000


def ask(port: int) -> bytes:
    with dial(port) as client:
        return drain(client)


def test_many_short_connections_leave_nothing() -> None:
    with start("-lkv", "-e", "true", HERE, "0") as server:
        before = settled(server)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, [server.port] * MANY)) == {b""}
        assert programs(server, 0) == []
        assert settled(server) == before
        assert stopped(server) == []


def test_what_programs_say_does_not_mix() -> None:
    with start("-lkv", "-c", "seq 1000; head -c 6", HERE, "0") as server:
        expected = b"".join(b"%d\n" % number for number in range(1, 1001))

        def ask_for(number: int) -> None:
            with dial(port) as client:
                client.sendall(b"%6d" % number)
                assert drain(client) == expected + b"%6d" % number

        port = server.port
        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(ask_for, range(100)))) == 100
        assert programs(server, 0) == []


# Bounds.


@each_stream
def test_no_more_programs_than_may_be(kind: str, served: Room) -> None:
    with served(kind, "-k", "--max-conns", "2", "-c", ECHO) as (server, join):
        clients = [join(), join()]
        numbers = [told(client) for client in clients]
        with ThreadPoolExecutor(1) as pool:
            third = pool.submit(join)
            assert not ended_within(server, 0.3)
            assert {*children(server.pid)} == {*numbers}
            clients[0].shutdown(socket.SHUT_WR)
            client = third.result()
            assert told(client) not in numbers
        assert not alive(numbers[0])
        programs(server, 2)


def test_a_place_is_taken_as_long_as_the_program_is_there(served: Room) -> None:
    """Also if its client has gone."""
    stubborn = f"trap '' HUP; echo $$; {ENDLESS}"
    with served("tcp", "-k", "--max-conns", "1", "-c", stubborn) as (server, join):
        one = join()
        number = told(one)
        reset(one)
        with dial(server.port) as other:
            assert silent(other, 0.5)
            assert alive(number)
            assert told(other) != number
            assert not alive(number)
            assert len(stopped(server)) == 1


# One that closes its connection tells nothing but its end; the kernel tells the rest when it asks.
SOON_FORGOTTEN = "echo 1 > /proc/sys/net/ipv4/tcp_fin_timeout"


def test_a_client_that_just_closes_gives_up_its_place_in_time() -> None:
    words = ("-lkv", "--max-conns", "1", "--tcp-keepalive", "1", "-c", ENDLESS, HERE, "2389")
    visit = ("bash", "-c", f"exec 3<>/dev/tcp/{HERE}/2389")
    with Namespace(SOON_FORGOTTEN) as network, network.program(*PYNC, *words) as server:
        for told in ("Listening", f"pync: connection with {HERE} port \\d+ lost: Broken pipe"):
            server.expect(told, within=30)
            with network.program(*visit) as client:
                client.finish()
        server.expect("(?s)(Connection received.*){2}")
        assert len(stopped(server)) == 1


def test_nor_does_one_over_a_unix_socket_keep_it(served: Room) -> None:
    with served("unix", "-k", "-c", ENDLESS) as (server, join):
        client = join()
        (number,) = programs(server, 1)
        client.close()
        programs(server, 0)
        assert not alive(number)
        assert len(stopped(server)) == 1


def test_one_that_cannot_be_started_costs_its_client_alone(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec cat\n")
    program.chmod(0o755)
    with start("-lkv", "-e", f"{program}", HERE, "0") as server, dial(server.port) as first:
        first.sendall(b"words")
        assert first.recv(100) == b"words"
        program.rename(tmp_path / "elsewhere")
        with dial(server.port) as second:
            assert drain_until_any_end(second) == (b"", "RST")
        (tmp_path / "elsewhere").rename(program)
        with dial(server.port) as third:
            for client in (first, third):
                client.sendall(b"more")
                assert client.recv(100) == b"more"
        assert stopped(server) == [
            f"pync: --exec: cannot run '{program}': No such file or directory"
        ]


def test_nor_does_one_for_lack_of_descriptors() -> None:
    """Each client takes four; who comes when there are none left waits, or is cut."""
    few = 'ulimit -n 26; exec "$@"'
    with start("-lkv", "-e", "cat", HERE, "0", shell=few) as server, ExitStack() as stack:
        server.expect("Listening")
        before = len(descriptors(server.pid))
        clients = [stack.enter_context(dial(server.port)) for _ in range(12)]
        server.expect("clients wait until one leaves")
        assert not ended_within(server, 0.3)
        served = [client for client in clients if echoes(client)]
        assert 2 <= len(served) <= (26 - before) // 4
        for client in clients:
            client.close()
        programs(server, 0)
        wait_for(lambda: len(descriptors(server.pid)) == before)
        with dial(server.port) as client:
            assert echoes(client)
        assert server.cpu_seconds < 2


def echoes(client: socket.socket) -> bool:
    """Whether there is a program for it, or else nothing, or a reset."""
    try:
        client.settimeout(0.3)
        client.sendall(b"words")
        return client.recv(100) == b"words"
    except OSError:
        return False


# Datagrams.


@pytest.mark.parametrize("kind", ["udp", "unix datagrams"])
def test_each_peer_by_datagrams_has_a_program(kind: str, served: Room) -> None:
    line = "while read word; do echo $$ $word; done"
    with served(kind, "-k", "-c", line) as (server, join):
        peers = [join() for _ in range(3)]
        running = programs(server, 3)
        heard = []
        for word in (b"one", b"two"):
            for peer in peers:
                peer.send(word + b"\n")
                number, said = peer.recv(100).split()
                assert said == word
                heard.append(int(number))
        assert heard[:3] == heard[3:]
        assert {*heard} == {*running}
        assert stopped(server) == []
        assert not any(map(alive, running))


def test_a_peer_that_is_silent_is_forgotten_with_its_program(served: Room) -> None:
    with served("udp", "-k", "-w", "0.5", "-c", "echo $$; exec cat") as (server, join):
        one, other = join(), join()
        gone, stays = told(one), told(other)
        for _ in range(8):
            other.send(b"here")
            assert other.recv(100) == b"here"
            assert not ended_within(server, 0.1)
        assert {*children(server.pid)} == {stays}
        assert not alive(gone)
        one.send(b"")
        assert told(one) in programs(server, 2)
        assert stopped(server) == []


def test_whoever_sends_again_after_the_program_s_end_gets_another(served: Room) -> None:
    with served("udp", "-k", "-c", "read word; echo $$ $word") as (server, join):
        peer = join()
        heard = []
        for word in (b"one\n", b"two\n", b"three\n"):
            peer.send(word)
            heard.append(peer.recv(100))
            programs(server, 0)
        numbers = [line.split()[0] for line in heard]
        assert len({*numbers}) == 3
        assert re.fullmatch(rb"\d+ one\n\d+ two\n\d+ three\n", b"".join(heard))
