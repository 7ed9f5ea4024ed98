"""How a session ends: both directions, either end first, a reset.

pync, connecting and listening, is joined to a socket that the test plays by hand,
a plain one and one with TLS.  The other endings have modules of their own: time limits in
test_endings_limits, standard input and output in test_endings_stdio, datagrams
and keep-open in test_endings_many, and pync with other netcats in test_pairings.
"""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from harness import PATIENCE, PIPE
from plain_peer import (
    LITTLE,
    ROLES,
    complaints,
    drain,
    drain_until_reset,
    ended_within,
    joined,
    reset,
    silent,
)
from stdio_kinds import STDINS, STDOUTS, a_stdin, a_stdout

pytestmark = pytest.mark.usefixtures("_each_way")

QUESTION = bytes(range(256)) * 80
ANSWER = bytes(reversed(range(256))) * 100
LONG = os.urandom(2 << 20)
WHILE = 0.2  # seconds in which something would happen, if it were to
MINUTE = "1m"

both_roles = pytest.mark.parametrize("role", ROLES)
# Where one direction goes on without the other.  TLS 1.2 was not made for it, and does it.
each_tls = pytest.mark.tls("TLSv1.2", "TLSv1.3")


# 1. Both directions have ended and all is flushed.


@both_roles
@pytest.mark.parametrize("kind", STDINS)
def test_both_directions_arrive_whole_from_any_stdin(role: str, kind: str, tmp_path: Path) -> None:
    with (
        a_stdin(kind, QUESTION, tmp_path) as stdin,
        joined(role, "--linger", MINUTE, **stdin.how) as (pync, peer),
    ):
        peer.sendall(ANSWER)
        stdin.feed(pync)
        peer.shutdown(socket.SHUT_WR)
        assert drain(peer) == stdin.data
        assert pync.finish()[:2] == (0, ANSWER)


@both_roles
@pytest.mark.parametrize("kind", STDOUTS)
def test_both_directions_arrive_whole_in_any_stdout(role: str, kind: str, tmp_path: Path) -> None:
    with (
        a_stdin("file", QUESTION, tmp_path) as stdin,
        a_stdout(kind, tmp_path) as stdout,
        joined(role, **stdin.how, **stdout.how) as (pync, peer),
    ):
        peer.sendall(ANSWER)
        assert drain(peer) == QUESTION
        peer.close()
        status, collected, _ = pync.finish()
        assert (status, stdout.received(collected)) == (0, ANSWER)


# 2. stdin ends: what is held is sent, then FIN.


@each_tls
@both_roles
def test_the_peer_hears_that_stdin_has_ended(role: str, tmp_path: Path) -> None:
    with (
        a_stdin("late", QUESTION, tmp_path) as stdin,
        joined(role, **stdin.how) as (pync, peer),
    ):
        stdin.feed(pync)
        assert drain(peer) == QUESTION
        peer.close()
        assert pync.finish().status == 0


@both_roles
def test_an_answer_that_takes_its_time_is_waited_for(role: str, tmp_path: Path) -> None:
    with (
        a_stdin("file", QUESTION, tmp_path) as stdin,
        joined(role, **stdin.how) as (pync, peer),
    ):
        assert drain(peer) == QUESTION
        assert not ended_within(pync, 1.5)
        peer.sendall(ANSWER)
        peer.close()
        assert pync.finish()[:2] == (0, ANSWER)


