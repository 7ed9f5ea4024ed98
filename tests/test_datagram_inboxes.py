"""Peers of one datagram socket whose datagrams are taken slowly, or not at all.

Where each has somebody of its own to take them, none silences the others; where all
have standard output, everybody waits for that, and nothing is lost.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from contextlib import closing, suppress
from pathlib import Path

import pytest
from gateway_talk import wait_for
from plain_peer import HERE, ended_within
from programs import Room, alive, programs
from rooms import DATAGRAMS
from test_exec_many import stopped

from pync.options import Options
from pync.transports import transport_of

each_kind = pytest.mark.parametrize("kind", DATAGRAMS)

# Who says "x" gets a program that reads nothing more; everybody else is answered.
MOODY = "read word; test $word = x && exec sleep 100; echo got $word; exec cat"
TIRED = "datagrams of .* are dropped: it takes none\n"


def pour(peer: socket.socket, count: int = 300) -> None:
    """So many datagrams, more than an inbox and a program's pipe hold together."""
    for number in range(count):
        peer.send(b"%09d " % number * 140)


def ask(peer: socket.socket, word: bytes) -> bytes:
    """The answer; what finds no room in the kernel is lost, and said again."""
    peer.settimeout(0.2)
    for _ in range(100):
        peer.send(word)
        with suppress(TimeoutError):
            return peer.recv(100)
    raise AssertionError(f"{word!r} is not heard")


@each_kind
def test_a_program_that_does_not_read_silences_nobody_else(kind: str, served: Room) -> None:
    with served(kind, "-k", "-c", MOODY) as (server, join):
        stuck, early, late = join(), join(), join()
        stuck.send(b"x\n")
        assert ask(early, b"early\n") == b"got early\n"
        pour(stuck)
        assert ask(early, b"again\n").startswith(b"again\n")
        pour(stuck)
        server.expect(TIRED)
        assert ask(late, b"late\n").startswith(b"got late\n")
        assert stopped(server) == []
    assert server.text().count("are dropped") == 1


@each_kind
def test_a_newcomer_is_heard_beside_a_program_that_does_not_read(kind: str, served: Room) -> None:
    with served(kind, "-k", "-c", MOODY) as (server, join):
        stuck = join()
        stuck.send(b"x\n")
        pour(stuck)
        with socket.socket(stuck.family, stuck.type) as newcomer:
            newcomer.bind("" if kind == "unix datagrams" else (HERE, 0))
            newcomer.connect(stuck.getpeername())
            assert ask(newcomer, b"late\n").startswith(b"got late\n")
        assert stopped(server) == []


def test_a_program_that_makes_a_pause_loses_nothing(served: Room, tmp_path: Path) -> None:
    """It wakes up with more there than its pipe and its inbox hold."""
    heard = tmp_path / "heard"
    line = f"read word; sleep 0.2; exec cat > {heard}"
    with served("unix datagrams", "-k", "-c", line) as (server, join):
        peer = join()
        peer.send(b"begin\n")
        pour(peer)
        wait_for(lambda: heard.exists() and heard.stat().st_size == 300 * 1400)
        assert "dropped" not in server.text()


@each_kind
def test_a_program_that_reads_again_gets_what_comes_then(kind: str, served: Room) -> None:
    with served(kind, "-k", "-c", "echo $$; exec cat") as (server, join):
        peer = join()
        program = int(peer.recv(100))
        os.killpg(program, signal.SIGSTOP)
        pour(peer)
        assert not ended_within(server, 0.6)
        pour(peer)  # which the kernel may have had no room for before
        server.expect(TIRED)
        os.killpg(program, signal.SIGCONT)
        while b"new" not in peer.recv(1 << 16):
            peer.send(b"new")
        assert stopped(server) == []


def test_a_program_that_does_not_read_is_not_kept_for_ever(served: Room) -> None:
    with served("udp", "-k", "-w", "0.5", "-c", "echo $$; exec sleep 100") as (server, join):
        peer = join()
        program = int(peer.recv(100))
        pour(peer)
        server.expect(rf"pync: client {HERE} .*: timed out: \d+ bytes received and not written\n")
        assert programs(server, 0) == []
        assert not alive(program)


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="pipes have one size here")
def test_standard_output_is_waited_for_and_nothing_is_lost(served: Room) -> None:
    """Longer than a program is; all that the kernel holds comes, of both peers."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as heard, os.fdopen(writer, "wb") as stdout:
        fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, 4096)
        with served("udp", "-k", stdout=stdout) as (server, join):
            stdout.close()
            one, other = join(), join()
            for _ in range(200):
                one.send(b"1" * 100)
            other.send(b"2" * 100)
            assert not ended_within(server, 0.8)
            assert sorted(heard.read(201 * 100)) == sorted(b"1" * 20_000 + b"2" * 100)


def test_what_a_peer_sends_after_no_more_was_wanted_of_it_is_a_newcomer_s() -> None:
    """As with -W, where its session may last, since it does not take what it gets."""
    options = Options(listen=True, keep_open=True, udp=True, host=HERE, port="0")
    listener = transport_of(options).listen(options)
    with closing(listener), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.connect((HERE, int(listener.places[0].split()[1])))
        for word in (b"one", b"two", b"three"):
            peer.send(word)
            source = listener.accept().source
            assert source.read(100) == word
            source.stop()
