"""Datagrams of a listener: their boundaries, who gets them, and what cannot be sent.

A read of stdin is one datagram, for each peer.  A queue that is full is waited
for in peace, and what the kernel will not send is told.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from harness import NULL, PATIENCE, PIPE, PYNC, Program
from plain_peer import HERE, complaints, ended_within, start

MOST = 65_507  # bytes in one datagram over IPv4
Pipes = Callable[[], AbstractContextManager[tuple[int, int]]]
LINES = [b"one\n", b"two\n", b"three\n"]
QUEUE_LENGTH = Path("/proc/sys/net/unix/max_dgram_qlen")  # datagrams waiting for one socket

linux_only = pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux has it")


@contextmanager
def a_udp_peer(address: tuple[str, int]) -> Iterator[socket.socket]:
    """A socket with room for much, connected to `address`."""
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        peer.connect(address)
        yield peer


@contextmanager
def a_unix_peer(name: Path | None = None) -> Iterator[socket.socket]:
    """A socket with that name, or without any; not connected, so that its queue is bounded."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE)
        if name:
            peer.bind(str(name))
        yield peer


@contextmanager
def listening(path: Path, *options: str) -> Iterator[Program]:
    """A pync that listens for datagrams on a unix socket there."""
    with start("-luUv", *options, str(path), stdin=PIPE) as server:
        server.expect("Listening on .*\n")
        yield server


def introduce(server: Program, *peers: socket.socket) -> None:
    """Let each of the peers, which are connected, become known to the server."""
    for count, peer in enumerate(peers, 1):
        peer.send(b"!")
        assert server.receive(count) == b"!" * count


def introduce_at(path: Path, server: Program, *peers: socket.socket) -> None:
    """The same for peers that are not connected."""
    for count, peer in enumerate(peers, 1):
        peer.sendto(b"!", str(path))
        assert server.receive(count) == b"!" * count


def gathered(peers: list[socket.socket], size: int) -> list[bytes]:
    """What each gets until it has `size` bytes; whoever can read reads."""
    received = {peer: bytearray() for peer in peers}
    while hungry := [peer for peer in peers if len(received[peer]) < size]:
        ready = select.select(hungry, [], [], PATIENCE)[0]
        told = [len(data) for data in received.values()]
        assert ready, f"nothing comes any more; of {size} bytes each there were {told}"
        for peer in ready:
            received[peer] += peer.recv(1 << 16)
    return [bytes(data) for data in received.values()]


# What the kernel will not send.


