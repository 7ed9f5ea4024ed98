"""Standard output, shared by clients: reads stay together, and with --label so do lines.

It is a small pipe here where that matters, so that what is read at once is written in parts.
"""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from authority import Authority
from harness import NULL, PATIENCE, PIPE, Program, needs_ipv6
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_peer import HERE, complaints, reset, start
from plain_tls import tls_options
from test_flow import everything
from test_many_peers import client_of
from test_tls_strangers import client_of as tls_client_of
from test_unix_sockets import a_socket

from pync.errors import ConnectionLost
from pync.stream import EndOfStream, Source
from pync.taps import Translated
from pync.transports.memory import Given, MemoryPipe
from pync.wire.label import LONGEST, Label


class Way(NamedTuple):
    """How clients are joined with the server: what it is given for that, and what makes one."""

    options: Callable[[Authority], tuple[str, ...]]
    client: Callable[[Authority, Program], AbstractContextManager[Any]]


@contextmanager
def sender_to(server: Program) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect((HERE, server.port))
        yield client


WAYS = {
    "TCP": Way(lambda _: (), lambda _, server: client_of(server)),
    "TLS": Way(lambda a: tls_options(a, "listens", a.leaf["valid"]), tls_client_of),
    "UDP": Way(lambda _: ("-u",), lambda _, server: sender_to(server)),
}
STREAMS = ["TCP", "TLS"]


