"""How a session ends by a limit: -q, -w, --idle-timeout, -W, and what is said of lost bytes.

Where time passes here, it is the time limit that is being tested.  A lower bound is
measured from before the moment that starts the limit, so that a busy machine
can only make it longer; the upper bounds are generous.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from io import FileIO
from pathlib import Path

import pytest
from harness import NULL, PIPE, Program, Result
from plain_peer import (
    HERE,
    LITTLE,
    ROLES,
    complaints,
    drain,
    drain_until_any_end,
    drain_until_reset,
    ended_within,
    joined,
    silent,
    start,
    torn,
)
from stdio_kinds import a_stdin

pytestmark = pytest.mark.usefixtures("_each_way")

LATE = 5.0  # seconds: more than any limit here and a slow machine need
QUESTION = b"question " * 1000
HUGE = 8 << 20  # more than the kernel's buffers between two sockets hold
SOME = 200_000  # more than a LITTLE receive buffer holds, and less than the sender's kernel

both_roles = pytest.mark.parametrize("role", ROLES)
each_limit = pytest.mark.parametrize(
    ("role", "option"), [("connects", "-w"), ("listens", "--idle-timeout")]
)


def told_lost(result: Result) -> int:
    """The number of bytes that the one line of complaint says were not delivered."""
    (line,) = complaints(result)
    match = re.search(r"(\d+) bytes? not delivered$", line)
    return int(match[1]) if match else 0


# -q: exit 0 that long after stdin's end at the latest.


@both_roles
@pytest.mark.parametrize("kind", ["file", "pipe", "null", "closed"])
def test_q_is_exact_from_any_stdins_end(role: str, kind: str, tmp_path: Path) -> None:
    with (
        a_stdin(kind, QUESTION, tmp_path) as stdin,
        joined(role, "-q", "400ms", **stdin.how) as (pync, peer),
    ):
        begin = time.monotonic()
        stdin.feed(pync)
        assert peer.recv(len(QUESTION), socket.MSG_WAITALL) == stdin.data
        assert pync.finish().status == 0
        # A client with an ended stdin may begin a moment before accept() tells.
        assert 0.25 < time.monotonic() - begin < LATE


@both_roles
def test_q_is_exact_from_a_terminals_end(role: str) -> None:
    keyboard, terminal = os.openpty()
    with (
        os.fdopen(keyboard, "wb", buffering=0) as person,
        os.fdopen(terminal, "rb", buffering=0) as stdin,
        joined(role, "-q", "500ms", stdin=stdin) as (pync, peer),
    ):
        person.write(b"hello\n")
        assert peer.recv(100) == b"hello\n"
        begin = time.monotonic()
        person.write(b"\x04")
        assert pync.finish().status == 0
        assert 0.5 <= time.monotonic() - begin < LATE


@both_roles
def test_q_0_leaves_at_once_and_delivers_all(role: str, tmp_path: Path) -> None:
    with (
        a_stdin("file", QUESTION, tmp_path) as stdin,
        joined(role, "-q", "0", **stdin.how) as (pync, peer),
    ):
        assert drain(peer) == QUESTION
        assert pync.finish(within=LATE).status == 0


@both_roles
def test_q_is_only_the_latest_end(role: str, tmp_path: Path) -> None:
    with (
        a_stdin("file", QUESTION, tmp_path) as stdin,
        joined(role, "-q", "1m", **stdin.how) as (pync, peer),
    ):
        assert drain(peer) == QUESTION
        peer.sendall(b"answer")
        peer.close()
        assert pync.finish()[:2] == (0, b"answer")


@both_roles
def test_q_does_not_call_lost_bytes_a_success(role: str, tmp_path: Path) -> None:
    with (
        a_stdin("file", bytes(SOME), tmp_path) as stdin,
        joined(role, "-q", "300ms", receive_buffer=LITTLE, **stdin.how) as (pync, peer),
    ):
        begin = time.monotonic()
        result = pync.finish()
        assert time.monotonic() - begin < 0.3 + 1.5
        arrived, _ = drain_until_any_end(peer)
        assert result.status == 1
        assert SOME > len(arrived) >= SOME - told_lost(result) - torn()


# -w and --idle-timeout: idle that long.


@both_roles
@pytest.mark.parametrize(("option", "status"), [("-w", 0), ("--idle-timeout", 1)])
def test_an_idle_session_ends(role: str, option: str, status: int) -> None:
    with joined(role, option, "300ms", stdin=PIPE) as (pync, peer):
        pync.send(b"ping")
        assert peer.recv(100) == b"ping"
        begin = time.monotonic()
        peer.sendall(b"pong")
        result = pync.finish()
        assert result[:2] == (status, b"pong")
        assert len(complaints(result)) == status
        assert 0.3 <= time.monotonic() - begin < LATE


@each_limit
def test_a_line_that_is_used_now_and_then_is_not_idle(role: str, option: str) -> None:
    with joined(role, option, "1s", stdin=PIPE) as (pync, peer):
        for turn in range(3):
            assert not ended_within(pync, 0.4)
            if turn % 2:
                peer.sendall(b"pong")
            else:
                pync.send(b"ping")
                assert peer.recv(100) == b"ping"
        pync.end()
        peer.close()
        assert pync.finish()[:2] == (0, b"pong")


@pytest.mark.plain_alone("it is about the time before a client comes")
@pytest.mark.parametrize("option", ["-w", "--idle-timeout"])
def test_a_listener_may_wait_longer_for_its_client(option: str) -> None:
    with start("-lnv", option, "200ms", HERE, "0") as pync:
        address = (HERE, pync.port)
        assert not ended_within(pync, 0.5)
        with socket.create_connection(address) as peer:
            peer.sendall(b"at last")
        assert pync.finish()[:2] == (0, b"at last")


@each_limit
def test_a_receiver_that_stalls_is_a_failure_with_a_count(
    role: str, option: str, tmp_path: Path
) -> None:
    with (
        a_stdin("file", bytes(HUGE), tmp_path) as stdin,
        joined(role, option, "500ms", **stdin.how) as (pync, peer),
    ):
        result = pync.finish()
        arrived, _ = drain_until_any_end(peer)
        taken = os.lseek(stdin.how["stdin"].fileno(), 0, os.SEEK_CUR)
        assert result.status == 1
        assert "timed out" in complaints(result)[0]
        assert taken > len(arrived) >= taken - told_lost(result) - torn()


@both_roles
def test_a_receiver_that_pauses_less_than_the_limit_gets_all(role: str, tmp_path: Path) -> None:
    with (
        a_stdin("file", bytes(HUGE), tmp_path) as stdin,
        joined(role, "-w", "700ms", **stdin.how) as (pync, peer),
    ):
        received = 0
        for _ in range(3):
            assert not ended_within(pync, 0.3)
            received += len(peer.recv(1 << 20, socket.MSG_WAITALL))
        assert received + len(drain(peer)) == HUGE
        peer.close()
        assert pync.finish().status == 0


@each_limit
def test_a_reader_of_stdout_that_pauses_longer_than_the_limit_gets_all(
    role: str, option: str
) -> None:
    reader, writer = (FileIO(fd, mode) for fd, mode in zip(os.pipe(), "rw", strict=True))
    with reader, writer:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        with joined(role, option, "200ms", stdin=NULL, stdout=writer) as (pync, peer):
            writer.close()
            peer.sendall(bytes(SOME))
            peer.shutdown(socket.SHUT_WR)
            assert not ended_within(pync, 0.6)
            assert reader.readall() == bytes(SOME)
            assert pync.finish().status == 0


# Rule 4, when the peer has ended and takes nothing more.


@both_roles
def test_an_ended_peer_that_takes_nothing_is_a_failure_with_a_count(role: str) -> None:
    limits = ("--linger", "300ms", "-w", "500ms")
    with joined(role, *limits, stdin=PIPE, receive_buffer=LITTLE) as (pync, peer):
        pync.send(bytes(SOME))
        peer.shutdown(socket.SHUT_WR)
        result = pync.finish()
        assert result.status == 1
        lost = SOME - len(drain_until_reset(peer))
        assert lost >= told_lost(result) >= max(1, lost - torn())


# -W: after so many packets.


@both_roles
def test_a_number_of_packets_is_enough(role: str) -> None:
    with joined(role, "-W", "2", stdin=PIPE) as (pync, peer):
        peer.sendall(b"one")
        assert pync.receive(3) == b"one"
        assert silent(peer, 0.2)
        peer.sendall(b"two")
        assert pync.finish()[:2] == (0, b"onetwo")


@pytest.mark.plain_alone("datagrams")
def test_a_number_of_datagrams_is_enough() -> None:
    with (
        Program.pync("-lunv", "-W", "2", HERE, "0", stdin=PIPE) as pync,
        socket.socket(type=socket.SOCK_DGRAM) as peer,
    ):
        peer.connect((HERE, pync.port))
        for word in (b"one", b"two", b"three"):
            peer.send(word)
        assert pync.finish()[:2] == (0, b"onetwo")


@both_roles
def test_a_silent_peer_that_has_all_is_no_failure_however_short_the_limit(role: str) -> None:
    with joined(role, "--send-only", "-w", "300ms", stdin=PIPE) as (pync, peer):
        pync.send(b"all")
        pync.end()
        assert peer.recv(100) == b"all"
        result = pync.finish()
        assert (result.status, complaints(result)) == (0, [])