def namespaces_work() -> bool:
    """Whether a network of one's own can be had here."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    trial = ["unshare", "-rn", "ip", "link", "set", "lo", "up"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not namespaces_work(), reason="there are no network namespaces here")
def test_a_route_that_has_gone_ends_a_listener() -> None:
    own, other = "10.9.0.1", "10.9.0.2"
    prepare = f"ip link set lo up; ip addr add {own}/32 dev lo; ip addr add {other}/32 dev lo"
    elsewhere = ("unshare", "-rn", "sh", "-c", f'{prepare}; exec "$@"', "sh")
    with Program(*elsewhere, *PYNC, "-lunv", own, "0", stdin=PIPE) as pync:
        port = str(pync.port)
        inside = ("nsenter", "-t", str(pync.pid), "-U", "-n", "--preserve-credentials")
        for command, stdin in (
            ((*PYNC, "-u", "-q", "0", "-s", other, own, port), b"hello"),
            (("ip", "addr", "del", f"{other}/32", "dev", "lo"), NULL),
        ):
            with Program(*inside, *command, stdin=stdin) as program:
                assert program.finish()[::2] == (0, "")
        assert pync.receive(5) == b"hello"
        pync.send(b"reply\n")
        result = pync.finish()
    assert result.status == 1
    (line,) = complaints(result)
    assert "unreachable" in line


def test_a_datagram_that_the_kernel_finds_too_long_ends_a_listener(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(path, "-O", "2048") as server, a_unix_peer(tmp_path / "peer") as peer:
        introduce_at(path, server, peer)
        server.send(bytes(50_000))
        result = server.finish()
    assert result.status == 1
    (line,) = complaints(result)
    assert "Message too long" in line


def test_a_datagram_that_the_kernel_finds_too_long_is_told_by_one_that_stays(
    tmp_path: Path,
) -> None:
    path = tmp_path / "socket"
    with listening(path, "-k", "-O", "2048") as server, a_unix_peer(tmp_path / "peer") as peer:
        introduce_at(path, server, peer)
        server.send(bytes(50_000))
        server.expect("pync: .*Message too long.*\n")
        peer.sendto(b"?", str(path))
        assert server.receive(2) == b"!?"
        server.send(b"short")
        assert peer.recv(100) == b"short"


def test_a_peer_that_cannot_be_answered_ends_a_listener(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(path) as server, a_unix_peer() as nameless:
        introduce_at(path, server, nameless)
        server.send(b"answer\n")
        result = server.finish()
    assert result.status == 1
    (line,) = complaints(result)
    assert "cannot answer" in line
    assert "7 bytes" in line


def test_a_peer_without_an_address_is_told_of_and_hinders_nobody(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        listening(path, "-k") as server,
        a_unix_peer() as nameless,
        a_unix_peer(tmp_path / "peer") as named,
    ):
        introduce_at(path, server, nameless, named)
        server.send(b"answer\n")
        assert named.recv(100) == b"answer\n"
        server.expect("pync: .*cannot answer.*\n")
        named.sendto(b"?", str(path))
        assert server.receive(3) == b"!!?"
        server.send(b"again\n")
        assert named.recv(100) == b"again\n"
        assert not ended_within(server, 0.1)
        assert server.text().count("cannot answer") == 1


# Full queues.


def test_two_peers_whose_queues_fill_both_get_everything(tmp_path: Path) -> None:
    data = os.urandom(900_000)
    path = tmp_path / "socket"
    with (
        listening(path, "-k") as server,
        a_unix_peer(tmp_path / "one") as one,
        a_unix_peer(tmp_path / "two") as two,
    ):
        introduce_at(path, server, one, two)
        with Program("cat", stdin=data, stdout=server.process.stdin):
            assert not ended_within(server, 0.3)
            assert gathered([one, two], len(data)) == [data, data]


@pytest.mark.skipif(not QUEUE_LENGTH.exists(), reason="nothing says how long a queue may be")
def test_a_full_queue_is_waited_for_in_peace(tmp_path: Path) -> None:
    """-i makes a datagram of each line; of those more than the queue takes."""
    count = int(QUEUE_LENGTH.read_text(encoding="ascii")) + 20
    lines = [b"%d\n" % number for number in range(count)]
    path = tmp_path / "socket"
    with (
        listening(path, "-k", "-i", "1ms") as server,
        a_unix_peer(tmp_path / "peer") as peer,
    ):
        introduce_at(path, server, peer)
        server.send(b"".join(lines))
        assert not ended_within(server, 0.3 + count * 0.002)
        before = server.cpu_seconds
        assert not ended_within(server, 0.5)
        assert server.cpu_seconds - before < 0.1
        assert [peer.recv(100) for _ in lines] == lines


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="pipes have one size here")
def test_a_reader_that_makes_a_pause_makes_nobody_deaf() -> None:
    """Meanwhile a peer's time is over, with as much waiting for it as may wait.

    What it sent comes out, or is told; and another peer is heard.
    """
    count = 150
    reader, writer = os.pipe()
    with (
        os.fdopen(reader, "rb", buffering=0) as heard,
        os.fdopen(writer, "wb", buffering=0) as stdout,
    ):
        fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, 4096)
        options = ("-lukv", "-q", "1", HERE, "0")
        with start(*options, stdin=NULL, stdout=stdout) as server:
            stdout.close()
            with a_udp_peer((HERE, server.port)) as early:
                for _ in range(count):
                    early.send(bytes(100))
                unwritten = int(server.expect(r"pync: .* (\d+) bytes received and not written")[1])
                assert unwritten > 64 * 100
            with a_udp_peer((HERE, server.port)) as late:
                late.send(b"late")
                received = b""
                while len(received) < count * 100 - unwritten + len(b"late"):
                    assert select.select([heard], [], [], PATIENCE)[0], "it hears nobody"
                    received += heard.read(1 << 16)
                assert b"late" in received
            assert not ended_within(server, 0.0)


# The boundaries of what stdin gives.


@contextmanager
def a_terminal() -> Iterator[tuple[int, int]]:
    """Two descriptors, to write to and to read from; each read gives one line."""
    keyboard, terminal = os.openpty()
    with os.fdopen(keyboard, "wb", buffering=0), os.fdopen(terminal, "rb", buffering=0):
        yield keyboard, terminal


@contextmanager
def a_pipe_of_packets() -> Iterator[tuple[int, int]]:
    """The same; each read gives what was written at once."""
    reader, writer = os.pipe2(os.O_DIRECT)
    with os.fdopen(writer, "wb", buffering=0), os.fdopen(reader, "rb", buffering=0):
        yield writer, reader


@linux_only
@pytest.mark.parametrize("make", [a_terminal, a_pipe_of_packets], ids=["terminal", "packets"])
def test_what_is_read_at_once_is_one_datagram_for_each_peer(make: Pipes) -> None:
    """While pync is stopped everything is pasted, so all of it is there to be read."""
    with make() as (paste, stdin), start("-lukv", HERE, "0", stdin=stdin) as server:
        address = (HERE, server.port)
        with a_udp_peer(address) as one, a_udp_peer(address) as two:
            introduce(server, one, two)
            server.signal(signal.SIGSTOP)
            os.waitpid(server.pid, os.WUNTRACED)
            for line in LINES:
                os.write(paste, line)
            server.signal(signal.SIGCONT)
            for peer in (one, two):
                assert [peer.recv(100) for _ in LINES] == LINES


def test_a_large_stdin_becomes_datagrams_none_too_large() -> None:
    data = os.urandom(3 * MOST)  # as much as a socket can hold unread
    with start("-lukv", HERE, "0", stdin=PIPE) as server:
        address = (HERE, server.port)
        with a_udp_peer(address) as one, a_udp_peer(address) as two:
            introduce(server, one, two)
            with Program("cat", stdin=data, stdout=server.process.stdin):
                assert gathered([one, two], len(data)) == [data, data]


def test_a_message_on_stdin_that_no_datagram_can_carry_is_an_error() -> None:
    """It is not cut to what one can carry."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind((HERE, 0))
        ours.send(bytes(70_000))
        with start("-u", HERE, str(peer.getsockname()[1]), stdin=theirs.fileno()) as pync:
            theirs.close()
            result = pync.finish()
            assert result.status == 1
            assert "70000 bytes not delivered" in result.err
