"""pync in a terminal, as a person uses it: typed at and looked at through pexpect.

Two terminals that type to each other, a listener that keeps open with clients
in terminals of their own, keys that end things, what --safe-tty shows, and that
every ending gives the terminal back as it was.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from harness import PATIENCE, PYNC, needs_tcp_md5
from pexpect.fdpexpect import fdspawn
from plain_peer import HERE, reset

CTRL_C = "\x03"
CTRL_D = "\x04"
CTRL_Q = "\x11"
CTRL_S = "\x13"
CTRL_BACKSLASH = "\x1c"

TEXT = "이광춘 writes naïve café 🙂👩‍👩‍👧 \u0301 at home"
EVERY_BYTE = bytes(range(256))

QUESTION = rb"(?i)\bkey\b.*: "

# A new session's leader gets the terminal that it opens first, and so Ctrl-C is for it.
TAKE_TERMINAL = ': <>"$0"; exec "$@"'


class Terminal:
    """A terminal with pync in its foreground.

    What pync writes is seen as it was written: the terminal adds no CR to LF.
    The test keeps the terminal open, so it can be looked at when pync has gone.
    """

    def __init__(self, *args: str, raw: bool = False, env: dict[str, str] | None = None) -> None:
        self._keyboard, self._terminal = os.openpty()
        if raw:
            tty.setraw(self._terminal)
        attributes = termios.tcgetattr(self._terminal)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(self._terminal, termios.TCSANOW, attributes)
        self.given = self.state()
        self._screen = fdspawn(self._keyboard, timeout=PATIENCE)
        self.process = subprocess.Popen(
            ["sh", "-c", TAKE_TERMINAL, os.ttyname(self._terminal), *PYNC, *args],
            stdin=self._terminal,
            stdout=self._terminal,
            stderr=self._terminal,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._keyboard)
        os.close(self._terminal)

    def state(self) -> tuple[list[Any], int]:
        """The attributes of the terminal, and the flags of the open file that pync inherits."""
        flags = fcntl.fcntl(self._terminal, fcntl.F_GETFL)
        return termios.tcgetattr(self._terminal), flags

    @property
    def port(self) -> str:
        """The port a listener started with -v says it got."""
        return self.expect(rb"Listening on \S+ (\d+)\n")[1].decode()

    def type(self, keys: str | bytes) -> None:
        self._screen.send(keys)

    def expect(self, pattern: bytes) -> re.Match[bytes]:
        """Wait until this is on the screen, after what was expected before."""
        self._screen.expect(pattern)
        assert isinstance(self._screen.match, re.Match)
        return self._screen.match

    def shows(self, text: str | bytes) -> None:
        """Wait until exactly this is on the screen."""
        self.expect(re.escape(text.encode() if isinstance(text, str) else text))

    def status(self) -> int:
        """Wait for pync's end: its exit status, negative for a signal."""
        return self.process.wait(PATIENCE)


@contextmanager
def connected(*options: str, **how: Any) -> Iterator[tuple[Terminal, socket.socket]]:
    """pync in a terminal, connected to a plain socket."""
    with socket.create_server((HERE, 0)) as server:
        server.settimeout(PATIENCE)
        with Terminal(*options, HERE, str(server.getsockname()[1]), **how) as terminal:
            peer, _ = server.accept()
            with peer:
                peer.settimeout(PATIENCE)
                yield terminal, peer


def read(peer: socket.socket, size: int) -> bytes:
    """So many bytes, or what comes until the end."""
    with peer.makefile("rb") as stream:
        return stream.read(size)


# Two terminals.


def test_what_is_typed_in_one_terminal_appears_in_the_other() -> None:
    with Terminal("-lv", "0") as server, Terminal("localhost", server.port) as client:
        client.type("hello\n")
        server.shows("hello\n")
        server.type("and hello to you\n")
        client.shows("and hello to you\n")
        client.type("how is it\n")
        server.shows("how is it\n")


@pytest.mark.parametrize("leaver", ["listener", "client"])
@pytest.mark.parametrize(("key", "status"), [(CTRL_C, -signal.SIGINT), (CTRL_D, 0)])
def test_when_one_leaves_the_other_does(leaver: str, key: str, status: int) -> None:
    with Terminal("-lv", "0") as server, Terminal("localhost", server.port) as client:
        leaving, staying = (client, server) if leaver == "client" else (server, client)
        leaving.type("bye\n")
        staying.shows("bye\n")
        leaving.type(key)
        assert staying.status() == 0
        assert leaving.status() == status


