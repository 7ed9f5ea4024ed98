"""--broker: what a client sends goes to all the others.

It stays in its pieces and its order, over whatever they come; one that is slow or stopped
costs only itself; one that has ended what it sends still hears the others.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from authority import Authority
from harness import PEERS, PIPE, PYNC, Program, descriptors
from plain_peer import (
    HERE,
    LITTLE,
    complaints,
    drain,
    drain_until_reset,
    ended_within,
    reset,
    silent,
    start,
)
from rooms import DATAGRAMS, STREAMS, Join, exactly, room
from test_signals import until, waiting_in
from tls_socket import TlsSocket

PIECE = 16_384  # bytes that a TCP socket gives in one read, and a record of TLS holds
MIB = 1 << 20

each_kind = pytest.mark.parametrize("kind", [*STREAMS, *DATAGRAMS])


class Opens(Protocol):
    def __call__(
        self, kind: str = "tcp", *options: str, **how: Any
    ) -> AbstractContextManager[tuple[Program, Join]]: ...


@pytest.fixture
def broker(tmp_path: Path, authority: Authority) -> Opens:
    """Opens a room of a kind, with these options."""

    def opens(
        kind: str = "tcp", *options: str, **how: Any
    ) -> AbstractContextManager[tuple[Program, Join]]:
        return room(kind, "--broker", *options, tmp_path=tmp_path, authority=authority, **how)

    return opens


def stopped(server: Program) -> list[str]:
    """Let the server end; its errors."""
    server.signal(signal.SIGTERM)
    result = server.finish()
    assert (result.status, result.out) == (-signal.SIGTERM, b"")
    return complaints(result)


def sockets_of(server: Program) -> int:
    return sum(what.startswith("socket:") for what in descriptors(server.pid).values())


def unread_of(client: socket.socket) -> int:
    """How much of what it has sent the server has not read yet."""
    own, servers = (f":{place[1]:04X}" for place in (client.getsockname(), client.getpeername()))
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if local.endswith(servers) and remote.endswith(own):
            return int(queues.partition(":")[2], 16)
    raise AssertionError("there is no such connection")


# Who hears what.


@each_kind
def test_what_one_says_is_heard_by_all_others_and_not_by_itself(broker: Opens, kind: str) -> None:
    with broker(kind) as (server, join):
        clients = [join() for _ in range(4)]
        for number, speaker in enumerate(clients):
            words = b"client %d" % number
            speaker.sendall(words)
            others = [client for client in clients if client is not speaker]
            assert [exactly(client, len(words)) for client in others] == [words] * 3
        assert all(silent(client, 0.05) for client in clients if not isinstance(client, TlsSocket))
        assert stopped(server) == []


@pytest.mark.parametrize("kind", DATAGRAMS)
def test_datagrams_stay_what_they_are(broker: Opens, kind: str) -> None:
    sizes = (0, 1, 8192, 8193, 60_000, 65_507)
    with broker(kind) as (_, join):
        speaker, *others = (join() for _ in range(3))
        for size in sizes:
            speaker.send(bytes(size))
        for client in others:
            assert [len(client.recv(1 << 17)) for _ in sizes] == [*sizes]


def test_neither_standard_input_nor_output_is_touched(broker: Opens) -> None:
    with broker(stdin=PIPE) as (server, join):
        server.send(b"for nobody")
        one, other = join(), join()
        one.sendall(b"hello")
        assert exactly(other, 5) == b"hello"
        pipe = server.process.stdin
        assert pipe
        assert waiting_in(pipe.fileno()) == len(b"for nobody")
        assert stopped(server) == []


def test_what_is_said_when_nobody_is_there_is_lost(broker: Opens) -> None:
    with broker() as (_, join):
        one = join()
        one.sendall(b"hello?")
        until(lambda: unread_of(one) == 0)
        other, third = join(), join()
        third.sendall(b"here")
        assert exactly(other, 4) == exactly(one, 4) == b"here"


CALLING = {
    "pync": lambda port: (*PYNC, HERE, port),
    "nc.openbsd": lambda port: ("nc.openbsd", HERE, port),
    "ncat": lambda port: ("ncat", HERE, port),
    "socat": lambda port: ("socat", "-", f"TCP:{HERE}:{port}"),
}


def test_any_netcat_can_be_a_client(broker: Opens) -> None:
    assert {"openbsd", "ncat", "socat"} <= PEERS.keys()
    with broker() as (server, _), ExitStack() as stack:
        clients = {
            name: stack.enter_context(Program(*command(str(server.port)), stdin=PIPE))
            for name, command in CALLING.items()
        }
        server.expect(r"(Connection received on .*\n){4}")
        heard = dict.fromkeys(clients, b"")
        for name, speaker in clients.items():
            speaker.send(line := f"this is {name}\n".encode())
            for other in clients.keys() - {name}:
                heard[other] += line
                assert clients[other].receive(len(heard[other])) == heard[other]


# Pieces and their order.


def test_what_one_read_gave_comes_whole_and_in_the_same_order_to_all(broker: Opens) -> None:
    """While pync is stopped each speaker sends a block, so that each can be read in one piece."""
    with broker() as (server, join):
        speakers, listeners = [join() for _ in range(8)], [join() for _ in range(3)]
        server.signal(signal.SIGSTOP)
        os.waitpid(server.pid, os.WUNTRACED)
        for number, client in enumerate(speakers):
            client.sendall(bytes([number]) * PIECE)
        server.signal(signal.SIGCONT)
        heard, *same = (exactly(client, 8 * PIECE) for client in listeners)
        assert same == [heard] * 2
        blocks = [heard[begin : begin + PIECE] for begin in range(0, len(heard), PIECE)]
        assert sorted(blocks) == [bytes([number]) * PIECE for number in range(8)]


@contextmanager
def speaking(client: Any, data: bytes) -> Iterator[threading.Thread]:
    """Says it all, meanwhile."""
    thread = threading.Thread(target=client.sendall, args=(data,))
    thread.start()
    try:
        yield thread
    finally:
        thread.join()


@pytest.mark.parametrize("kind", STREAMS)
def test_all_that_two_say_at_a_time_is_heard_in_one_order(broker: Opens, kind: str) -> None:
    size = 4 * MIB
    with broker(kind) as (server, join):
        one, two, *listeners = (join() for _ in range(4))
        results = dict.fromkeys(listeners, b"")

        def listen(client: Any) -> None:
            results[client] = exactly(client, 2 * size)

        threads = [threading.Thread(target=listen, args=(client,)) for client in listeners]
        for thread in threads:
            thread.start()
        with speaking(one, b"1" * size), speaking(two, b"2" * size):
            assert exactly(one, size) == b"2" * size
            assert exactly(two, size) == b"1" * size
        for thread in threads:
            thread.join()
        heard, same = results.values()
        assert (heard.count(b"1"), heard.count(b"2")) == (size, size)
        assert heard == same
        assert stopped(server) == []


# Slow and stopped clients.


@contextmanager
def with_little_room(server: Program) -> Iterator[socket.socket]:
    """A client whose system takes little for it."""
    known = server.text().count("Connection received")
    with socket.socket() as client:
        client.settimeout(20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        client.connect((HERE, server.port))
        server.expect(rf"(Connection received on .*\n){{{known + 1}}}")
        yield client


def test_one_of_two_hundred_that_is_stopped_delays_nobody(broker: Opens) -> None:
    """It is stopped before, and a megabyte more than the kernel holds is said bit by bit."""
    line = b"x" * 65_535 + b"\n"
    with broker() as (server, _), ExitStack() as stack:
        address = (HERE, str(server.port))
        halted = stack.enter_context(Program(*PYNC, *address, stdin=PIPE))
        server.expect("Connection received")
        halted.signal(signal.SIGSTOP)
        os.waitpid(halted.pid, os.WUNTRACED)
        clients = [
            stack.enter_context(socket.create_connection((HERE, server.port), 20))
            for _ in range(199)
        ]
        server.expect(r"(Connection received on .*\n){200}")
        longest = 0.0
        speaker, *others = clients
        while "dropped" not in server.text():
            begin = time.monotonic()
            speaker.sendall(line)
            for client in others:
                assert exactly(client, len(line)) == line
            longest = max(longest, time.monotonic() - begin)
            server.receive(1, within=0)  # looks what it says
        assert longest < 0.45  # less than it would take to find out that somebody has stopped
        (line_told,) = stopped(server)
        assert "takes nothing: dropped" in line_told


def test_a_stopped_client_is_dropped_by_a_reset(broker: Opens) -> None:
    with broker() as (server, join), with_little_room(server) as halted:
        speaker, other = join(), join()
        with speaking(speaker, bytes(8 * MIB)):
            assert len(exactly(other, 8 * MIB)) == 8 * MIB
        server.expect("pync: .* takes nothing: dropped; .* not delivered")
        assert len(drain_until_reset(halted)) < 8 * MIB


def test_a_fast_speaker_waits_for_a_slow_listener(broker: Opens) -> None:
    size = 6 * MIB
    with broker() as (server, join), with_little_room(server) as slow:
        speaker, fast = join(), join()
        result: list[bytes] = []
        listening = threading.Thread(target=lambda: result.append(exactly(fast, size)))
        listening.start()
        received = 0
        with speaking(speaker, bytes(size)):
            while received < size:
                received += len(slow.recv(32_768))
                time.sleep(0.002)
        listening.join()
        assert len(result[0]) == size
        assert stopped(server) == []


def test_two_that_talk_and_do_not_listen_wait_for_each_other_in_vain(broker: Opens) -> None:
    with (
        broker() as (server, join),
        with_little_room(server) as one,
        with_little_room(server) as two,
    ):
        third = join()
        for client in (one, two):
            client.settimeout(0.2)
            with pytest.raises(OSError):  # noqa: PT011
                client.sendall(bytes(32 * MIB))
        assert "dropped" not in server.text()  # for whose sake?

        def is_dropped_for_the_third() -> bool:
            assert not readable(third) or third.recv(1 << 20)
            server.receive(1 << 30, within=0)
            return "takes nothing: dropped" in server.text()

        until(is_dropped_for_the_third)


def readable(client: Any) -> bool:
    """Whether there is something to receive."""
    return bool(select.select([client], [], [], 0.01)[0])


# Ends.


@pytest.mark.parametrize("kind", STREAMS)
def test_one_that_has_ended_what_it_sends_still_hears_the_others(broker: Opens, kind: str) -> None:
    with broker(kind) as (server, join):
        ended, speaker = join(), join()
        ended.sendall(b"hi")
        ended.shutdown(socket.SHUT_WR)
        assert exactly(speaker, 2) == b"hi"
        for words in (b"one", b"two", b"three"):
            speaker.sendall(words)
            assert exactly(ended, len(words)) == words
        assert stopped(server) == []
        assert drain(ended) == b""


def test_a_pync_whose_input_has_ended_hears_the_others_to_the_end(broker: Opens) -> None:
    with broker() as (server, join):
        speaker = join()
        with Program.pync(HERE, str(server.port), stdin=b"hi\n") as client:
            assert exactly(speaker, 3) == b"hi\n"
            assert not ended_within(client, 2.2)  # linger, which is for others
            speaker.sendall(b"hello\n")
            assert client.receive(6) == b"hello\n"
            assert stopped(server) == []
            assert client.finish() == (0, b"hello\n", "")


@pytest.mark.parametrize("kind", STREAMS)
def test_who_has_left_is_let_go_without_a_word(broker: Opens, kind: str) -> None:
    """A close looks like the end of what is sent, until something is sent there."""
    with broker(kind) as (server, join):
        before = sockets_of(server)
        staying, speaker = join(), join()
        for _ in range(20):
            leaving = join()
            leaving.sendall(b"bye")
            assert exactly(staying, 3) == exactly(speaker, 3) == b"bye"
            leaving.close()
            speaker.sendall(b"next")
            assert exactly(staying, 4) == b"next"
        until(lambda: sockets_of(server) == before + 2)
        assert stopped(server) == []


def test_a_unix_client_that_has_left_is_noticed_in_silence(broker: Opens) -> None:
    with broker("unix") as (server, join):
        before = sockets_of(server)
        join().close()
        until(lambda: sockets_of(server) == before)
        assert stopped(server) == []


def test_resets_harm_nobody(broker: Opens) -> None:
    with broker() as (server, join):
        before = sockets_of(server)
        one, other = join(), join()
        for _ in range(50):
            reset(join())
        one.sendall(b"well?")
        assert exactly(other, 5) == b"well?"
        until(lambda: sockets_of(server) == before + 2)


def test_a_datagram_peer_that_says_nothing_is_forgotten_whatever_it_is_sent(broker: Opens) -> None:
    with broker("udp", "-w", "1") as (_, join):
        mute, speaker, other = join(), join(), join()
        begin = time.monotonic()
        while time.monotonic() - begin < 1.6:
            speaker.send(b"more")
            other.send(b"more")
            assert speaker.recv(100) == other.recv(100) == b"more"
        while not silent(mute, 0.05):
            assert mute.recv(100) == b"more"
        speaker.send(b"last")
        assert other.recv(100) == b"last"
        assert silent(mute, 0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_all_have_what_is_held_for_them(
    broker: Opens, number: signal.Signals
) -> None:
    data = os.urandom(900_000)
    with broker() as (server, join), with_little_room(server) as slow:
        speaker, fast = join(), join()
        speaker.sendall(data)
        assert exactly(fast, len(data)) == data
        server.signal(number)
        assert drain(slow) == data
        assert server.finish().status == -number


# What goes with it.


@pytest.mark.parametrize("option", ["-C", "-i 1", "-q 1", "-W 1", "--recv-only", "--safe-tty"])
def test_what_concerns_standard_input_and_output_is_refused(option: str) -> None:
    with start("-l", "--broker", *option.split(), "0") as pync:
        result = pync.finish()
    assert (result.status, result.out) == (2, b"")
    (line,) = complaints(result)
    assert "--broker" in line


def test_it_needs_a_listener() -> None:
    with start("--broker", HERE, "9") as pync:
        assert pync.finish()[::2] == (2, "pync: --broker needs --listen\n")
