"""Endings at odd moments: a reset while closing, a refusal while sending, a stuck reader.

Each of these can turn an ending into a hang, or a loss into a success.  Where
time passes here, it is the limit that is being tested; the bounds are generous.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pytest
from harness import PATIENCE, PIPE, Program
from plain_peer import (
    HERE,
    LITTLE,
    ROLES,
    complaints,
    drain,
    ended_within,
    joined,
    reset,
    start,
)
from stdio_kinds import a_stdin
from test_endings_limits import told_lost
from test_signals import until, waiting_in

pytestmark = pytest.mark.usefixtures("_each_way")

SOON = 5.0  # seconds, for what should happen at once on a machine that may be busy
SOME = 200_000  # bytes: more than a LITTLE receive buffer holds, and less than the sender's kernel
MANY = 20 * 65_507  # bytes: so many datagrams that a refusal of the first is heard before the last
ESTABLISHED, FIN_WAIT_1 = "01", "04"  # the latter: ended, and not all is acknowledged yet
SIGNALS = [signal.SIGINT, signal.SIGTERM]

both_roles = pytest.mark.parametrize("role", ROLES)
each_way = pytest.mark.parametrize(  # straight from the socket to stdout, and by a stage
    ("role", "options"), [("connects", ()), ("listens", ()), ("connects", ("-t",))]
)


def kernels_view(peer: socket.socket) -> tuple[str, int]:
    """Of pync's end of the connection: its state, and how many bytes pync has not read yet."""
    near, far = peer.getpeername()[1], peer.getsockname()[1]
    table = Path("/proc/net/tcp").read_text(encoding="ascii")  # see proc(5)
    found = re.search(rf"0100007F:{near:04X} 0100007F:{far:04X} (\w\w) \w+:(\w+) ", table)
    return (found[1], int(found[2], 16)) if found else ("not there", 0)


# A reset while pync is closing and waits to hear that all has arrived.


def stdin_ends(pync: Program, peer: socket.socket) -> None:
    pync.end()


def a_packet_comes(pync: Program, peer: socket.socket) -> None:
    peer.sendall(b"packet")
    assert pync.receive(6) == b"packet"


@both_roles
@pytest.mark.parametrize(
    ("options", "at"),
    [(("--send-only",), stdin_ends), (("-W", "1"), a_packet_comes)],
    ids=["--send-only", "-W 1"],
)
def test_a_reset_while_closing_says_how_much_was_lost(
    role: str, options: tuple[str, ...], at: Callable[[Program, socket.socket], None]
) -> None:
    with joined(role, *options, receive_buffer=LITTLE, stdin=PIPE) as (pync, peer):
        stdin = pync.process.stdin
        assert stdin
        pync.send(bytes(SOME))
        until(lambda: waiting_in(stdin.fileno()) == 0)
        at(pync, peer)
        until(lambda: kernels_view(peer)[0] == FIN_WAIT_1)
        assert not ended_within(pync, 0.2)
        arrived = waiting_in(peer.fileno())
        reset(peer)
        result = pync.finish(within=SOON)
        assert result.status == 1
        assert SOME >= told_lost(result) >= SOME - arrived > 0


# A peer that takes no more, and has no end or keeps it back.


@contextmanager
def a_port_that_refuses() -> Iterator[str]:
    """A port for datagrams whose only socket listens to nobody but itself."""
    with socket.socket(type=socket.SOCK_DGRAM) as plain:
        plain.bind((HERE, 0))
        plain.connect(plain.getsockname())
        yield str(plain.getsockname()[1])


@pytest.mark.plain_alone("datagrams")
@pytest.mark.parametrize("options", [("-W", "1"), ("-q", "-1")], ids=" ".join)
def test_refused_datagrams_are_a_failure(options: tuple[str, ...], tmp_path: Path) -> None:
    with (
        a_stdin("file", bytes(MANY), tmp_path) as stdin,
        a_port_that_refuses() as port,
        start("-u", *options, HERE, port, **stdin.how) as pync,
    ):
        result = pync.finish(within=SOON)
        assert result[:2] == (1, b"")
        (line,) = complaints(result)
        assert "Connection refused" in line


@pytest.mark.plain_alone("TLS cannot stop receiving alone")
def test_a_peer_that_takes_no_more_may_say_its_last_words(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(PATIENCE)
        with start("-U", "--linger", "1s", str(path), stdin=PIPE) as pync:
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"I hear no more, ")
                peer.shutdown(socket.SHUT_RD)
                pync.send(b"what")
                peer.sendall(b"I only talk")
                status, out, err = pync.finish(within=SOON)
    assert (status, out) == (1, b"I hear no more, I only talk")
    assert err.startswith("pync: ")


