"""pync as a relay of datagrams: each peer has a socket of its own to the target."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from gateway_talk import wait_for
from harness import PATIENCE, PEERS, Program, descriptors
from plain_peer import HERE, complaints, silent, start

SIZES = (0, 1, 1472, 9000, 65507)


@contextmanager
def bound(where: str | tuple[str, int] = (HERE, 0)) -> Iterator[socket.socket]:
    unix = isinstance(where, str)
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind(where)
        yield sock


@contextmanager
def relaying(target: socket.socket, *options: str, keep: str = "k") -> Iterator[Program]:
    where = target.getsockname()
    named = f"unix:{where}" if isinstance(where, str) else f"{where[0]}:{where[1]}"
    place = () if "-U" in options else (HERE, "0")
    with start(f"-lunv{keep}", "--relay", named, *options, *place) as pync:
        pync.expect("Listening on")
        yield pync


@contextmanager
def client_of(pync: Program) -> Iterator[socket.socket]:
    with bound() as client:
        client.connect((HERE, pync.port))
        yield client


def test_datagrams_pass_whole_both_ways() -> None:
    with bound() as target, relaying(target) as pync, client_of(pync) as client:
        for size in SIZES:
            client.send(b"x" * size)
            data, sender = target.recvfrom(1 << 16)
            assert data == b"x" * size
            target.sendto(b"y" * size, sender)
            assert client.recv(1 << 16) == b"y" * size


def test_each_peer_is_one_of_the_target_s_own() -> None:
    with bound() as target, relaying(target) as pync, ExitStack() as stack:
        clients = [stack.enter_context(client_of(pync)) for _ in range(20)]
        senders = {}
        for number, client in enumerate(clients):
            client.send(b"%d" % number)
            data, senders[number] = target.recvfrom(100)
            assert data == b"%d" % number
        assert len(set(senders.values())) == len(clients)
        for number in reversed(senders):
            target.sendto(b"to %d" % number, senders[number])
        for number, client in enumerate(clients):
            assert client.recv(100) == b"to %d" % number
            client.send(b"again")
            assert target.recvfrom(100) == (b"again", senders[number])


def test_over_unix_sockets_too(tmp_path: Path) -> None:
    with (
        bound(f"{tmp_path}/target") as target,
        relaying(target, "-U", f"{tmp_path}/front"),
        bound(f"{tmp_path}/client") as client,
    ):
        client.connect(f"{tmp_path}/front")
        client.send(b"ping")
        data, sender = target.recvfrom(100)
        target.sendto(data.replace(b"i", b"o"), sender)
        assert client.recv(100) == b"pong"


def is_free(place: tuple[str, int]) -> bool:
    """Whether nobody has it any more."""
    try:
        with bound(place):
            return True
    except OSError:
        return False


def test_a_silent_peer_is_forgotten_after_the_time_of_w() -> None:
    with bound() as target, relaying(target, "-w", "0.3") as pync, client_of(pync) as client:
        client.send(b"one")
        _, first = target.recvfrom(100)
        wait_for(lambda: is_free(first))
        client.send(b"two")
        assert target.recvfrom(100)[0] == b"two"
        target.sendto(b"late", first)
        assert silent(client, 0.2)
        pync.signal(signal.SIGTERM)
        assert complaints(pync.finish()) == []


def test_a_target_that_refuses_costs_its_peer_alone() -> None:
    with bound() as target:
        place = target.getsockname()
        with relaying(target) as pync, client_of(pync) as client:
            target.close()
            client.send(b"anybody?")
            pync.expect(rf"pync: client {HERE} port \d+ to {HERE} port {place[1]}: .*refused\n")
            with bound(place) as again:
                client.send(b"anybody?")
                data, sender = again.recvfrom(100)
                again.sendto(data.upper(), sender)
                assert client.recv(100) == b"ANYBODY?"


def test_peers_that_were_pushed_out_leave_nothing() -> None:
    """Of more than a thousand the longest silent one is forgotten."""
    with bound() as target, relaying(target) as pync:
        before = len(descriptors(pync.pid))
        for number in range(1050):
            with client_of(pync) as client:
                client.send(b"%d" % number)
                assert target.recv(100) == b"%d" % number
                pync.expect(rf"port {client.getsockname()[1]} to .*: connected")
        wait_for(lambda: len(descriptors(pync.pid)) <= before + 1000)


def test_without_keep_open_the_first_peer_alone_is_relayed() -> None:
    with (
        bound() as target,
        relaying(target, "-w", "0.5", keep="") as pync,
        client_of(pync) as client,
        client_of(pync) as other,
    ):
        client.send(b"mine")
        assert target.recv(100) == b"mine"
        other.send(b"not mine")
        assert silent(target, 0.2)
        assert pync.finish().status == 0


@pytest.mark.skipif(not PEERS["socat"], reason="no socat")
def test_between_socat_and_socat() -> None:
    with bound() as placeholder:
        port = placeholder.getsockname()[1]
    with (
        Program("socat", f"UDP4-RECVFROM:{port},bind={HERE},fork", "EXEC:tr a-z A-Z") as server,
        start("-lunvk", "--relay", f"{HERE}:{port}", HERE, "0") as pync,
        Program("socat", "-t2", "-", f"UDP4:{HERE}:{pync.port}", stdin=b"hello\n") as client,
    ):
        assert client.finish().out == b"HELLO\n"
        assert not server.process.poll()