@each_tls
@both_roles
@pytest.mark.parametrize("options", [("--no-shutdown",), ("-q", "-1")], ids=" ".join)
def test_the_end_of_stdin_can_be_kept_from_the_peer(
    role: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    with (
        a_stdin("file", b"question", tmp_path) as stdin,
        joined(role, *options, **stdin.how) as (pync, peer),
    ):
        assert peer.recv(8, socket.MSG_WAITALL) == b"question"
        assert silent(peer, WHILE)
        peer.sendall(b"answer")
        peer.shutdown(socket.SHUT_WR)
        assert drain(peer) == b""
        assert pync.finish()[:2] == (0, b"answer")


@each_tls
@pytest.mark.parametrize("kind", ["null", "closed", "file", "pipe"])
def test_a_listener_with_nothing_to_say_does_not_tell_a_sender_to_stop(
    kind: str, tmp_path: Path
) -> None:
    with (
        a_stdin(kind, b"", tmp_path) as stdin,
        joined("listens", **stdin.how) as (pync, peer),
    ):
        stdin.feed(pync)
        assert silent(peer, WHILE)
        peer.sendall(ANSWER)
        peer.shutdown(socket.SHUT_WR)
        assert drain(peer) == b""
        assert pync.finish()[:2] == (0, ANSWER)


@each_tls
@pytest.mark.parametrize("kind", ["null", "closed", "file", "pipe"])
def test_a_client_with_nothing_to_say_tells_so(kind: str, tmp_path: Path) -> None:
    with (
        a_stdin(kind, b"", tmp_path) as stdin,
        joined("connects", **stdin.how) as (pync, peer),
    ):
        stdin.feed(pync)
        assert drain(peer) == b""
        peer.sendall(ANSWER)
        peer.close()
        assert pync.finish()[:2] == (0, ANSWER)


@both_roles
@pytest.mark.parametrize("option", ["-d", "--recv-only"])
def test_stdin_is_not_touched_when_it_is_not_wanted(role: str, option: str, tmp_path: Path) -> None:
    with (
        a_stdin("file", QUESTION, tmp_path) as stdin,
        joined(role, option, "--linger", MINUTE, **stdin.how) as (pync, peer),
    ):
        peer.sendall(ANSWER)
        peer.shutdown(socket.SHUT_WR)
        assert drain(peer) == b""
        assert pync.finish()[:2] == (0, ANSWER)
        assert stdin.how["stdin"].tell() == 0


@both_roles
def test_send_only_discards_what_it_receives(role: str, tmp_path: Path) -> None:
    with (
        a_stdin("file", QUESTION, tmp_path) as stdin,
        joined(role, "--send-only", **stdin.how) as (pync, peer),
    ):
        peer.sendall(ANSWER)
        assert drain(peer) == QUESTION
        peer.close()
        assert pync.finish()[:2] == (0, b"")


def test_send_only_ends_soon_after_stdin_though_the_peer_stays(tmp_path: Path) -> None:
    with (
        a_stdin("file", QUESTION, tmp_path) as stdin,
        joined("connects", "--send-only", **stdin.how) as (pync, peer),
    ):
        assert drain(peer) == QUESTION
        assert pync.finish(within=10).status == 0


# 3. The peer ends: what is held is written, and stdout is closed.


@each_tls
@both_roles
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_reader_downstream_sees_the_peers_end_at_once(role: str, kind: str) -> None:
    ours, theirs = socket.socketpair() if kind == "socket" else map(os.fdopen, os.pipe(), "rw")
    with (
        closing(ours),
        closing(theirs),
        joined(role, "--linger", MINUTE, stdin=PIPE, stdout=theirs) as (pync, peer),
    ):
        theirs.close()
        peer.sendall(b"the end")
        peer.shutdown(socket.SHUT_WR)
        assert os.read(ours.fileno(), 100) == b"the end"
        assert os.read(ours.fileno(), 100) == b""
        pync.send(b"not mine")
        pync.end()
        assert drain(peer) == b"not mine"
        assert pync.finish().status == 0


@both_roles
def test_at_a_terminal_the_peers_end_is_the_end(role: str) -> None:
    keyboard, terminal = os.openpty()
    with (
        os.fdopen(keyboard, "wb", buffering=0) as person,
        os.fdopen(terminal, "rb", buffering=0) as stdin,
        joined(role, "--linger", MINUTE, stdin=stdin) as (pync, peer),
    ):
        person.write(b"hello\n")
        assert peer.recv(100) == b"hello\n"
        peer.sendall(b"bye\n")
        peer.shutdown(socket.SHUT_WR)
        assert pync.finish(within=10)[:2] == (0, b"bye\n")


# 4. After that stdin may still give: to its end, or until it is silent too long.


@each_tls
@both_roles
@pytest.mark.parametrize("kind", ["file", "late"])
def test_what_stdin_gives_after_the_peers_end_is_still_sent(
    role: str, kind: str, tmp_path: Path
) -> None:
    with (
        a_stdin(kind, QUESTION, tmp_path) as stdin,
        joined(role, "--linger", MINUTE, **stdin.how) as (pync, peer),
    ):
        peer.shutdown(socket.SHUT_WR)
        stdin.feed(pync)
        assert drain(peer) == QUESTION
        assert pync.finish().status == 0


@both_roles
def test_a_stdin_that_stays_silent_after_the_peers_end_is_given_up(role: str) -> None:
    with joined(role, "--linger", "300ms", stdin=PIPE) as (pync, peer):
        pync.send(b"some, and more to come")
        assert peer.recv(100) == b"some, and more to come"
        start = time.monotonic()
        peer.shutdown(socket.SHUT_WR)
        assert drain_until_reset(peer) == b""
        assert pync.finish().status == 0
        assert 0.3 <= time.monotonic() - start < 10


@each_tls
@both_roles
def test_a_stdin_that_pauses_after_the_peers_end_is_waited_for(role: str) -> None:
    with joined(role, "--linger", "800ms", stdin=PIPE) as (pync, peer):
        peer.shutdown(socket.SHUT_WR)
        for line in (b"one", b"two", b"three"):
            assert not ended_within(pync, 0.3)
            pync.send(line)
            assert peer.recv(100) == line
        pync.end()
        assert drain(peer) == b""
        assert pync.finish().status == 0


# 5. A reset: what was received is written, one line says so, status 1.


@both_roles
def test_a_reset_of_an_idle_connection_is_a_failure(role: str) -> None:
    with joined(role, stdin=PIPE) as (pync, peer):
        reset(peer)
        result = pync.finish()
        assert result.status == 1
        assert len(complaints(result)) == 1


@both_roles
@pytest.mark.parametrize("at", ["at once", "later"])
def test_a_reset_while_receiving_keeps_what_was_received(role: str, at: str) -> None:
    with joined(role, stdin=PIPE) as (pync, peer):
        if at == "later":
            pync.send(b"question")
            assert peer.recv(100) == b"question"
        peer.sendall(ANSWER)
        reset(peer)
        result = pync.finish()
        assert result[:2] == (1, ANSWER)
        assert len(complaints(result)) == 1


@both_roles
def test_a_reset_while_sending_says_how_much_was_lost(role: str, tmp_path: Path) -> None:
    with (
        a_stdin("file", bytes(8 << 20), tmp_path) as stdin,
        joined(role, receive_buffer=LITTLE, **stdin.how) as (pync, peer),
    ):
        assert peer.recv(1000)
        reset(peer)
        result = pync.finish()
        assert result.status == 1
        (line,) = complaints(result)
        assert line.endswith("bytes not delivered")


@both_roles
def test_a_reset_while_waiting_for_the_answer_is_a_failure(role: str, tmp_path: Path) -> None:
    with (
        a_stdin("file", QUESTION, tmp_path) as stdin,
        joined(role, **stdin.how) as (pync, peer),
    ):
        assert drain(peer) == QUESTION
        reset(peer)
        result = pync.finish()
        assert result.status == 1
        (line,) = complaints(result)
        assert "not delivered" not in line


# 7. Never close with unread input before the peer has our last byte.


@both_roles
@pytest.mark.parametrize("options", [(), ("--send-only",), ("-q", "5")], ids=" ".join)
def test_a_greeting_costs_a_slow_reader_nothing(
    role: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    with (
        a_stdin("file", LONG, tmp_path) as stdin,
        joined(role, *options, **stdin.how) as (pync, peer),
    ):
        peer.sendall(b"greeting".center(100))
        assert not ended_within(pync, WHILE)
        assert drain(peer) == LONG
        peer.close()
        assert pync.finish().status == 0


@both_roles
def test_a_peer_that_never_stops_sending_gets_our_last_bytes(role: str, tmp_path: Path) -> None:
    def send_for_ever(peer: socket.socket) -> None:
        while True:
            peer.sendall(bytes(1 << 16))

    with (
        ThreadPoolExecutor() as pool,
        a_stdin("file", LONG, tmp_path) as stdin,
        joined(role, "--send-only", "-q", "500ms", **stdin.how) as (pync, peer),
    ):
        sending = pool.submit(send_for_ever, peer)
        assert drain(peer) == LONG
        assert pync.finish().status == 0
        with pytest.raises(ConnectionError):
            sending.result(PATIENCE)
