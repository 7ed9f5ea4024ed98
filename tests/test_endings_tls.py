"""How a session over TLS ends, where TLS has a word of its own in it.

The end is told by close_notify, and a stream that ends without it was cut short.  What
such a session has in common with a plain one is in the other modules of endings, which
run over TLS as well.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

import pytest
from authority import Authority
from harness import NULL, PIPE, Program
from plain_peer import HERE, LITTLE, ROLES, complaints, ended_within, reset, start
from plain_tls import (
    VERSIONS,
    PlainTls,
    client_context,
    joined_tls,
    server_context,
    tls_options,
)
from stdio_kinds import a_stdin
from test_endings_limits import told_lost
from test_endings_odd import kernels_view
from test_signals import until
from test_unix_sockets import a_socket

QUESTION = b"question " * 1000
ANSWER = bytes(reversed(range(256))) * 100
HUGE = 8 << 20  # bytes: more than the kernel's buffers between two sockets hold
SOME = 200_000  # bytes: more than a LITTLE receive buffer holds, and less than the sender's kernel
FEW = 100_000  # bytes: more than stdout's pipe holds, and less than the kernel takes at once
SOON = 5.0  # seconds, for what should happen at once on a machine that may be busy
FIN_WAIT_1, FIN_WAIT_2 = "04", "05"  # ended; and everything is acknowledged
LOST = r"pync: connection with \S+ port \d+ lost: Connection reset by peer\b"
CUT_SHORT = r"pync: TLS with .+ failed: the peer ended without close_notify, .+ may be missing"

both_roles = pytest.mark.parametrize("role", ROLES)
each_version = pytest.mark.parametrize("version", VERSIONS)


def send_fin(peer: PlainTls) -> None:
    peer.sock.shutdown(socket.SHUT_WR)


def send_reset(peer: PlainTls) -> None:
    reset(peer.sock)


# 5. A stream that ends without close_notify was cut short, and so was one that was reset.


both_cuts = pytest.mark.parametrize(
    ("cut", "told"), [(send_fin, CUT_SHORT), (send_reset, LOST)], ids=["FIN", "RST"]
)


def nothing_happens(pync: Program, peer: PlainTls) -> bytes:
    return b""


def something_comes(pync: Program, peer: PlainTls) -> bytes:
    peer.sendall(ANSWER)
    return ANSWER


def a_record_has_begun(pync: Program, peer: PlainTls) -> bytes:
    peer.sendall(ANSWER)
    peer.sock.sendall(peer.encrypted(bytes(1000))[:500])
    return ANSWER


def all_is_said_but_the_answer(pync: Program, peer: PlainTls) -> bytes:
    pync.send(QUESTION)
    pync.end()
    assert peer.drain() == QUESTION
    return b""


@both_roles
@pytest.mark.parametrize(
    "before", [nothing_happens, something_comes, a_record_has_begun, all_is_said_but_the_answer]
)
@both_cuts
def test_a_cut_is_a_failure_and_what_came_before_it_is_written(
    authority: Authority,
    role: str,
    before: Callable[[Program, PlainTls], bytes],
    cut: Callable[[PlainTls], None],
    told: str,
) -> None:
    with joined_tls(authority, role, stdin=PIPE) as (pync, peer):
        came = before(pync, peer)
        cut(peer)
        result = pync.finish(within=SOON)
        assert result[:2] == (1, came)
        (line,) = complaints(result)
        assert re.search(told, line)


@both_roles
def test_a_cut_while_sending_says_how_much_was_lost(
    authority: Authority, role: str, tmp_path: Path
) -> None:
    with (
        a_stdin("file", bytes(HUGE), tmp_path) as stdin,
        joined_tls(authority, role, receive_buffer=LITTLE, **stdin.how) as (pync, peer),
    ):
        assert peer.recv(100)
        send_fin(peer)
        result = pync.finish(within=SOON)
        assert result.status == 1
        assert re.search(CUT_SHORT, complaints(result)[0])
        assert told_lost(result)
        assert peer.drain_until_any_end()[1] == "RST"


@both_roles
@both_cuts
def test_a_cut_takes_nothing_from_a_reader_who_pauses(
    authority: Authority, role: str, cut: Callable[[PlainTls], None], told: str
) -> None:
    reader, writer = (FileIO(fd, mode) for fd, mode in zip(os.pipe(), "rw", strict=True))
    with reader, writer, joined_tls(authority, role, stdin=PIPE, stdout=writer) as (pync, peer):
        writer.close()
        peer.sendall(bytes(FEW))
        cut(peer)
        assert not ended_within(pync, 0.1)
        assert reader.readall() == bytes(FEW)
        result = pync.finish(within=SOON)
        assert result.status == 1
        assert re.search(told, complaints(result)[0])


def test_a_reset_is_told_as_one_although_our_own_end_has_met_it(authority: Authority) -> None:
    with joined_tls(authority, "connects", stdin=NULL) as (pync, peer):
        send_reset(peer)
        (line,) = complaints(pync.finish(within=SOON))
        assert re.search(LOST, line)


@both_roles
def test_who_ended_first_learns_how_to_keep_its_end_back(authority: Authority, role: str) -> None:
    """Some peers take a close_notify for the end of both directions."""
    with joined_tls(authority, role, stdin=PIPE) as (pync, peer):
        all_is_said_but_the_answer(pync, peer)
        send_fin(peer)
        (line,) = complaints(pync.finish())
        assert line.endswith("--no-shutdown is the way out")


# The end is told, and then TCP's.


def both_end(pync: Program, peer: PlainTls) -> None:
    peer.send_close_notify()
    pync.end()


def only_stdin_ends(pync: Program, peer: PlainTls) -> None:
    pync.end()


def a_signal_comes(pync: Program, peer: PlainTls) -> None:
    pync.signal(signal.SIGTERM)


@both_roles
@pytest.mark.parametrize(
    ("options", "then", "status"),
    [
        ((), both_end, 0),
        (("--no-shutdown",), both_end, 0),
        (("-q", "200ms"), only_stdin_ends, 0),
        (("-w", "200ms", "--wait", "20s"), nothing_happens, 0),
        (("--idle-timeout", "200ms"), nothing_happens, 1),
        (("-W", "1"), something_comes, 0),
        ((), a_signal_comes, -signal.SIGTERM),
        (("-t",), a_signal_comes, -signal.SIGTERM),
    ],
)
def test_an_end_that_loses_nothing_is_told(
    authority: Authority,
    role: str,
    options: tuple[str, ...],
    then: Callable[[Program, PlainTls], None],
    status: int,
) -> None:
    with joined_tls(authority, role, *options, stdin=PIPE) as (pync, peer):
        pync.send(QUESTION)
        assert peer.recv_exactly(len(QUESTION)) == QUESTION
        then(pync, peer)
        assert peer.drain() == b""
        assert peer.sock.recv(1) == b""
        peer.send_close_notify()
        assert pync.finish().status == status


def test_a_cut_is_no_end_on_a_socket_without_resets(authority: Authority, tmp_path: Path) -> None:
    path, leaf = tmp_path / "socket", authority.leaf["valid"]
    options = (*tls_options(authority, "connects", leaf), "--ssl-servername", "localhost")
    with (
        a_stdin("file", bytes(HUGE), tmp_path) as stdin,
        a_socket("", path) as listener,
    ):
        listener.listen()
        with start("-U", *options, str(path), **stdin.how) as pync:
            sock, _ = listener.accept()
            with sock:
                peer = PlainTls(sock, server_context(leaf))
                peer.handshake()
                assert peer.recv(100)
                pync.signal(signal.SIGTERM)
                assert pync.finish().status == -signal.SIGTERM
                received, end = peer.drain_until_any_end()
                assert len(received) < HUGE
                assert end != "close_notify"


@each_version
def test_a_connection_that_was_only_tried_is_ended_in_order(
    authority: Authority, version: str
) -> None:
    with joined_tls(authority, "connects", "-z", version=version) as (pync, peer):
        assert peer.drain() == b""
        assert pync.finish().status == 0


# Each direction ends by itself, with FIN or without.


@both_roles
@each_version
def test_a_peer_that_has_ended_is_still_told_what_stdin_gives(
    authority: Authority, role: str, version: str
) -> None:
    with joined_tls(authority, role, "--linger", "1m", stdin=PIPE, version=version) as (pync, peer):
        peer.sendall(ANSWER)
        peer.send_close_notify()
        assert pync.receive(len(ANSWER)) == ANSWER
        for word in (b"still", b"here"):
            pync.send(word)
            assert peer.recv() == word
        pync.end()
        assert peer.drain() == b""
        assert pync.finish().status == 0


@both_roles
@each_version
def test_a_peer_that_has_heard_the_end_may_still_answer(
    authority: Authority, role: str, version: str
) -> None:
    with joined_tls(authority, role, stdin=PIPE, version=version) as (pync, peer):
        all_is_said_but_the_answer(pync, peer)
        assert not ended_within(pync, 0.1)
        peer.sendall(ANSWER)
        peer.send_close_notify()
        assert pync.finish()[:2] == (0, ANSWER)


@both_roles
@pytest.mark.parametrize("stdin", [NULL, PIPE], ids=["no stdin", "idle stdin"])
@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_a_peer_need_not_wait_for_our_end(
    authority: Authority, role: str, stdin: int, leave: Callable[[socket.socket], None]
) -> None:
    """What we still have to say, if it is only that, meets a reset."""
    with joined_tls(authority, role, "--linger", "100ms", stdin=stdin) as (pync, peer):
        peer.sendall(ANSWER)
        peer.send_close_notify()
        leave(peer.sock)
        result = pync.finish()
        assert result[:2] == (0, ANSWER)
        assert complaints(result) == []


@both_roles
def test_what_a_peer_sends_after_its_end_is_ignored_and_takes_no_memory(
    authority: Authority, role: str
) -> None:
    with joined_tls(authority, role, "--linger", "1m", stdin=PIPE) as (pync, peer):
        peer.send_close_notify()
        before = pync.peak_memory
        for _ in range(64):
            peer.sock.sendall(bytes(1 << 20))
        pync.send(b"still here")
        assert peer.recv() == b"still here"
        assert pync.peak_memory < before + (16 << 20)
        pync.end()
        assert peer.drain() == b""
        assert pync.finish()[:2] == (0, b"")


@both_roles
def test_a_reset_after_the_peers_end_says_how_much_was_lost(
    authority: Authority, role: str
) -> None:
    how = {"receive_buffer": LITTLE, "stdin": PIPE}
    with joined_tls(authority, role, "--linger", "1m", **how) as (pync, peer):
        peer.send_close_notify()
        pync.send(bytes(SOME))
        pync.end()
        until(lambda: kernels_view(peer.sock)[0] == FIN_WAIT_1)
        reset(peer.sock)
        result = pync.finish(within=SOON)
        assert result.status == 1
        assert SOME >= told_lost(result) > 0


@both_roles
def test_a_peer_that_refuses_has_not_taken_what_its_system_acknowledged(
    authority: Authority, role: str
) -> None:
    """As a server does that finds, after some time, that a certificate was not shown."""
    with joined_tls(authority, role, "--send-only", stdin=PIPE) as (pync, peer):
        pync.send(QUESTION)
        pync.end()
        until(lambda: kernels_view(peer.sock)[0] == FIN_WAIT_2)
        peer.refuse()
        result = pync.finish()
        assert result.status == 1
        assert "the peer refuses" in complaints(result)[0]


@both_roles
@pytest.mark.parametrize("kind", ["idle", "file"])
def test_a_peer_that_refuses_is_heard_although_it_has_gone(
    authority: Authority, role: str, kind: str, tmp_path: Path
) -> None:
    with (
        a_stdin(kind, bytes(HUGE), tmp_path) as stdin,
        joined_tls(authority, role, receive_buffer=LITTLE, **stdin.how) as (pync, peer),
    ):
        peer.refuse()
        reset(peer.sock)
        result = pync.finish()
        assert result.status == 1
        assert "the peer refuses" in complaints(result)[0]


# Limits, where a record has come in part.


@both_roles
@pytest.mark.parametrize(
    ("options", "status"),
    [
        (("-q", "300ms"), 0),
        (("-w", "300ms", "--wait", "20s"), 0),
        (("--idle-timeout", "300ms"), 1),
    ],
)
def test_a_record_that_stays_a_part_holds_no_limit_up(
    authority: Authority, role: str, options: tuple[str, ...], status: int
) -> None:
    with joined_tls(authority, role, *options, stdin=PIPE) as (pync, peer):
        came = a_record_has_begun(pync, peer)
        if "-q" in options:
            pync.end()
        result = pync.finish(within=SOON)
        assert result[:2] == (status, came)
        assert len(complaints(result)) == status
        assert peer.drain() == b""


@pytest.mark.parametrize(
    ("role", "options"),
    [("connects", ("-w", "1s", "--wait", "20s")), ("listens", ("--idle-timeout", "1s"))],
)
def test_a_record_that_comes_in_parts_is_no_idleness(
    authority: Authority, role: str, options: tuple[str, ...]
) -> None:
    with joined_tls(authority, role, *options, stdin=PIPE) as (pync, peer):
        record = peer.encrypted(bytes(1000))
        for start in range(0, len(record), 300):
            assert not ended_within(pync, 0.4)
            peer.sock.sendall(record[start : start + 300])
        peer.send_close_notify()
        pync.end()
        assert pync.finish()[:2] == (0, bytes(1000))


# 9. With -k a client's end, however rude, is not the listener's.


def test_a_client_that_was_cut_short_is_told_of_and_the_listener_goes_on(
    authority: Authority,
) -> None:
    shown = tls_options(authority, "listens", authority.leaf["valid"])
    with start("-lknv", *shown, HERE, "0", stdin=NULL) as pync:
        heard = b""
        for end, told in ((send_fin, CUT_SHORT), (send_reset, LOST), (None, "")):
            with socket.create_connection((HERE, pync.port)) as sock:
                peer = PlainTls(sock, client_context(authority.root))
                peer.handshake()
                peer.sendall(b"words ")
                heard += b"words "
                assert pync.receive(len(heard)) == heard
                if end:
                    end(peer)
                    pync.expect(told)
                else:
                    assert peer.silent(0.2)  # nobody has told it anything
                    peer.send_close_notify()
                    assert peer.drain() == b""


def test_a_signal_with_nothing_under_way_is_an_end_to_all_clients(authority: Authority) -> None:
    shown = tls_options(authority, "listens", authority.leaf["valid"])
    with start("-lknv", *shown, HERE, "0", stdin=PIPE) as pync, ExitStack() as clients:
        peers = []
        for count in (1, 2):
            sock = clients.enter_context(socket.create_connection((HERE, pync.port)))
            peers.append(PlainTls(sock, client_context(authority.root)))
            peers[-1].handshake()
            peers[-1].sendall(b".")
            assert pync.receive(count) == b"." * count
        pync.signal(signal.SIGTERM)
        assert [peer.drain() for peer in peers] == [b"", b""]
        assert pync.finish().status == -signal.SIGTERM
