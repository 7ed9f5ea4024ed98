"""--stdin: who gets standard input, of the clients of a listener that keeps open.

all    whoever is there: in test_keep_open and test_many_peers
each   everybody, from its start
first  one of them alone
"""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from harness import PATIENCE, PEERS, PIPE, PYNC, Program, descriptors
from plain_peer import (
    HERE,
    LITTLE,
    complaints,
    drain,
    drain_until_any_end,
    reset,
    silent,
    start,
)
from stdio_kinds import STDINS, a_stdin
from test_many_peers import client_of, exactly, stopped, welcomed
from test_names import may_unshare
from test_signals import until
from test_tls_strangers import client_of as tls_client_of
from test_tls_strangers import listening as listening_with_tls
from test_unix_sockets import a_socket

WORDS = b"to be\nor not to be\n"
PAGE = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + os.urandom(300_000)
BIG = os.urandom(1 << 20) * 8  # bytes: more than the kernel holds for a client
EACH = ("-lknv", "--stdin", "each")
FIRST = ("-lknv", "--stdin", "first")


@contextmanager
def file_of(data: bytes, tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file with that in it, at its start."""
    path = tmp_path / "data"
    path.write_bytes(data)
    with path.open("rb") as file:
        yield file.fileno()


@contextmanager
def slow_client_of(server: Program) -> Iterator[socket.socket]:
    """A client that has room for a little only, and whom the server knows of."""
    with socket.socket() as client:
        client.settimeout(PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        client.connect((HERE, server.port))
        server.expect(rf"Connection received on \S+ {client.getsockname()[1]}\n")
        yield client


# each: everybody gets the whole of it.


@pytest.mark.usefixtures("_each_mover")
@pytest.mark.parametrize("kind", STDINS)
def test_each_gets_the_whole_of_it_and_the_end(kind: str, tmp_path: Path) -> None:
    """Two that come at once, and one when stdin has been read to its end."""
    with (
        a_stdin(kind, BIG, tmp_path) as stdin,
        start(*EACH, HERE, "0", **stdin.how) as server,
        ExitStack() as stack,
    ):
        early = welcomed(stack, server, 2)
        stdin.feed(server)
        for client in (*early, *welcomed(stack, server, 1)):
            if not stdin.data:
                client.shutdown(socket.SHUT_WR)  # our end waits for this one then
            assert drain(client) == stdin.data
            client.close()
        assert stopped(server) == []


@pytest.mark.usefixtures("_each_mover")
def test_each_begins_where_a_file_stood_and_leaves_it_there(tmp_path: Path) -> None:
    with (
        file_of(BIG, tmp_path) as stdin,
        ExitStack() as stack,
    ):
        os.lseek(stdin, 1000, os.SEEK_SET)
        server = stack.enter_context(start(*EACH, HERE, "0", stdin=stdin))
        for client in welcomed(stack, server, 2):
            assert drain(client) == BIG[1000:]
        assert os.lseek(stdin, 0, os.SEEK_CUR) == 1000


@pytest.mark.usefixtures("_each_mover")
@pytest.mark.parametrize("left", [1000, len(BIG) - 1])
def test_a_file_that_is_cut_short_meanwhile_is_told_and_cuts_who_gets_it(
    left: int, tmp_path: Path
) -> None:
    """Others have nothing to do with that, and who comes later gets what is there then."""
    with (
        file_of(BIG, tmp_path) as stdin,
        start(*EACH, HERE, "0", stdin=stdin) as server,
        slow_client_of(server) as client,
        client_of(server) as quick,
    ):
        assert drain(quick) == BIG
        name = f"{HERE} port {client.getsockname()[1]}"
        os.truncate(tmp_path / "data", left)
        assert drain_until_any_end(client)[1] == "RST"
        with client_of(server) as later:
            assert drain(later) == BIG[:left]
        assert stopped(server) == [
            f"pync: client {name}: standard input was cut short to {left} bytes"
        ]


@pytest.mark.usefixtures("_each_mover")
def test_a_file_that_grows_meanwhile_is_given_out_as_it_is_then(tmp_path: Path) -> None:
    with (
        file_of(BIG, tmp_path) as stdin,
        start(*EACH, HERE, "0", stdin=stdin) as server,
        slow_client_of(server) as client,
    ):
        begin = exactly(client, 1000)
        with (tmp_path / "data").open("ab") as file:
            file.write(WORDS)
        assert begin + drain(client) == BIG + WORDS
        assert stopped(server) == []


def test_who_is_early_gets_what_is_there_and_then_what_comes() -> None:
    with start(*EACH, HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        clients: list[socket.socket] = []
        said = b""
        for number in range(5):
            (client,) = welcomed(stack, server, 1)
            assert exactly(client, len(said)) == said
            clients.append(client)
            server.send(b"line %d\n" % number)
            said += b"line %d\n" % number
            assert {exactly(client, 7) for client in clients} == {b"line %d\n" % number}
        server.end()
        assert {drain(client) for client in clients} == {b""}


def test_what_is_typed_is_kept_for_those_who_come_late() -> None:
    ours, theirs = pty.openpty()
    try:
        with start(*EACH, HERE, "0", stdin=theirs) as server, ExitStack() as stack:
            for number in range(3):
                os.write(ours, b"line\n")
                for client in welcomed(stack, server, 2):
                    assert exactly(client, 5 * (number + 1)) == b"line\n" * (number + 1)
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.usefixtures("_each_mover")
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_slow_client_delays_nobody_and_is_not_dropped(kind: str, tmp_path: Path) -> None:
    data = BIG * 2
    with (
        a_stdin(kind, data, tmp_path) as stdin,
        start(*EACH, HERE, "0", **stdin.how) as server,
        slow_client_of(server) as slow,
        ExitStack() as stack,
    ):
        stdin.feed(server)
        for client in welcomed(stack, server, 5):
            assert drain(client) == data
        assert drain(slow) == data
        assert stopped(server) == []


def test_a_client_that_leaves_costs_only_itself(tmp_path: Path) -> None:
    with (
        file_of(BIG, tmp_path) as stdin,
        start(*EACH, HERE, "0", stdin=stdin) as server,
        slow_client_of(server) as leaving,
        client_of(server) as staying,
    ):
        assert exactly(leaving, 1)
        reset(leaving)
        server.expect(r"pync: connection with \S+ port \d+ lost: .*; \d+ bytes not delivered\n")
        assert drain(staying) == BIG


# Over everything, and changed on its way.


def test_each_gets_it_over_tls(authority: Authority, tmp_path: Path) -> None:
    with (
        file_of(BIG, tmp_path) as stdin,
        listening_with_tls(authority, "-k", "--stdin", "each", stdin=stdin) as server,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(tls_client_of(authority, server)) for _ in range(3)]
        assert [client.drain() == BIG for client in clients] == [True] * 3


@pytest.mark.usefixtures("_each_mover")
def test_each_gets_it_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        file_of(BIG, tmp_path) as stdin,
        start(*EACH, "-U", f"{path}", stdin=stdin) as server,
    ):
        server.expect("Listening")
        for _ in range(3):
            with a_socket("") as client:
                client.connect(str(path))
                assert drain(client) == BIG


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_each_peer_gets_it_in_datagrams(kind: str, tmp_path: Path) -> None:
    with (
        a_stdin(kind, WORDS * 5000, tmp_path) as stdin,
        start(*EACH, "-u", HERE, "0", **stdin.how) as server,
    ):
        stdin.feed(server)
        for _ in range(3):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.settimeout(PATIENCE)
                peer.sendto(b"hello", (HERE, server.port))
                assert b"".join(peer.recv(1 << 16) for _ in range(2)) == WORDS * 5000


@pytest.mark.parametrize("kind", ["file", "pipe"])
@pytest.mark.parametrize(
    ("options", "sent"), [("-C", WORDS.replace(b"\n", b"\r\n")), ("-i 10ms", WORDS)]
)
def test_each_gets_what_the_options_make_of_it(
    kind: str, options: str, sent: bytes, tmp_path: Path
) -> None:
    with (
        a_stdin(kind, WORDS, tmp_path) as stdin,
        start(*EACH, *options.split(), HERE, "0", **stdin.how) as server,
        ExitStack() as stack,
    ):
        stdin.feed(server)
        for client in welcomed(stack, server, 3):
            assert drain(client) == sent


# A page.

REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def asks_and_reads(client: socket.socket) -> bytes:
    client.sendall(REQUEST)
    return drain(client)


def asks_and_ends(client: socket.socket) -> bytes:
    client.sendall(REQUEST)
    client.shutdown(socket.SHUT_WR)
    return drain(client)


def asks_late(client: socket.socket) -> bytes:
    """When all is there for it, and the end, too."""
    page = drain(client)
    client.sendall(REQUEST)
    return page


def asks_nothing(client: socket.socket) -> bytes:
    return drain(client)


CLIENTS = [asks_and_reads, asks_and_ends, asks_late, asks_nothing]


@pytest.mark.usefixtures("_each_mover")
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_page_arrives_whole_however_it_is_asked_for(kind: str, tmp_path: Path) -> None:
    with a_stdin(kind, PAGE, tmp_path) as stdin, start(*EACH, HERE, "0", **stdin.how) as server:
        stdin.feed(server)
        for ask in CLIENTS * 2:
            with client_of(server) as client:
                assert ask(client) == PAGE
        assert server.receive(6 * len(REQUEST)) == 6 * REQUEST
        assert stopped(server) == []


PROGRAMS = {
    "curl": "curl -sS http://{host}:{port}/page",
    "openbsd": "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc.openbsd -N {host} {port}",
    "ncat": "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | ncat {host} {port}",
    "socat": "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | socat -t10 STDIO TCP:{host}:{port}",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_page_arrives_whole_at(name: str, tmp_path: Path) -> None:
    if not PEERS.get(name, shutil.which(name)):
        pytest.skip(f"{name} is not installed")
    body = PAGE[PAGE.index(b"\r\n\r\n") + 4 :]
    with file_of(PAGE, tmp_path) as stdin, start(*EACH, HERE, "0", stdin=stdin) as server:
        command = PROGRAMS[name].format(host=HERE, port=server.port)
        for _ in range(5):
            with Program("sh", "-c", command) as program:
                result = program.finish()
            assert (result.status, result.err) == (0, "")
            assert result.out == (body if name == "curl" else PAGE)
        assert stopped(server) == []


CROWD = 2000


@pytest.mark.usefixtures("_descriptors_for_a_crowd")
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_crowd_gets_the_page_and_costs_little_memory(kind: str, tmp_path: Path) -> None:
    """Nobody takes anything before all are there; there is no room for all of it on the way."""
    page = PAGE[:60_000]
    with (
        a_stdin(kind, page, tmp_path) as stdin,
        start(*EACH, "-O", "16k", HERE, "0", **stdin.how) as server,
        ExitStack() as stack,
    ):
        stdin.feed(server)
        before = server.port and server.peak_memory
        crowd = [stack.enter_context(socket.socket()) for _ in range(CROWD)]
        for client in crowd:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
            client.setblocking(False)
            client.connect_ex((HERE, server.port))
        server.expect(rf"(Connection received on \S+ \d+\n){{{CROWD}}}")
        for client in crowd:
            client.settimeout(PATIENCE)
        assert {drain(client) == page for client in crowd} == {True}
        assert (server.peak_memory - before) / CROWD < 16 << 10
        assert stopped(server) == []


# What goes wrong.


def test_a_disk_that_is_full_is_told_and_cuts_all(tmp_path: Path) -> None:
    """A limit of the size of files stands for the disk."""
    limited = f'TMPDIR={tmp_path}; export TMPDIR; ulimit -f 256; exec "$@"'
    with (
        start(*EACH, HERE, "0", shell=limited, stdin=PIPE) as server,
        client_of(server) as client,
    ):
        server.send(WORDS)
        assert exactly(client, len(WORDS)) == WORDS
        with Program("cat", stdin=bytes(1 << 20), stdout=server.process.stdin) as feeder:
            result = server.finish()
            feeder.process.kill()
        assert drain_until_any_end(client)[1] == "RST"
    told = f"pync: cannot keep standard input in {tmp_path}: File too large; "
    assert complaints(result) == [told + "TMPDIR names another place"]
    assert result.status == 2


needs_mounts = pytest.mark.skipif(not may_unshare(), reason="no mount namespace is allowed here")


def mounting(mount: str, *arguments: str, **how: Any) -> Program:
    """Start pync in a mount namespace of its own, after `mount`."""
    return Program(
        "unshare", "-m", "sh", "-c", f'{mount}; exec "$@"', "sh", *PYNC, *arguments, **how
    )


@needs_mounts
def test_a_small_disk_that_is_full_is_told(tmp_path: Path) -> None:
    small = f"mount -t tmpfs -o size=64k tmpfs {tmp_path}"
    with (
        mounting(small, *EACH, HERE, "0", env={"TMPDIR": f"{tmp_path}"}, stdin=PIPE) as server,
        Program("cat", stdin=bytes(1 << 20), stdout=server.process.stdin),
    ):
        result = server.finish()
    told = f"pync: cannot keep standard input in {tmp_path}: No space left on device; "
    assert complaints(result) == [told + "TMPDIR names another place"]
    assert result.status == 2


READ_ONLY = "for at in /tmp /var/tmp; do mount --bind $at $at; mount -o remount,bind,ro $at; done"


@needs_mounts
def test_a_system_without_a_place_to_keep_it_is_told() -> None:
    with mounting(READ_ONLY, *EACH, HERE, "0", cwd="/proc", stdin=PIPE) as server:
        result = server.finish()
    told = "pync: cannot keep standard input in any usual place: No such file or directory; "
    assert complaints(result) == [told + "TMPDIR names another place"]
    assert result.status == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_a_signal_lets_each_have_the_rest(
    number: signal.Signals, kind: str, tmp_path: Path
) -> None:
    """Of what is there: who takes it in time gets all, and who does not is cut."""
    with (
        a_stdin(kind, BIG, tmp_path) as stdin,
        start(*EACH, HERE, "0", **stdin.how) as server,
        slow_client_of(server) as taking,
        slow_client_of(server) as stuck,
    ):
        stdin.feed(server)
        assert exactly(taking, 1) == exactly(stuck, 1) == BIG[:1]
        server.signal(number)
        assert exactly(taking, len(BIG)) == BIG[1:]
        result = server.finish()
        assert result.status == -number
        received, end = drain_until_any_end(stuck)
        assert end == "RST"
        assert len(received) < len(BIG)


# first: one alone gets it.


@contextmanager
def feeding(server: Program, data: bytes) -> Iterator[None]:
    """While it is written to stdin, as fast as that is read."""
    with Program("cat", stdin=data, stdout=server.process.stdin):
        server.end()
        yield


@pytest.mark.usefixtures("_each_mover")
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_the_first_gets_all_of_it_and_the_others_nothing(kind: str, tmp_path: Path) -> None:
    with (
        a_stdin(kind, BIG, tmp_path) as stdin,
        start(*FIRST, HERE, "0", **stdin.how) as server,
        ExitStack() as stack,
    ):
        first, *others = welcomed(stack, server, 3)
        if kind == "pipe":
            stack.enter_context(feeding(server, BIG))
        assert drain(first) == BIG
        for client in (*others, *welcomed(stack, server, 1)):
            client.sendall(b"hello")
            assert silent(client, 0.05)
            client.shutdown(socket.SHUT_WR)
            assert drain(client) == b""
        assert server.receive(15) == b"hello" * 3
        assert stopped(server) == []


def closes(client: socket.socket) -> None:
    client.close()


@pytest.mark.parametrize("leave", [closes, reset])
def test_the_turn_passes_to_who_has_been_there_longest(
    leave: Callable[[socket.socket], None],
) -> None:
    options = (*FIRST, "--linger", "0")
    with start(*options, HERE, "0", stdin=PIPE) as server, ExitStack() as stack:

        def is_gone(client: socket.socket) -> None:
            before = len(descriptors(server.pid))
            leave(client)
            until(lambda: len(descriptors(server.pid)) < before)

        clients = welcomed(stack, server, 5)
        is_gone(clients.pop(2))
        while clients:
            server.send(b"for one")
            assert exactly(clients[0], 7) == b"for one"
            assert all(silent(client, 0.01) for client in clients[1:])
            is_gone(clients.pop(0))
        server.send(b"for the last")
        (last,) = welcomed(stack, server, 1)
        assert exactly(last, 12) == b"for the last"
        server.end()
        assert drain(last) == b""


def test_one_that_waits_for_its_turn_ends_in_order_when_it_has_ended() -> None:
    """At once, however long the linger is, and nothing waits for it then."""
    with start(*FIRST, "--linger", "1h", HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        first, ending, last = (welcomed(stack, server, 1)[0] for _ in range(3))
        ending.sendall(b"bye")
        ending.shutdown(socket.SHUT_WR)
        assert drain(ending) == b""
        server.send(b"one")
        assert exactly(first, 3) == b"one"
        reset(first)
        server.expect("lost: Connection reset")
        server.send(b"two")
        assert exactly(last, 3) == b"two"


def test_what_the_first_left_of_a_file_is_for_the_next(tmp_path: Path) -> None:
    with (
        file_of(BIG, tmp_path) as stdin,
        start(*FIRST, HERE, "0", stdin=stdin) as server,
        slow_client_of(server) as first,
        client_of(server) as second,
    ):
        begin = exactly(first, 1000)
        assert begin == BIG[:1000]
        assert silent(second, 0.1)
        reset(first)
        server.expect("bytes not delivered")
        rest = drain(second)
        assert 0 < len(rest) < len(BIG)
        assert BIG.endswith(rest)


def test_datagrams_go_to_the_first_peer_alone() -> None:
    with start(*FIRST, "-u", HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        peers = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)
        ]
        for number, peer in enumerate(peers):
            peer.settimeout(PATIENCE)
            peer.sendto(b"hello", (HERE, server.port))
            assert server.receive(5 * (number + 1)) == b"hello" * (number + 1)
        server.send(b"for one")
        assert peers[0].recv(100) == b"for one"
        assert all(silent(peer, 0.05) for peer in peers[1:])


# What goes with what.


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-l --stdin each 0", "--stdin needs --keep-open"),
        ("-lk --stdin both 0", "--stdin: 'both' is not one of all, first, each"),
        ("-lkd --stdin each 0", "--no-stdin and --stdin exclude each other"),
        ("-lk --recv-only --stdin all 0", "--recv-only and --stdin exclude each other"),
        ("-lk -X socks5 --stdin all 0", "--listen and --proxy-type exclude --stdin"),
    ],
)
def test_a_mistake_is_told(line: str, told: str) -> None:
    with start(*line.split()) as pync:
        result = pync.finish()
    assert (result.status, complaints(result)) == (2, [f"pync: {told}"])
