"""What is cut short is not taken for an end, and what came before the cut is not lost."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from harness import PIPE
from plain_peer import (
    HERE,
    LITTLE,
    complaints,
    drain_until_reset,
    ended_within,
    joined,
    reset,
    start,
)
from stdio_kinds import a_stdin
from test_signals import until
from test_unix_sockets import a_socket, listening

pytestmark = pytest.mark.usefixtures("_each_way")

BIG = 8 << 20  # bytes: more than the kernel holds for a peer with a little buffer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_mid_transfer_resets_the_connection(
    number: signal.Signals, tmp_path: Path
) -> None:
    with (
        a_stdin("file", bytes(BIG), tmp_path) as stdin,
        joined("connects", receive_buffer=LITTLE, **stdin.how) as (pync, peer),
    ):
        assert peer.recv(100)
        pync.signal(number)
        assert pync.finish().status == -number
        assert len(drain_until_reset(peer)) < BIG


@pytest.mark.plain_alone("many clients")
def test_a_signal_in_mid_transfer_resets_the_connections_of_all_clients(tmp_path: Path) -> None:
    with (
        a_stdin("file", bytes(BIG), tmp_path) as stdin,
        start("-lknv", HERE, "0", **stdin.how) as pync,
        socket.socket() as peer,
    ):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        peer.connect((HERE, pync.port))
        assert peer.recv(100)
        pync.signal(signal.SIGTERM)
        assert pync.finish().status == -signal.SIGTERM
        assert len(drain_until_reset(peer)) < BIG


def test_a_reader_that_leaves_in_mid_transfer_resets_the_connection(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with (
        a_stdin("file", bytes(BIG), tmp_path) as stdin,
        joined("connects", receive_buffer=LITTLE, stdout=writing, **stdin.how) as (pync, peer),
    ):
        os.close(writing)
        assert peer.recv(100)
        os.close(reading)
        assert pync.finish().status == 141
        assert len(drain_until_reset(peer)) < BIG


def test_a_signal_with_nothing_under_way_is_an_end_like_any_other() -> None:
    with joined("connects", stdin=PIPE) as (pync, peer):
        pync.send(b"all")
        assert peer.recv(100) == b"all"
        pync.signal(signal.SIGTERM)
        assert peer.recv(100) == b""
        assert pync.finish().status == -signal.SIGTERM


@pytest.mark.plain_alone("TLS cannot stop receiving alone")
def test_a_peer_that_takes_no_more_is_heard_to_its_end_without_any_linger(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    said = bytes(200_000)
    with a_socket("", path) as listener, Path("/dev/zero").open("rb") as endless:
        listener.listen()
        with start("--linger", "0", "-U", str(path), stdin=endless) as pync:
            peer, _ = listener.accept()
            with peer:
                peer.shutdown(socket.SHUT_RD)
                for piece in (said[:150_000], said[150_000:]):
                    peer.sendall(piece)
            result = pync.finish()
    assert (result.status, result.out) == (1, said)
    assert len(complaints(result)) == 1


def test_a_stdin_that_breaks_is_told_although_stdout_is_stuck() -> None:
    reading, writing = os.pipe()
    tcp = socket.create_server((HERE, 0))
    with tcp, socket.create_connection(tcp.getsockname()) as given:
        feeder, _ = tcp.accept()
        with joined("connects", stdin=given.fileno(), stdout=writing) as (pync, peer):
            peer.sendall(bytes(1 << 17))
            assert not ended_within(pync, 0.2)
            reset(feeder)
            result = pync.finish()
    os.close(reading)
    os.close(writing)
    assert result.status == 2
    assert complaints(result) == ["pync: cannot read standard input: Connection reset by peer"]


@pytest.mark.plain_alone("nobody is there yet")
def test_a_signal_while_connecting_takes_the_clients_own_path_away(tmp_path: Path) -> None:
    server, own = tmp_path / "server", tmp_path / "own"
    with a_socket("", server) as listener, a_socket("") as first:
        listener.listen(0)
        first.connect(str(server))
        with start("-U", "-s", str(own), str(server)) as pync:
            until(own.exists)
            assert not ended_within(pync, 0.1)
            pync.signal(signal.SIGTERM)
            assert pync.finish().status == -signal.SIGTERM
    assert not own.exists()


@pytest.mark.plain_alone("datagrams")
def test_a_sender_that_has_gone_before_it_could_be_answered_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening("u", path, "-d") as pync:
        pync.signal(signal.SIGSTOP)
        with a_socket("u", tmp_path / "own") as sender:
            sender.sendto(b"precious", str(path))
        (tmp_path / "own").unlink(missing_ok=True)
        pync.signal(signal.SIGCONT)
        assert pync.receive(8) == b"precious"