@contextmanager
def serving(*options: str, stdin: int = NULL) -> Iterator[tuple[Program, BufferedReader]]:
    """A listener that keeps open, and its standard output, a small pipe."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with (
        os.fdopen(reading, "rb") as out,
        start("-lknv", *options, HERE, "0", stdin=stdin, stdout=writing) as server,
    ):
        os.close(writing)
        assert server.port
        yield server, out


@pytest.mark.parametrize("name", WAYS)
def test_what_is_read_at_once_stays_together(name: str, authority: Authority) -> None:
    """While pync is stopped each client sends a block, so each can be read in one piece."""
    way, count, size = WAYS[name], 10, 16_000
    with serving(*way.options(authority)) as (server, out), ExitStack() as stack:
        clients = [stack.enter_context(way.client(authority, server)) for _ in range(count)]
        if name != "UDP":
            server.expect(rf"(Connection received on \S+ \d+\n(?s:.*)){{{count}}}")
        server.signal(signal.SIGSTOP)
        os.waitpid(server.pid, os.WUNTRACED)
        for number, client in enumerate(clients):
            client.sendall(bytes([number]) * size)
        server.signal(signal.SIGCONT)
        blocks = [out.read(size) for _ in range(count)]
        assert sorted(blocks) == [bytes([number]) * size for number in range(count)]


# Labels.


def labelled(*pieces: bytes, packets: bool = False) -> list[bytes]:
    """What is written of these pieces, but for what is empty."""
    written = everything(Translated(Given(*pieces), Label("A: ", packets=packets)))
    return [piece for piece in written if piece]


@pytest.mark.parametrize(
    ("pieces", "written"),
    [
        ([], []),
        ([b"one\n"], [b"A: one\n"]),
        ([b"one\ntwo\n"], [b"A: one\nA: two\n"]),
        ([b"\n\r\n\n"], [b"A: \nA: \r\nA: \n"]),
        ([b"one"], [b"A: one\n"]),
        ([b"one", b"\n"], [b"A: one\n"]),
        ([b"o", b"n", b"e\ntw", b"o"], [b"A: one\n", b"A: two\n"]),
        ([b"one\n", b"\ntwo"], [b"A: one\n", b"A: \n", b"A: two\n"]),
        ([b"x" * (LONGEST - 1), b"x", b"y\n"], [b"A: " + b"x" * LONGEST + b"\n", b"A: y\n"]),
    ],
)
def test_a_label_begins_each_line(pieces: list[bytes], written: list[bytes]) -> None:
    assert labelled(*pieces) == written


def test_the_end_of_a_packet_is_the_end_of_a_line() -> None:
    packets = [b"one", b"two\n", b"three\nfour", b"", b"\n"]
    lines = [b"A: one\n", b"A: two\n", b"A: three\nA: four\n", b"A: \n"]
    assert labelled(*packets, packets=True) == lines


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from([b"", b"\n", b"a", b"bc", b"d\n", b"\n\ne", b"\r\n"])))
def test_lines_come_out_whole_however_they_were_cut(pieces: list[bytes]) -> None:
    *lines, rest = b"".join(pieces).split(b"\n")
    lines += [rest] if rest else []
    written = labelled(*pieces)
    assert all(piece.endswith(b"\n") for piece in written)
    assert b"".join(written) == b"".join(b"A: %s\n" % line for line in lines)


def test_what_is_made_of_one_read_is_given_in_one() -> None:
    """The most that this may be: a long line's end, and nothing but empty lines."""
    label = Label("127.0.0.1 port 12345: ")
    limit = 1 << 20
    label.translate(b"x" * (LONGEST - 1))
    assert LONGEST < len(label.translate(b"\n" * (limit // label.growth))) < limit


class Broken(Given):
    """Breaks off in the place of an end."""

    def read(self, limit: int) -> bytes:
        try:
            return super().read(limit)
        except EndOfStream:
            raise ConnectionLost("reset") from None


def test_what_waited_for_a_lines_end_comes_before_an_error() -> None:
    source = Translated(Broken(b"one\ntwo"), Label("A: "))
    assert [source.read(1 << 20) for _ in range(2)] == [b"A: one\n", b"A: two\n"]
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            source.read(1 << 20)


def test_what_waited_for_a_lines_end_is_there_once_no_more_is_wanted() -> None:
    pipe = MemoryPipe(1 << 20)
    source: Source = Translated(pipe, Label("A: "))
    for piece in (b"one", b" and", b" two"):
        pipe.write(piece)
    assert source.read(1 << 20) == b""
    pipe.write(b" more")
    source.stop()
    assert source.backlog == 5
    assert source.read(1 << 20) == b"A: one and two more\n"
    assert source.backlog == 0


# Over connections.


def names(server: Program) -> list[str]:
    """The clients, as labels name them, in the order in which they came."""
    return [
        f"{host} port {port}"
        for host, port in re.findall(r"Connection received on (\S+) (\d+)\n", server.text())
    ]


def text_of(number: int) -> bytes:
    """Lines of all lengths, each of which tells whose it is."""
    dice = random.Random(number)
    lines = [b"%d" % number * dice.choice([1, 10, 1000, 6000]) + b"\n" for _ in range(60)]
    return b"".join(lines)


@pytest.mark.parametrize("name", STREAMS)
def test_lines_of_clients_do_not_mix(name: str, authority: Authority) -> None:
    """They come in pieces of all sizes, in turns."""
    way, count, dice = WAYS[name], 8, random.Random(0)
    texts = [text_of(number) for number in range(count)]
    with serving("--label", *way.options(authority)) as (server, out), ExitStack() as stack:
        clients = []
        for number in range(count):
            clients.append(stack.enter_context(way.client(authority, server)))
            server.expect(rf"(Connection received on \S+ \d+\n(?s:.*)){{{number + 1}}}")
        unsent = dict(enumerate(texts))
        while unsent:
            number = dice.choice([*unsent])
            piece = dice.choice([1, 100, 5000, 60_000])
            clients[number].sendall(unsent[number][:piece])
            unsent[number] = unsent[number][piece:]
            if not unsent[number]:
                del unsent[number]
        heard: dict[str, bytes] = dict.fromkeys(names(server), b"")
        for _ in range(sum(text.count(b"\n") for text in texts)):
            label, text = out.readline().split(b": ", 1)
            heard[label.decode()] += text
        assert list(heard.values()) == texts


def test_datagrams_are_labelled_each_for_itself() -> None:
    with start("-luknv", "--label", HERE, "0") as server, ExitStack() as stack:
        clients = [stack.enter_context(sender_to(server)) for _ in range(3)]
        expected = b""
        for client in clients:
            for datagram in (b"no end", b"an end\n", b"two\nlines"):
                client.send(datagram)
                expected += b"".join(
                    b"127.0.0.1 port %d: %s\n" % (client.getsockname()[1], line)
                    for line in datagram.splitlines()
                )
                assert server.receive(len(expected)) == expected


@pytest.mark.parametrize("options", ["-lUkv", "-lUkvu"])
def test_clients_without_an_address_have_numbers(options: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with start(options, "--label", f"{path}") as server, ExitStack() as stack:
        server.expect("Listening")
        expected = b""
        for number in (1, 2, 3):
            client = stack.enter_context(
                a_socket("u" if "u" in options else "", tmp_path / f"own {number}")
            )
            client.connect(str(path))
            client.send(b"hello\n")
            expected += b"client %d: hello\n" % number
            assert server.receive(len(expected)) == expected


@needs_ipv6
def test_an_address_of_ipv6_is_a_label() -> None:
    with (
        start("-lnv", "--label", "::1", "0") as server,
        socket.create_connection(("::1", server.port), PATIENCE) as client,
    ):
        client.sendall(b"hello\n")
        assert server.receive(1).startswith(b"::1 port ")


def says_no_more(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)


def stays(client: socket.socket) -> None:
    """Which the options end."""


ENDINGS = [
    ("", says_no_more),
    ("", reset),
    ("-w 300ms", stays),
    ("--idle-timeout 300ms", stays),
    ("-q 0", stays),
]


@pytest.mark.parametrize("keeps_open", ["", "-k"])
@pytest.mark.parametrize(("options", "end"), ENDINGS)
def test_an_unfinished_line_is_written_however_its_client_ends(
    keeps_open: str, options: str, end: Callable[[socket.socket], None]
) -> None:
    arguments = [*keeps_open.split(), *options.split()]
    with (
        start("-lnv", "--label", *arguments, HERE, "0", stdin=PIPE) as server,
        client_of(server) as client,
    ):
        label = b"127.0.0.1 port %d: " % client.getsockname()[1]
        client.sendall(b"one\ntwo")
        assert server.receive(len(label) + 4) == label + b"one\n"
        if "-q" in arguments:
            server.end()
        end(client)
        whole = label + b"one\n" + label + b"two\n"
        assert server.receive(len(whole)) == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", ["-lnv", "-lknv"])
def test_an_unfinished_line_is_written_when_a_signal_ends_all(
    number: signal.Signals, options: str
) -> None:
    with start(options, "--label", HERE, "0", stdin=PIPE) as server, client_of(server) as client:
        client.sendall(b"one\ntwo")
        assert b"one\n" in server.receive(20)
        server.signal(number)
        assert server.finish().out.endswith(b": two\n")


def test_a_label_stands_before_what_is_shown_safely() -> None:
    ours, theirs = pty.openpty()
    try:
        with (
            start("-lnv", "--label", "--safe-tty", HERE, "0", stdout=theirs) as server,
            client_of(server) as client,
        ):
            client.sendall(b"\33[2J\n")
            own = client.getsockname()[1]
            expected = b"127.0.0.1 port %d: \\x1b[2J\r\n" % own
            assert os.read(ours, 1000) == expected
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--label localhost 80", "--label needs --listen"),
        ("-l --label -F 0", "--fd-pass and --label exclude each other"),
        ("-lk --label -X http 0", "--listen and --proxy-type exclude --label"),
        ("-l --broker --label 0", "--broker and --label exclude each other"),
    ],
)
def test_a_mistake_is_told(line: str, told: str) -> None:
    with start(*line.split()) as pync:
        result = pync.finish()
    assert (result.status, complaints(result)) == (2, [f"pync: {told}"])
