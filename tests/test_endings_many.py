"""How sessions end that have no end of their own: datagrams, and listeners that stay.

A datagram, even an empty one, ends nothing; a client's end, however rude, is not
the listener's.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import NULL, PATIENCE, PIPE
from plain_peer import HERE, drain, ended_within, reset, silent, start
from stdio_kinds import a_stdin

pytestmark = pytest.mark.usefixtures("_each_mover")

MOST = 65_507  # bytes in one datagram over IPv4
SIZES = (0, 1, 8192, 8193, 16385, MOST)


@contextmanager
def a_plain_socket() -> Iterator[socket.socket]:
    """A datagram socket with a port of its own."""
    with socket.socket(type=socket.SOCK_DGRAM) as plain:
        plain.bind((HERE, 0))
        plain.settimeout(PATIENCE)
        yield plain


def port_of(plain: socket.socket) -> str:
    return str(plain.getsockname()[1])


# 8. UDP has no end: an empty datagram is a datagram.


def test_a_listener_hears_datagrams_of_all_sizes_whole() -> None:
    with start("-lunv", HERE, "0", stdin=PIPE) as pync, a_plain_socket() as peer:
        peer.connect((HERE, pync.port))
        heard = b""
        for size in SIZES:
            datagram = os.urandom(size)
            peer.send(datagram)
            heard += datagram
            assert pync.receive(len(heard)) == heard
        assert not ended_within(pync, 0.2)


def test_a_client_hears_datagrams_of_all_sizes_whole() -> None:
    with a_plain_socket() as peer, start("-u", HERE, port_of(peer), stdin=PIPE) as pync:
        pync.send(b"hello")
        _, address = peer.recvfrom(100)
        heard = b""
        for size in SIZES:
            datagram = os.urandom(size)
            peer.sendto(datagram, address)
            heard += datagram
            assert pync.receive(len(heard)) == heard
        assert not ended_within(pync, 0.2)


def test_a_file_goes_out_in_datagrams_none_too_large(tmp_path: Path) -> None:
    data = os.urandom(3 * MOST)
    with (
        a_stdin("file", data, tmp_path) as stdin,
        a_plain_socket() as peer,
        start("-u", "-q", "0", HERE, port_of(peer), **stdin.how) as pync,
    ):
        received = b""
        while len(received) < len(data):
            received += peer.recv(1 << 16)
        assert received == data
        assert pync.finish().status == 0


def test_a_client_waits_for_replies_until_none_comes_for_a_second() -> None:
    with a_plain_socket() as peer, start("-u", HERE, port_of(peer), stdin=PIPE) as pync:
        pync.send(b"question")
        _, address = peer.recvfrom(100)
        pync.end()
        for reply in (b"one ", b"two"):
            assert not ended_within(pync, 0.6)
            last = time.monotonic()
            peer.sendto(reply, address)
        assert pync.finish()[:2] == (0, b"one two")
        assert 0.9 < time.monotonic() - last < 6


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [(("-q", "0"), 0.0, 0.9), (("-q", "1300ms"), 1.3, 7), (("-w", "1300ms"), 1.3, 7)],
    ids=["-q 0", "-q 1.3", "-w 1.3"],
)
def test_a_client_may_be_told_how_long_to_wait_for_replies(
    options: tuple[str, ...], least: float, most: float
) -> None:
    with a_plain_socket() as peer, start("-u", *options, HERE, port_of(peer), stdin=PIPE) as pync:
        pync.send(b"hello")
        assert peer.recvfrom(100)[0] == b"hello"
        begin = time.monotonic()  # -w counts from the last datagram, -q from the end
        pync.send(b"question")
        assert peer.recvfrom(100)[0] == b"question"
        pync.end()
        assert pync.finish().status == 0
        assert least <= time.monotonic() - begin < most


def test_a_listener_talks_to_its_first_peer_and_to_no_other() -> None:
    with (
        start("-lunv", HERE, "0", stdin=PIPE) as pync,
        a_plain_socket() as first,
        a_plain_socket() as other,
    ):
        address = (HERE, pync.port)
        first.sendto(b"first ", address)
        assert pync.receive(6) == b"first "
        other.sendto(b"other ", address)
        first.sendto(b"again", address)
        assert pync.receive(11) == b"first again"
        pync.send(b"reply")
        assert first.recvfrom(100)[0] == b"reply"
        assert silent(other, 0.2)


def test_a_listener_that_keeps_open_talks_to_every_peer() -> None:
    with (
        start("-lkunv", HERE, "0", stdin=PIPE) as pync,
        a_plain_socket() as first,
        a_plain_socket() as other,
    ):
        address = (HERE, pync.port)
        first.sendto(b"first ", address)
        assert pync.receive(6) == b"first "
        other.sendto(b"other", address)
        assert pync.receive(11) == b"first other"
        pync.send(b"reply")
        assert [peer.recvfrom(100)[0] for peer in (first, other)] == [b"reply", b"reply"]


# 9. With -k a session's end never ends the listener.


def says_goodbye(peer: socket.socket) -> None:
    peer.close()


def stays_and_is_idle(peer: socket.socket) -> None:
    assert not silent(peer, PATIENCE)


@pytest.mark.parametrize("end", [says_goodbye, reset, stays_and_is_idle])
@pytest.mark.parametrize("stdin", [PIPE, NULL], ids=["idle stdin", "no stdin"])
def test_a_clients_end_is_not_the_listeners(
    end: Callable[[socket.socket], None], stdin: int
) -> None:
    options = ("--idle-timeout", "200ms") if end is stays_and_is_idle else ()
    with start("-lknv", "--linger", "100ms", *options, HERE, "0", stdin=stdin) as pync:
        address = (HERE, pync.port)
        heard = b""
        for words in (b"one ", b"two ", b"three"):
            with socket.create_connection(address, PATIENCE) as peer:
                peer.sendall(words)
                heard += words
                assert pync.receive(len(heard)) == heard
                end(peer)
        assert not ended_within(pync, 0.2)


def test_an_idle_client_is_cut_and_a_busy_one_is_not() -> None:
    with start("-lknv", "--idle-timeout", "800ms", HERE, "0", stdin=PIPE) as pync:
        address = (HERE, pync.port)
        with (
            socket.create_connection(address, PATIENCE) as idle,
            socket.create_connection(address, PATIENCE) as busy,
        ):
            heard = 0
            while silent(idle, 0.2):
                busy.sendall(b".")
                heard += 1
                assert pync.receive(heard) == b"." * heard
            assert silent(busy, 0.0)
            busy.sendall(b"still here")
            assert pync.receive(heard + 10).endswith(b"still here")


def test_only_a_client_that_was_told_something_is_told_the_end_of_stdin() -> None:
    with start("-lknv", HERE, "0", stdin=PIPE) as pync:
        address = (HERE, pync.port)
        with socket.create_connection(address, PATIENCE) as early:
            pync.send(b"all there is")
            assert early.recv(12, socket.MSG_WAITALL) == b"all there is"
            pync.end()
            assert drain(early) == b""
            with socket.create_connection(address, PATIENCE) as late:
                late.sendall(b"late but whole")
                assert pync.receive(14) == b"late but whole"
                assert silent(late, 0.3)
                late.shutdown(socket.SHUT_WR)
                assert drain(late) == b""


def test_clients_that_are_there_together_hear_the_same_and_are_all_heard() -> None:
    with start("-lknv", HERE, "0", stdin=PIPE) as pync:
        address = (HERE, pync.port)
        with (
            socket.create_connection(address, PATIENCE) as one,
            socket.create_connection(address, PATIENCE) as two,
        ):
            for size, peer in enumerate((one, two), 1):
                peer.sendall(b"!")
                assert pync.receive(size) == b"!" * size
            pync.send(b"to all")
            pync.end()
            assert [drain(one), drain(two)] == [b"to all", b"to all"]