def test_ctrl_d_ends_the_input_and_not_the_output() -> None:
    with connected() as (terminal, peer):
        terminal.type(f"question\n{CTRL_D}")
        assert read(peer, 100) == b"question\n"  # and then the end
        peer.sendall(b"answer\n")
        terminal.shows("answer\n")
        peer.close()
        assert terminal.status() == 0


def test_a_request_can_be_typed_by_hand() -> None:
    with connected("-C") as (terminal, peer):
        for line in ("GET /romeo.txt HTTP/1.0", "Host: example.org", ""):
            terminal.type(f"{line}\n")
        request = b"GET /romeo.txt HTTP/1.0\r\nHost: example.org\r\n\r\n"
        assert read(peer, len(request)) == request
        peer.sendall(b"HTTP/1.0 200 OK\r\n\r\nBut soft what light\n")
        peer.close()
        terminal.shows("HTTP/1.0 200 OK\r\n\r\nBut soft what light\n")
        assert terminal.status() == 0


# A listener that keeps open.


@contextmanager
def three_clients(server: Terminal) -> Iterator[list[Terminal]]:
    port = server.port
    with Terminal(HERE, port) as one, Terminal(HERE, port) as two, Terminal(HERE, port) as three:
        for _ in range(3):
            server.expect(rb"Connection received on \S+ \d+\n")
        yield [one, two, three]


def test_a_listener_that_keeps_open_hears_all_and_tells_all() -> None:
    with Terminal("-klv", "0") as server, three_clients(server) as clients:
        for number, client in enumerate(clients):
            client.type(f"I am {number}\n")
            server.shows(f"I am {number}\n")
        server.type("welcome, all\n")
        for client in clients:
            client.shows("welcome, all\n")


@pytest.mark.parametrize(("key", "status"), [(CTRL_C, -signal.SIGINT), (CTRL_D, 0)])
def test_clients_come_and_go(key: str, status: int) -> None:
    with Terminal("-klv", "0") as server, three_clients(server) as clients:
        clients[0].type(key)
        assert clients[0].status() == status
        clients[1].type("still here\n")
        server.shows("still here\n")
        server.type("so am I\n")
        for client in clients[1:]:
            client.shows("so am I\n")
            client.type(key)
            assert client.status() == status
        assert server.process.poll() is None
        server.type(CTRL_C)
        assert server.status() == -signal.SIGINT


# What ends a session, and what is left of the terminal.

