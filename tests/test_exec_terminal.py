"""--pty: a shell, and other programs for people, used over a connection as in a terminal.

The client is a raw terminal's: what is typed goes out as it is, what comes is looked at.
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from gateway_talk import wait_for
from harness import PATIENCE, PYNC, Program
from pexpect import spawn
from pexpect.fdpexpect import fdspawn
from plain_peer import (
    HERE,
    complaints,
    drain,
    drain_until_any_end,
    ended_within,
    joined,
    reset,
    start,
)
from programs import Room, alive, programs
from rooms import STREAMS
from test_process import running

CTRL_C, CTRL_D, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x04", "\x1a", "\x1c"
BASH = "bash --norc --noprofile -i"
PLAIN = {"PS1": "ready> ", "TERM": "dumb", "HISTFILE": ""}


class Seat:
    """A person at the other end of the connection."""

    def __init__(self, pync: Program, sock: Any) -> None:
        self.pync = pync
        self.sock = sock
        self._screen = fdspawn(sock.fileno(), timeout=PATIENCE)

    def type(self, keys: str) -> None:
        self._screen.send(keys)

    def sees(self, pattern: bytes) -> re.Match[bytes]:
        """Wait until this has come, after what was expected before."""
        self._screen.expect(pattern)
        assert isinstance(self._screen.match, re.Match)
        return self._screen.match

    def ask(self, line: str) -> bytes:
        """What a line typed at the prompt of a shell makes it say."""
        self.type(line + "\n")
        return self.sees(rb"(?s)%b\r+\n(.*?)ready> $" % re.escape(line.encode()))[1]

    def status(self) -> int:
        """pync's, once the person has left, who has seen the end."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        return self.pync.finish().status


@contextmanager
def seated(command: str, role: str = "listens", **how: Any) -> Iterator[Seat]:
    """At a program in a terminal of its own."""
    env = {**PLAIN, **how.pop("env", {})}
    with joined(role, "--pty", "-e", command, env=env, **how) as (pync, sock):
        yield Seat(pync, sock)


@contextmanager
def at_a_shell(role: str = "listens", **how: Any) -> Iterator[Seat]:
    with seated(BASH, role, **how) as seat:
        seat.sees(b"ready> $")
        yield seat


each_role = pytest.mark.parametrize("role", ["connects", "listens"])


@each_role
def test_a_shell_shows_its_prompt_and_exits_as_it_is_told(role: str) -> None:
    with at_a_shell(role) as seat:
        assert seat.ask("echo $((6*7))") == b"42\r\n"
        assert re.fullmatch(rb"/dev/pts/\d+\r\n", seat.ask("tty"))
        assert seat.ask("stty size") == b"24 80\r\n"
        assert seat.ask("test -t 0 && test -t 1 && test -t 2 && echo $TERM") == b"dumb\r\n"
        seat.type("exit 7\n")
        seat.sees(rb"exit\r\n$")
        assert drain(seat.sock) == b""
        assert seat.status() == 7


def test_ctrl_c_is_for_the_job_and_not_for_the_shell() -> None:
    with at_a_shell() as seat:
        seat.type("sh -c 'echo begun; exec sleep 100'\n")
        seat.sees(rb"\nbegun\r\n")
        seat.type(CTRL_C)
        seat.sees(b"ready> $")
        assert seat.ask("echo $?") == b"130\r\n"
        assert not ended_within(seat.pync, 0.1)
        seat.type("exit\n")
        seat.sees(b"exit\r\n")
        assert seat.status() == 0


def test_jobs_are_stopped_and_go_on() -> None:
    with at_a_shell() as seat:
        seat.type("sh -c 'echo begun; read word; echo got $word'\n")
        seat.sees(rb"\nbegun\r\n")
        seat.type(CTRL_Z)
        seat.sees(b"Stopped(?s:.*)ready> $")
        assert b"Stopped" in seat.ask("jobs")
        seat.type("fg\n")
        seat.type("words\n")
        seat.sees(rb"got words\r\nready> $")
        seat.type("sleep 100 &\n")
        seat.sees(rb"\[1\] \d+\r\nready> $")
        assert b"Running" in seat.ask("jobs")
        seat.ask("kill %1; wait")
        seat.type("exit\n")
        seat.sees(b"exit\r\n")
        assert seat.status() == 0


@pytest.mark.parametrize("size", [(50, 132), (24, 80), (1, 1)])
def test_it_is_as_large_as_the_terminal_that_pync_runs_in(size: tuple[int, int]) -> None:
    """And as a person's usually is without one."""
    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(PATIENCE)
        place = (HERE, f"{listener.getsockname()[1]}")
        terminal = spawn(
            PYNC[0], [*PYNC[1:], "--pty", "-e", "stty size", *place],
            dimensions=size, timeout=PATIENCE,
        )  # fmt: skip
        peer, _ = listener.accept()
        with peer:
            assert drain(peer) == b"%d %d\r\n" % size
        terminal.wait()
        terminal.close()
        assert terminal.exitstatus == 0


