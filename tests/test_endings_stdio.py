"""What a session does when its own descriptors are odd: full, gone, closed, or shared.

A reader that leaves, a full disk, somebody else's O_NONBLOCK, a missing 0, 1 or
2: nothing is lost in silence, nothing spins, and nothing inherited is changed.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness import NULL, PATIENCE, PIPE, Program
from plain_peer import HERE, ROLES, complaints, drain, ended_within, flood, joined, reset, start
from stdio_kinds import a_stdin

pytestmark = pytest.mark.usefixtures("_each_way")

both_roles = pytest.mark.parametrize("role", ROLES)
SOON = 5.0  # seconds, for what should happen at once on a machine that may be busy


def a_pair(kind: str) -> tuple[Any, Any]:
    """The reading and the writing end of a pipe, a socket or a terminal."""
    if kind == "socket":
        return socket.socketpair()
    if kind == "terminal":
        keyboard, terminal = os.openpty()
        return os.fdopen(keyboard, "rb", buffering=0), os.fdopen(terminal, "wb", buffering=0)
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb", buffering=0), os.fdopen(writer, "wb", buffering=0)


# 6. stdout's reader goes away: quietly, 141.  stdout takes no more: one line, 2.


def nothing_comes(peer: socket.socket) -> None:
    pass


def something_comes(peer: socket.socket) -> None:
    peer.sendall(b"something")


@both_roles
@pytest.mark.parametrize(
    ("kind", "then", "stdin"),
    [
        ("pipe", nothing_comes, PIPE),
        ("pipe", nothing_comes, NULL),
        ("pipe", something_comes, NULL),
        ("socket", nothing_comes, PIPE),
    ],
)
def test_a_reader_that_leaves_ends_the_session(
    role: str, kind: str, then: Callable[[socket.socket], None], stdin: int
) -> None:
    reader, writer = a_pair(kind)
    with closing(reader), closing(writer), joined(role, stdin=stdin, stdout=writer) as (pync, peer):
        writer.close()
        peer.sendall(b"seen")
        assert os.read(reader.fileno(), 100) == b"seen"
        reader.close()
        then(peer)
        result = pync.finish(within=SOON)
        assert result.status == 141
        assert complaints(result) == []


@both_roles
def test_head_takes_what_it_wants_of_a_stream(role: str) -> None:
    def stream(peer: socket.socket) -> None:
        while True:
            peer.sendall(b"line\n" * 1000)

    with (
        ThreadPoolExecutor() as pool,
        Program("head", "-c", "5", stdin=PIPE) as head,
        joined(role, stdin=PIPE, stdout=head.process.stdin) as (pync, peer),
    ):
        head.end()
        streaming = pool.submit(stream, peer)
        assert head.finish().out == b"line\n"
        result = pync.finish(within=SOON)
        assert result.status == 141
        assert complaints(result) == []
        with pytest.raises(ConnectionError):
            streaming.result(PATIENCE)


@both_roles
def test_a_full_stdout_is_told(role: str) -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        joined(role, stdin=PIPE, stdout=full) as (pync, peer),
    ):
        peer.sendall(b"anything")
        result = pync.finish(within=SOON)
        assert result.status == 2
        (line,) = complaints(result)
        assert "No space left on device" in line


@both_roles
def test_a_stdout_that_may_not_grow_is_told(role: str, tmp_path: Path) -> None:
    path = tmp_path / "stdout"
    with (
        path.open("wb") as file,
        joined(role, shell='ulimit -f 8; exec "$@"', stdin=PIPE, stdout=file) as (pync, peer),
    ):
        peer.sendall(bytes(60_000))
        result = pync.finish(within=SOON)
        assert result.status == 2
        (line,) = complaints(result)
        assert "File too large" in line
        assert path.stat().st_size == 8 * 512


# O_NONBLOCK is set for everybody who shares a descriptor: bear it, never set it.


@both_roles
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_stdout_that_somebody_made_nonblocking_gets_every_byte(role: str, kind: str) -> None:
    sent = os.urandom(8 << 20)
    reader, writer = a_pair(kind)
    os.set_blocking(writer.fileno(), False)
    with (
        closing(reader),
        closing(writer),
        ThreadPoolExecutor() as pool,
        joined(role, stdout=writer) as (pync, peer),
    ):
        writer.close()
        sending = pool.submit(send_and_end, peer, sent)
        received = hashlib.sha256()
        while data := os.read(reader.fileno(), 1 << 16):
            received.update(data)
        sending.result(PATIENCE)
        assert received.digest() == hashlib.sha256(sent).digest()
        assert pync.finish().status == 0


def send_and_end(peer: socket.socket, data: bytes) -> None:
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)


@both_roles
def test_a_stdin_that_somebody_made_nonblocking_is_read_to_its_end(role: str) -> None:
    reader, writer = a_pair("pipe")
    os.set_blocking(reader.fileno(), False)
    with closing(reader), closing(writer), joined(role, stdin=reader) as (pync, peer):
        assert not ended_within(pync, 0.2)
        writer.write(b"words")
        assert peer.recv(100) == b"words"
        writer.close()
        assert drain(peer) == b""
        peer.close()
        assert pync.finish().status == 0


def ends_well(pync: Program, peer: socket.socket) -> None:
    peer.close()


def is_terminated(pync: Program, peer: socket.socket) -> None:
    pync.signal(signal.SIGTERM)


def is_reset(pync: Program, peer: socket.socket) -> None:
    reset(peer)


@pytest.mark.plain_alone("it is about nothing but descriptors, and takes its time")
@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
@pytest.mark.parametrize("end", [ends_well, is_terminated, is_reset])
def test_what_was_inherited_stays_blocking(
    kind: str, end: Callable[[Program, socket.socket], None]
) -> None:
    stdin, giver = a_pair(kind)
    taker, stdout = a_pair(kind)
    if kind == "terminal":
        stdin, giver = giver, stdin  # the program has the terminal, the test the keyboard
    with (
        closing(stdin),
        closing(giver),
        closing(taker),
        closing(stdout),
        joined("connects", "--linger", "0", stdin=stdin, stdout=stdout) as (pync, peer),
    ):
        os.write(giver.fileno(), b"question\n")
        assert peer.recv(100) == b"question\n"
        peer.sendall(b"answer")
        assert os.read(taker.fileno(), 100) == b"answer"
        assert [is_blocking_in(pync, fd) for fd in (0, 1, 2)] == [True, True, True]
        end(pync, peer)
        pync.finish()
        assert [os.get_blocking(file.fileno()) for file in (stdin, stdout)] == [True, True]


def is_blocking_in(program: Program, fd: int) -> bool:
    lines = Path(f"/proc/{program.pid}/fdinfo/{fd}").read_text().splitlines()
    flags = dict(line.split(":", 1) for line in lines)["flags"]
    return not int(flags, 8) & os.O_NONBLOCK


# Started with 0, 1 or 2 closed: the connection must not take its place.

CLOSED = [*chain.from_iterable(combinations((0, 1, 2), count) for count in (1, 2, 3))]


@pytest.mark.parametrize(
    ("role", "closed"),
    [
        (role, closed)
        for role in ROLES
        for closed in CLOSED
        if role == "connects" or 2 not in closed  # where a listener tells its port
    ],
    ids=str,
)
def test_a_closed_descriptor_is_not_replaced_by_the_connection(
    role: str, closed: tuple[int, ...], tmp_path: Path
) -> None:
    shell = 'exec "$@" ' + " ".join(f"{fd}>&-" for fd in closed)
    with (
        a_stdin("file", b"our words", tmp_path) as stdin,
        joined(role, shell=shell, **stdin.how) as (pync, peer),
    ):
        peer.sendall(b"the peer's words")
        peer.shutdown(socket.SHUT_WR)
        assert drain(peer) == (b"" if 0 in closed else b"our words")
        status, out, _ = pync.finish()
        assert (status, out) == (0, b"" if 1 in closed else b"the peer's words")


# Where nothing moves, nothing is spent.


class Still(NamedTuple):
    """A state in which pync has nothing to do.

    brought: what brings it about, once pync runs and is connected.
    """

    role: str = "connects"
    options: tuple[str, ...] = ()
    stdin: str = "idle"
    brought: Callable[[Program, socket.socket], None] = lambda pync, peer: None


def ends(pync: Program, peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)


def floods(pync: Program, peer: socket.socket) -> None:
    flood(peer)


def says_much_and_ends(pync: Program, peer: socket.socket) -> None:
    peer.sendall(bytes(2 << 20))  # more than stdout's pipe holds, and less than the kernel does
    peer.shutdown(socket.SHUT_WR)


def loses_stdin(pync: Program, peer: socket.socket) -> None:
    pync.end()


STILL = {
    "both sides silent": Still(),
    "no stdin, a silent peer": Still(stdin="null"),
    "a closed stdin, a silent peer": Still(stdin="closed"),
    "a listener whose stdin has ended": Still("listens", stdin="null"),
    "a file that was sent, a silent peer": Still(stdin="small file"),
    "a pipe that hung up, a silent peer": Still(brought=loses_stdin),
    "the same without telling the peer": Still(options=("-q", "-1"), brought=loses_stdin),
    "a peer that reads nothing": Still(stdin="big file"),
    "a peer that ended, a silent stdin": Still(options=("--linger", "1m"), brought=ends),
    "a peer that ended, stdout stuck": Still(
        options=("--linger", "1m"), brought=says_much_and_ends
    ),
    "stdout stuck": Still(brought=floods),
    "both ways stuck": Still(stdin="big file", brought=floods),
    "stdin unwanted but ready": Still(options=("-d",), stdin="big file"),
    "long limits running": Still(options=("-w", "1m", "-q", "1m"), stdin="null"),
}


WAITING = {
    "no client": (),
    "no client, who may come often": ("-k",),
    "no datagram": ("-u",),
    "no datagram, of many peers": ("-uk",),
}


def test_nothing_is_spent_while_nothing_moves(tmp_path: Path) -> None:
    with ExitStack() as resources:
        programs = {
            state: resources.enter_context(brought_about(*still, tmp_path))
            for state, still in STILL.items()
        }
        for state, options in WAITING.items():
            programs[state] = resources.enter_context(start("-lnv", *options, HERE, "0"))
            assert programs[state].port
        assert not ended_within(programs["no client"], 0.3)  # some still import what they need
        before = {state: program.cpu_seconds for state, program in programs.items()}
        assert not ended_within(programs["no client"], 1.0)
        after = {state: program.cpu_seconds for state, program in programs.items()}
        spent = {state: after[state] - before[state] for state in programs}
        assert {state: seconds for state, seconds in spent.items() if seconds > 0.021} == {}


@contextmanager
def brought_about(
    role: str,
    options: tuple[str, ...],
    kind: str,
    brought: Callable[[Program, socket.socket], None],
    tmp_path: Path,
) -> Iterator[Program]:
    size = {"big file": 16 << 20, "small file": 100}.get(kind, 0)
    with (
        a_stdin("file" if size else kind, bytes(size), tmp_path) as stdin,
        joined(role, *options, **stdin.how) as (pync, peer),
    ):
        brought(pync, peer)
        assert not ended_within(pync, 0.1)
        yield pync


# Descriptors that are not what they should be: the fault is ours, whoever notices it.


def opened_for_writing(tmp_path: Path) -> int:
    return os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)


def a_file_that_cannot_be_read(tmp_path: Path) -> int:
    return os.open("/proc/self/mem", os.O_RDONLY)  # nothing is mapped at its beginning: EIO


@pytest.mark.plain_alone("pync may have gone before its peer has shaken hands")
@pytest.mark.parametrize("make", [opened_for_writing, a_file_that_cannot_be_read])
def test_a_stdin_that_cannot_be_read_is_no_failure_of_the_network(
    make: Callable[[Path], int], tmp_path: Path
) -> None:
    with os.fdopen(make(tmp_path)) as stdin, joined("connects", stdin=stdin) as (pync, _):
        result = pync.finish()
        assert result.status == 2
        assert "cannot read standard input" in result.err


def test_a_stdout_that_cannot_be_written_is_no_failure_of_the_network() -> None:
    reader, writer = a_pair("pipe")
    with reader, writer, joined("connects", stdin=NULL, stdout=reader) as (pync, peer):
        peer.sendall(b"something")
        result = pync.finish()
        assert result.status == 2
        assert "cannot write standard output" in result.err


# A file that others write to, or read from, through the same descriptor.


def test_what_others_write_to_the_same_open_file_is_not_overwritten(tmp_path: Path) -> None:
    size = 16 << 20
    log = tmp_path / "log"
    with log.open("wb") as shared, ExitStack() as resources:
        receivers = [
            resources.enter_context(joined("listens", stdin=NULL, stdout=shared)) for _ in range(2)
        ]
        with ThreadPoolExecutor() as pool:
            letters = (b"A", b"B")
            for (_, peer), letter in zip(receivers, letters, strict=True):
                pool.submit(peer.sendall, letter * size)
        for pync, peer in receivers:
            peer.shutdown(socket.SHUT_WR)
            assert pync.finish().status == 0
    written = log.read_bytes()
    assert [written.count(letter) for letter in letters] == [size, size]