ENDINGS: dict[str, tuple[Callable[[Terminal, socket.socket], Any], int]] = {
    "the peer ends": (lambda terminal, peer: peer.close(), 0),
    "the peer resets": (lambda terminal, peer: reset(peer), 1),
    "Ctrl-D and the peer's end": (
        lambda terminal, peer: (terminal.type(CTRL_D), read(peer, 1), peer.close()),
        0,
    ),
    "Ctrl-C": (lambda terminal, peer: terminal.type(CTRL_C), -signal.SIGINT),
    "Ctrl-C twice": (lambda terminal, peer: terminal.type(CTRL_C * 2), -signal.SIGINT),
    "Ctrl-\\": (lambda terminal, peer: terminal.type(CTRL_BACKSLASH), -signal.SIGQUIT),
    "TERM": (lambda terminal, peer: terminal.process.terminate(), -signal.SIGTERM),
    "HUP": (lambda terminal, peer: terminal.process.send_signal(signal.SIGHUP), -signal.SIGHUP),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_terminal_is_given_back_as_it_was(ending: str) -> None:
    end, status = ENDINGS[ending]
    with connected() as (terminal, peer):
        peer.sendall(b"welcome\n")
        terminal.shows("welcome\n")
        assert terminal.state() == terminal.given
        end(terminal, peer)
        assert terminal.status() == status
        assert terminal.state() == terminal.given


@pytest.mark.parametrize(("stop", "status"), [("key", -signal.SIGINT), ("TERM", -signal.SIGTERM)])
def test_a_screen_that_was_stopped_with_ctrl_s_does_not_hold_it(stop: str, status: int) -> None:
    with connected() as (terminal, peer):
        peer.sendall(b"welcome\n")
        terminal.shows("welcome\n")
        terminal.type(f"{CTRL_S}stopped\n")
        assert read(peer, 8) == b"stopped\n"  # so the screen is stopped by now
        peer.sendall(bytes(100_000))
        if stop == "key":
            terminal.type(CTRL_C)
        else:
            terminal.process.terminate()
        assert terminal.status() == status


def test_a_screen_that_goes_on_with_ctrl_q_shows_the_rest() -> None:
    with connected() as (terminal, peer):
        terminal.type(f"{CTRL_S}stopped\n")
        assert read(peer, 8) == b"stopped\n"
        peer.sendall(b"." * 10_000 + b"rest\n")
        peer.close()
        terminal.type(CTRL_Q)
        terminal.shows(b"." * 10_000 + b"rest\n")
        assert terminal.status() == 0


# Text and bytes.


def test_text_of_many_bytes_a_character_can_be_typed() -> None:
    with Terminal("-lv", "0") as server, Terminal("localhost", server.port) as client:
        client.type(f"{TEXT}\n")
        server.shows(f"{TEXT}\n")
        server.type(f"{TEXT}\n")
        client.shows(f"{TEXT}\n")


def test_every_byte_goes_out_and_comes_back_unharmed() -> None:
    with connected(raw=True) as (terminal, peer):
        terminal.type(EVERY_BYTE)
        assert read(peer, 256) == EVERY_BYTE
        peer.sendall(EVERY_BYTE[::-1])
        terminal.shows(EVERY_BYTE[::-1])


@contextmanager
def listening_for_datagrams(*options: str) -> Iterator[tuple[Terminal, socket.socket]]:
    """pync in a terminal, and a peer each of whose datagrams pync reads by itself.

    With room for all that is sent here, since the kernel drops what does not fit.
    """
    with (
        Terminal("-lunv", "-I", "200k", *options, HERE, "0") as terminal,
        socket.socket(type=socket.SOCK_DGRAM) as peer,
    ):
        peer.connect((HERE, int(terminal.port)))
        peer.send(b"first\n")
        terminal.shows("first\n")  # and what -v says of it has been said
        yield terminal, peer


@pytest.mark.parametrize("options", [(), ("--safe-tty",)], ids=["raw", "safe"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_text_survives_any_chunk_boundary(options: tuple[str, ...], size: int) -> None:
    data = f"{TEXT}\n".encode()
    with listening_for_datagrams(*options) as (terminal, peer):
        for start in range(0, len(data), size):
            peer.send(data[start : start + size])
        terminal.shows(data)


@pytest.mark.parametrize(
    ("received", "shown"),
    [
        (b"\x1b[31mred", rb"\x1b[31mred"),
        (b"a\x00b\x07c\x7f", rb"a\x00b\x07c\x7f"),
        ("\x9b2J".encode(), rb"\x9b2J"),
        (b"one\ttwo\r\nthree", b"one\ttwo\r\nthree"),
    ],
    ids=["escape", "bell and others", "C1", "allowed"],
)
def test_safe_tty_shows_control_characters(received: bytes, shown: bytes) -> None:
    with listening_for_datagrams("--safe-tty") as (terminal, peer):
        peer.send(received)
        terminal.shows(shown)


@pytest.mark.parametrize("size", [1, 2, 256])
def test_safe_tty_lets_no_control_character_pass(size: int) -> None:
    with listening_for_datagrams("--safe-tty") as (terminal, peer):
        for start in range(0, 256, size):
            peer.send(EVERY_BYTE[start : start + size])
        peer.send(b"end")
        shown = terminal.expect(rb"(?s)^(.*)end")[1].decode()
        controls = {character for character in shown if ord(character) in range(0x20)}
        assert controls == set("\n\r\t")
        assert not re.search("[\x7f-\x9f]", shown)


def test_without_a_terminal_safe_tty_changes_nothing() -> None:
    with socket.create_server((HERE, 0)) as server:
        server.settimeout(PATIENCE)
        argv = [*PYNC, "--safe-tty", HERE, str(server.getsockname()[1])]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            peer, _ = server.accept()
            with peer:
                peer.sendall(EVERY_BYTE)
            assert process.communicate(timeout=PATIENCE)[0] == EVERY_BYTE


# A key that is asked for.


@needs_tcp_md5
def test_a_key_is_asked_for_and_not_shown() -> None:
    with Terminal("-S", "-lv", HERE, "0") as server:
        server.expect(QUESTION)
        server.type("secret\n")
        known = {"PYNC_MD5SIG_KEY": "secret"}
        with Terminal("-S", HERE, server.port, env=known) as client:
            client.type("hello\n")
            assert b"secret" not in server.expect(rb"(?s)^(.*)hello\n")[1]


def test_a_key_that_is_asked_for_may_be_declined() -> None:
    with Terminal("-S", HERE, "9") as terminal:
        terminal.expect(QUESTION)
        terminal.type(CTRL_C)
        assert terminal.status() == -signal.SIGINT
        assert terminal.state() == terminal.given
        terminal.type("and\n")  # the echo of which is the end of what there is to see
        assert b"Traceback" not in terminal.expect(rb"(?s)^(.*)and\n")[1]