# -q, and a reader of stdout who has not taken everything.


@contextmanager
def joined_and_stuck(role: str, *options: str) -> Iterator[tuple[Program, FileIO, bytes]]:
    """pync, its stdout's reader that has taken nothing yet, and all that pync has received."""
    reader, writer = (FileIO(fd, mode) for fd, mode in zip(os.pipe(), "rw", strict=True))
    room = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with (
        reader,
        writer,
        joined(role, *options, stdin=PIPE, stdout=writer) as (pync, peer),
    ):
        writer.close()
        sent = os.urandom(2 * room).hex().encode()
        peer.sendall(sent)
        until(lambda: waiting_in(reader.fileno()) == room)
        # Read, or left in the kernel where pync moves bytes without reading them.
        until(lambda: kernels_view(peer)[1] in (0, len(sent) - waiting_in(reader.fileno())))
        yield pync, reader, sent


@each_way
def test_a_reader_that_comes_back_soon_after_q_gets_everything(
    role: str, options: tuple[str, ...]
) -> None:
    with joined_and_stuck(role, "-q", "200ms", *options) as (pync, reader, sent):
        pync.end()
        assert not ended_within(pync, 0.4)
        assert reader.readall() == sent
        assert pync.finish(within=SOON).status == 0


@each_way
def test_a_reader_that_never_comes_back_after_q_is_a_failure_with_a_count(
    role: str, options: tuple[str, ...]
) -> None:
    with joined_and_stuck(role, "-q", "300ms", *options) as (pync, reader, sent):
        pync.end()
        result = pync.finish(within=SOON)
        assert result.status == 1
        (line,) = complaints(result)
        told = re.search(r"\b(\d+) bytes\b.*\bnot written\b", line)
        assert told
        written = reader.readall()
        assert written == sent[: len(sent) - int(told[1])]


# -i: pync's own pauses are nobody's silence, and not the end.


def test_packets_enough_do_not_cut_short_what_goes_out_line_by_line() -> None:
    with joined("connects", "-i", "0.3", "-W", "1", stdin=b"one\ntwo\nthree\n") as (pync, peer):
        assert peer.recv(100) == b"one\n"
        peer.sendall(b"enough")
        assert drain(peer) == b"two\nthree\n"
        peer.close()
        assert pync.finish()[:2] == (0, b"enough")


@both_roles
def test_a_pause_between_two_lines_is_not_idleness(role: str) -> None:
    limits = ("-i", "1s", "--idle-timeout", "500ms")
    with joined(role, *limits, stdin=b"one\ntwo\n") as (pync, peer):
        assert drain(peer) == b"one\ntwo\n"
        peer.close()
        assert pync.finish().status == 0


# A terminal whose screen nobody looks at.


@contextmanager
def at_a_stuck_terminal() -> Iterator[tuple[Program, socket.socket, FileIO, bytes]]:
    """pync, its peer, the screen that nobody has looked at, and what the peer has sent to it.

    The terminal shows LF as CR LF, so that it has less room than it says.
    """
    screen, terminal = (FileIO(fd, "r+") for fd in os.openpty())
    with (
        screen,
        terminal,
        joined("connects", "-I", "4096", stdin=PIPE, stdout=terminal) as (pync, peer),
    ):
        terminal.close()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield pync, peer, screen, send_until_stuck(peer)


def send_until_stuck(peer: socket.socket) -> bytes:
    lines = b"line\n" * 1000
    sent = b""
    while select.select([], [peer], [], 0.3)[1]:
        sent += lines[: peer.send(lines)]
    return sent


@pytest.mark.plain_alone("the last record would be sent in part, and nobody sends the rest")
def test_a_stuck_terminal_does_not_stop_the_other_direction() -> None:
    with at_a_stuck_terminal() as (pync, peer, screen, sent):
        for word in (b"still", b"here"):
            pync.send(word)
            assert peer.recv(100) == word
        shown = b""
        due = sent.replace(b"\n", b"\r\n")
        while len(shown) < len(due):
            assert select.select([screen], [], [], PATIENCE)[0]
            shown += screen.read(1 << 16)
        assert shown == due


@pytest.mark.parametrize("number", SIGNALS)
def test_a_stuck_terminal_does_not_stop_a_signal(number: int) -> None:
    """It comes together with some room on the screen, which is not to be filled first."""
    with at_a_stuck_terminal() as (pync, _, screen, _):
        pync.signal(signal.SIGSTOP)
        os.waitpid(pync.pid, os.WUNTRACED)
        assert screen.read(2000)
        pync.signal(number)
        pync.signal(signal.SIGCONT)
        result = pync.finish(within=SOON)
        assert result.status == -number
        assert not complaints(result)
