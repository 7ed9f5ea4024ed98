"""Signals: whatever pync does when one comes, it ends by that signal, and at once.

A shell or a service manager then sees what happened (130 for Ctrl-C, 143 for
TERM).  What pync was told to ignore, as nohup does, it goes on ignoring.
"""

from __future__ import annotations

import fcntl
import os
import re
import resource
import select
import signal
import socket
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, PIPE, Program, full_backlog
from plain_peer import HERE, complaints, joined

SIGNALS = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "XCPU", "PROF"]
SOON = 5.0  # seconds, for what should happen at once on a machine that may be busy


@pytest.fixture(autouse=True)
def _no_core_is_dumped() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def until(condition: Callable[[], Any]) -> None:
    """Wait for something that nothing tells of, by looking again and again."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)


# What pync may be doing when a signal comes.


@contextmanager
def listening() -> Iterator[Program]:
    with Program.pync("-lv", HERE, "0", stdin=PIPE) as pync:
        assert pync.port
        yield pync


@contextmanager
def connecting() -> Iterator[Program]:
    with full_backlog() as port, Program.pync(HERE, str(port), stdin=PIPE) as pync:
        request = re.compile(rf" 0100007F:{port:04X} 02 ")  # 02: SYN_SENT, see proc(5)
        until(lambda: request.search(Path("/proc/net/tcp").read_text(encoding="ascii")))
        yield pync


@contextmanager
def idle() -> Iterator[Program]:
    with joined("connects", stdin=PIPE) as (pync, peer):
        peer.sendall(b"hello")
        pync.receive(5)
        yield pync


@contextmanager
def writing_to_a_full_pipe() -> Iterator[Program]:
    reader, writer = os.pipe()
    room = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with joined("listens", stdin=PIPE, stdout=writer) as (pync, peer):
            peer.sendall(bytes(2 * room))
            until(lambda: waiting_in(reader) == room)
            yield pync
    finally:
        os.close(reader)
        os.close(writer)


def waiting_in(pipe: int) -> int:
    """How many bytes are in the pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), "little")


@contextmanager
def sending_to_a_peer_that_does_not_read() -> Iterator[Program]:
    with joined("connects", "--send-only", stdin=bytes(16 << 20)) as (pync, peer):
        assert peer.recv(1)
        yield pync


@contextmanager
def serving_clients() -> Iterator[Program]:
    with Program.pync("-lkv", HERE, "0", stdin=PIPE) as pync, ExitStack() as stack:
        for number in range(3):
            client = stack.enter_context(socket.create_connection((HERE, pync.port), PATIENCE))
            client.sendall(b"hello")
            pync.receive(5 * (number + 1))
        yield pync


STATES = [
    listening,
    connecting,
    idle,
    writing_to_a_full_pipe,
    sending_to_a_peer_that_does_not_read,
    serving_clients,
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", SIGNALS)
def test_pync_ends_by_the_signal(name: str, state: Callable[[], Any]) -> None:
    number = signal.Signals[f"SIG{name}"]
    with state() as pync:
        pync.signal(number)
        result = pync.finish(SOON)
        assert result.status == -number
        assert not complaints(result)
        assert "Traceback" not in result.err


@pytest.mark.parametrize("state", STATES)
def test_ctrl_c_again_and_again_does_no_harm(state: Callable[[], Any]) -> None:
    with state() as pync:
        for _ in range(5):
            pync.signal(signal.SIGINT)
        result = pync.finish(SOON)
        assert result.status == -signal.SIGINT
        assert "Traceback" not in result.err


# What it was told to ignore.


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM"])
def test_an_ignored_signal_stays_ignored(name: str) -> None:
    ignoring = f'trap "" {name}; exec "$@"'
    with joined("connects", shell=ignoring, stdin=PIPE) as (pync, peer):
        peer.sendall(b"before ")
        pync.receive(7)
        pync.signal(signal.Signals[f"SIG{name}"])
        peer.sendall(b"after")
        peer.close()
        pync.end()
        assert pync.finish()[:2] == (0, b"before after")


def test_a_session_that_was_stopped_goes_on() -> None:
    with joined("listens", stdin=PIPE) as (pync, peer):
        pync.signal(signal.SIGSTOP)
        _, how = os.waitpid(pync.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(how)
        pync.send(b"hello")
        peer.sendall(b"and hello to you")
        pync.signal(signal.SIGCONT)
        assert peer.recv(100) == b"hello"
        assert pync.receive(16) == b"and hello to you"


def test_signals_that_ask_for_nothing_change_nothing() -> None:
    with joined("connects", stdin=PIPE) as (pync, peer):
        peer.sendall(b"hello")
        pync.receive(5)
        for name in ("WINCH", "CHLD", "URG", "CONT"):
            pync.signal(signal.Signals[f"SIG{name}"])
        peer.sendall(b", still here")
        assert pync.receive(17) == b"hello, still here"