@pytest.mark.parametrize(
    ("command", "typed", "shown", "end"),
    [
        (f"{sys.executable} -q", "6*7\n", rb">>> (?s:.*)42\r\n>>> $", CTRL_D),
        (
            f"{sys.executable} -q",
            "input('who? ')\nme\n",
            rb"who\? (?s:.*)'me'\r\n>>> $",
            "exit()\n",
        ),
        ("bc -q", "2^64\n", rb"18446744073709551616\r\n$", CTRL_D),
        ("bc -q", "6*7\n", rb"42\r\n$", "quit\n"),
        ("sh", "echo $((6*7))\n", rb"42\r\nready> $", "exit\n"),
        ("cat", "words\n", rb"words\r\nwords\r\n$", CTRL_D),
        ("sh -c 'stty -echo; echo ask; read a; echo $a'", "", rb"ask\r\n$", "secret\n"),
    ],
)
def test_programs_for_people(command: str, typed: str, shown: bytes, end: str) -> None:
    with seated(command) as seat:
        seat.type(typed)
        seat.sees(shown)
        seat.type(end)
        assert drain(seat.sock).count(b"secret") == end.count("secret")
        assert seat.status() == 0


@pytest.mark.parametrize(
    ("command", "said", "heard", "status"),
    [
        (BASH, b"echo $((6*7)); exit 9\n", b"42\r\n", 9),
        (BASH, b"echo $((6*7))\n", b"42\r\n", 0),
        ("sh", b"echo $((6*7))\n", b"42\r\n", 0),
        (f"{sys.executable} -q", b"print(6*7)\n", b"42\r\n", 0),
        ("bc -q", b"6*7\n", b"42\r\n", 0),
        ("cat", b"words\n", b"words\r\nwords\r\n", 0),
        ("sh -c 'cat; sleep 0.3; echo late; exit 4'", b"", b"late\r\n", 4),
    ],
)
@each_role
@pytest.mark.usefixtures("_each_way")
def test_the_peer_s_end_is_a_key_that_says_so(
    role: str, command: str, said: bytes, heard: bytes, status: int
) -> None:
    with joined(role, "--pty", "-e", command, env=PLAIN) as (pync, peer):
        peer.sendall(said)
        peer.shutdown(socket.SHUT_WR)
        assert heard in drain(peer)
        assert pync.finish().status == status


@pytest.mark.parametrize("busy", ["sleep 100", "sleep 100 & sleep 100", "yes"])
def test_a_person_who_is_cut_off_leaves_nothing_running(busy: str) -> None:
    with at_a_shell() as seat:
        seat.type(f"sh -c 'echo $$; exec sleep 100' & {busy}\n")
        background = int(seat.sees(rb"\n(\d+)\r\n")[1])
        shell = programs(seat.pync, 1)
        reset(seat.sock)
        result = seat.pync.finish()
        assert result.status == 1
        assert len(complaints(result)) == 1
        assert not any(map(alive, shell))
        wait_for(lambda: not running(background))


def test_a_signal_to_pync_hangs_up_the_shell() -> None:
    with at_a_shell() as seat:
        shell = programs(seat.pync, 1)
        seat.pync.signal(signal.SIGTERM)
        assert drain_until_any_end(seat.sock)[1] == "RST"
        assert seat.status() == -signal.SIGTERM
        assert not any(map(alive, shell))


@pytest.mark.parametrize("kind", STREAMS)
def test_each_client_has_a_terminal_of_its_own(kind: str, served: Room) -> None:
    with served(kind, "-k", "--pty", "-e", "sh -c 'tty; exec cat'") as (server, join):
        clients = [join() for _ in range(3)]
        terminals = [client.recv(100) for client in clients]
        assert len({*terminals}) == 3
        for client in clients:
            client.sendall(b"words\n")
            client.shutdown(socket.SHUT_WR)
            assert drain(client) == b"words\r\nwords\r\n"
        programs(server, 0)


def test_much_that_is_written_comes_whole() -> None:
    with joined("listens", "--pty", "-c", "stty -opost; seq 300000") as (pync, peer):
        assert drain(peer) == b"".join(b"%d\n" % number for number in range(1, 300001))
        assert pync.finish().status == 0


def test_waiting_at_a_prompt_costs_nothing() -> None:
    with at_a_shell() as seat:
        before = seat.pync.cpu_seconds
        assert not ended_within(seat.pync, 1.0)
        assert seat.pync.cpu_seconds - before < 0.05


# A person's own terminal is raw, so that all keys are for the shell.
CLIENTS = {
    "socat": "exec socat -,raw,echo=0 tcp:{place}:{port}",
    "pync": "stty raw -echo; {pync} {place} {port}; stty sane; echo sane again",
}


@pytest.mark.parametrize("client", CLIENTS)
def test_between_two_terminals(client: str) -> None:
    if client == "socat" and not shutil.which("socat"):
        pytest.skip("no socat")
    with start("-lv", "--pty", "-e", BASH, HERE, "0", env=PLAIN) as server:
        line = CLIENTS[client].format(place=HERE, port=server.port, pync=" ".join(PYNC))
        screen = spawn("sh", ["-c", line], timeout=PATIENCE)
        screen.expect("ready> $")
        screen.send("sleep 100\n")
        screen.expect("sleep 100\r\n")
        screen.send(CTRL_C)
        screen.expect(r"\^C\r\nready> $")
        screen.send("echo $?\n")
        screen.expect("\n130\r\n")
        screen.send("exit 3\n")
        screen.expect("exit\r\n")
        assert server.finish().status == 3
        if client == "pync":
            screen.expect("sane again\r\n")
        screen.close()
