"""A relay of datagrams as a SOCKS5 proxy has it, between plain sockets."""

from __future__ import annotations

import gc
import os
import resource
import socket
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import pytest
from harness import PATIENCE, descriptors, needs_ipv6
from pairs import Done
from plain_peer import HERE, drain, reset, start
from socks_scripts import message

from pync.errors import LocalError, ResolveError
from pync.gateway.datagram_relay import MOST_LOOKUPS, MOST_NAMES, DatagramRelay, Policy, announced
from pync.gateway.parcels import COST, MOST_WAITING, Recent
from pync.loop import Loop
from pync.options import Options
from pync.stream import READ, Condition, Endpoint, WouldBlock
from pync.transports import tcp
from pync.transports.inet import InetAddress, look_up
from pync.wire.socks5 import Place, Socks5Server, wrap

UNKNOWN = 0  # the client's port


class Answer:
    """A look-up, of `slow` names only once the test says so; all but `nobody` are here.

    wanted: until it is abandoned.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.ready = not host.startswith("slow")
        self.wanted = True
        self.changed = Condition()
        self._port = port

    def finish(self) -> list[InetAddress]:
        if not self.ready:
            raise WouldBlock(condition=self.changed)
        if self.host == "nobody":
            raise ResolveError("cannot resolve nobody")
        return look_up(HERE, self._port, "udp", Options())

    def abandon(self) -> None:
        self.wanted = False

    def come(self) -> None:
        self.ready = True
        self.changed.notify()


class Names:
    """answers: the look-ups so far."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def look_up(self, host: str, port: int) -> Answer:
        self.answers.append(Answer(host, port))
        return self.answers[-1]


class Arrival:
    """A task: waits for a datagram on a plain socket, and peeks at it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def advance(self) -> bool:
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            raise WouldBlock(self._sock.fileno(), READ) from None
        return False


class End:
    """Is told that a relay is over.  count: how often."""

    def __init__(self) -> None:
        self.count = 0
        self._told = Condition()

    def __call__(self) -> None:
        self.count += 1
        self._told.notify()

    def wait(self, loop: Loop) -> None:
        loop.run(Done(self._told, lambda: self.count > 0))


class Table(NamedTuple):
    """A relay in `loop`, the client's two sockets, and a target.

    forbidden: targets that may not be sent to.
    """

    loop: Loop
    relay: DatagramRelay
    control: socket.socket
    client: socket.socket
    target: socket.socket
    names: Names
    forbidden: set[str]
    end: End

    def send(self, data: bytes, target: str = "") -> None:
        """From the client to the target, by its address or a name."""
        host, port = self.target.getsockname()[:2]
        self.client.sendto(wrap(target or host, port, data), self.relay.bound)

    def receive(self, sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
        """What comes to `sock`, and from where."""
        self.loop.run(Arrival(sock))
        return sock.recvfrom(1 << 16)

    def meet(self) -> tuple[str, int]:
        """Let the relay and all others learn of each other; where targets see it come from."""
        self.send(b"first")
        data, outside = self.receive(self.target)
        assert data == b"first"
        return outside


@contextmanager
def control_pair(host: str) -> Iterator[tuple[Endpoint, socket.socket]]:
    """The proxy's side of a connection, and the client's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        theirs = socket.create_connection(listener.getsockname()[:2])
        ours, address = listener.accept()
    theirs.settimeout(PATIENCE)
    endpoint = tcp.endpoint(ours, InetAddress(family, address, "tcp"), Options())
    with theirs:
        yield endpoint, theirs
        endpoint.close()


def udp_socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


@contextmanager
def relaying(
    host: str = HERE, there: str = "", announces: bool = False, within: Loop | None = None
) -> Iterator[Table]:
    """A relay for a client at `host` and a target there, or at `there`."""
    names, forbidden, end = Names(), set[str](), End()
    policy = Policy(names.look_up, lambda address: str(address) not in forbidden)
    with (
        control_pair(host) as (control, theirs),
        udp_socket(host) as client,
        udp_socket(there or host) as target,
        nullcontext(within) if within else Loop() as loop,
    ):
        place = Place(host, client.getsockname()[1] if announces else UNKNOWN)
        options = Options(host=host)
        relay = DatagramRelay(loop, control, options, place, policy, end)
        loop.spawn(relay)
        try:
            yield Table(loop, relay, theirs, client, target, names, forbidden, end)
        finally:
            relay.close()


# There and back.

PAIRS = [
    (HERE, HERE),
    *(pytest.param(*row, marks=needs_ipv6) for row in [("::1", "::1"), (HERE, "::1")]),
]


@pytest.mark.parametrize(("host", "there"), PAIRS)
@pytest.mark.parametrize("size", [0, 1, 65_000])
def test_a_question_and_its_answer(host: str, there: str, size: int) -> None:
    with relaying(host, there) as table:
        table.send(bytes(size))
        data, outside = table.receive(table.target)
        assert data == bytes(size)
        table.target.sendto(b"answer" + data, outside)
        answer, inside = table.receive(table.client)
        assert answer == wrap(there, table.target.getsockname()[1], b"answer" + bytes(size))
        assert inside[:2] == table.relay.bound


def test_an_address_written_as_ipv6_is_ipv4() -> None:
    with relaying() as table:
        table.send(b"question", f"::ffff:{HERE}")
        assert table.receive(table.target)[0] == b"question"


# Names.


def test_a_name_is_looked_up_once() -> None:
    with relaying() as table:
        for text in (b"one", b"", b"three"):
            table.send(text, "host")
            assert table.receive(table.target)[0] == text
        assert [answer.host for answer in table.names.answers] == ["host"]


def test_what_comes_while_a_name_is_looked_up_waits_as_far_as_there_is_room() -> None:
    """Others do not wait."""
    with relaying() as table:
        sizes = [MOST_WAITING - 10 * COST, *[0] * 9]  # with what each costs, all the room
        for size in (*sizes, 0):
            table.send(bytes(size), "slow")
        table.send(b"by address")
        assert table.receive(table.target)[0] == b"by address"
        (answer,) = table.names.answers
        answer.come()
        assert [len(table.receive(table.target)[0]) for _ in sizes] == sizes
        table.send(b"later", "slow")
        assert table.receive(table.target)[0] == b"later"


def test_others_can_look_up_names_too() -> None:
    with relaying() as table:
        for number in range(MOST_LOOKUPS + 1):
            table.send(b"", f"slow{number}")
        table.send(b"by address")
        assert table.receive(table.target)[0] == b"by address"
        assert len(table.names.answers) == MOST_LOOKUPS
        table.names.answers[0].come()
        assert table.receive(table.target)[0] == b""
        table.send(b"one more", "other")
        assert table.receive(table.target)[0] == b"one more"


def test_a_name_that_has_been_forgotten_is_not_sent_to() -> None:
    with relaying() as table:
        table.send(b"too late", "slow")
        for number in range(1, MOST_NAMES + 1):
            table.send(b"", f"host{number}")
            assert table.receive(table.target)[0] == b""
            assert table.names.answers[0].wanted == (number < MOST_NAMES)
        table.names.answers[0].come()
        table.send(b"by address")
        assert table.receive(table.target)[0] == b"by address"


def test_a_table_forgets_what_was_not_asked_for_longest() -> None:
    table: Recent[str, int] = Recent(2)
    assert table.put("a", 1) is None
    assert table.put("b", 2) is None
    assert table.get("a") == 1
    assert table.put("c", 3) == 2
    assert (table.get("b"), table.values()) == (None, [1, 3])


# What is not passed on.

# By the port of the target, as it is sent.
STRANGE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda port: b"",
    "cut short": lambda port: message("000000 01 7f000001", port[:1]),
    "a fragment": lambda port: message("0000 01 01 7f000001", port, b"part"),
    "an address of no kind": lambda port: message("000000 02 7f000001", port, b"what"),
    "a name that is none": lambda port: message("000000 03 01 0a", port, b"what"),
    "a name that nobody has": lambda port: message("000000 03 06", b"nobody", port, b"what"),
    "a port that there is not": lambda port: message("000000 01 7f000001 0000", b"what"),
    "what the kernel does not send": lambda port: message("000000 01 ffffffff", port, b"what"),
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
def test_what_makes_no_sense_is_passed_over(strange: Callable[[bytes], bytes]) -> None:
    with relaying() as table:
        port = table.target.getsockname()[1].to_bytes(2, "big")
        table.client.sendto(strange(port), table.relay.bound)
        table.send(b"good")
        assert table.receive(table.target)[0] == b"good"


@pytest.mark.parametrize("host", [HERE, f"::ffff:{HERE}", "host"])
def test_a_target_that_is_forbidden_gets_nothing(host: str) -> None:
    with relaying() as table, udp_socket(HERE) as allowed:
        table.forbidden.add(f"{HERE} port {table.target.getsockname()[1]}")
        table.send(b"forbidden", host)
        table.client.sendto(wrap(host, allowed.getsockname()[1], b"good"), table.relay.bound)
        assert table.receive(allowed)[0] == b"good"
        with pytest.raises(BlockingIOError):
            table.target.recv(1)


def test_only_the_client_is_relayed_for() -> None:
    with relaying() as table, udp_socket(HERE) as stranger:
        table.meet()
        port = table.target.getsockname()[1]
        stranger.sendto(wrap(HERE, port, b"stranger"), table.relay.bound)
        table.send(b"client")
        assert table.receive(table.target)[0] == b"client"


def test_a_client_that_has_announced_its_port_is_waited_for() -> None:
    with relaying(announces=True) as table, udp_socket(HERE) as stranger:
        port = table.target.getsockname()[1]
        stranger.sendto(wrap(HERE, port, b"stranger"), table.relay.bound)
        table.send(b"client")
        assert table.receive(table.target)[0] == b"client"


def test_only_targets_may_answer() -> None:
    with relaying() as table, udp_socket(HERE) as stranger:
        outside = table.meet()
        stranger.sendto(b"stranger", outside)
        table.target.sendto(b"target", outside)
        answer = wrap(HERE, table.target.getsockname()[1], b"target")
        assert table.receive(table.client)[0] == answer


PEER = InetAddress(socket.AF_INET, (HERE, 40000), "tcp")
MAPPED = InetAddress(socket.AF_INET6, (f"::ffff:{HERE}", 40000, 0, 0), "tcp")


@pytest.mark.parametrize(
    ("peer", "host", "port", "known"),
    [
        (PEER, "0.0.0.0", 0, Place(HERE, UNKNOWN)),
        (PEER, "0.0.0.0", 50000, Place(HERE, 50000)),
        (PEER, "::", 50000, Place(HERE, 50000)),
        (PEER, HERE, 50000, Place(HERE, 50000)),
        (MAPPED, HERE, 50000, Place(HERE, 50000)),
        (PEER, "192.168.0.1", 50000, Place(HERE, UNKNOWN)),
        (PEER, "host", 50000, Place(HERE, UNKNOWN)),
    ],
)
def test_what_a_client_says_of_itself(
    peer: InetAddress, host: str, port: int, known: Place
) -> None:
    assert announced(peer, host, port) == known


# How it ends.

ENDS: dict[str, Callable[[socket.socket], None]] = {"in order": socket.socket.close, "reset": reset}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_it_ends_with_its_connection(end: Callable[[socket.socket], None]) -> None:
    with relaying() as table:
        table.meet()
        table.send(b"never", "slow")
        table.send(b"by address")
        assert table.receive(table.target)[0] == b"by address"
        (slow,) = table.names.answers
        assert slow.wanted
        end(table.control)
        table.end.wait(table.loop)
        assert table.end.count == 1
        assert not slow.wanted
        with socket.socket(type=socket.SOCK_DGRAM) as again:
            again.bind(table.relay.bound)  # the port is free


def test_one_that_is_closed_says_so_to_the_client() -> None:
    with relaying() as table:
        table.relay.close()
        assert drain(table.control) == b""
        table.relay.close()
        assert table.end.count == 1


def test_another_may_follow() -> None:
    """Its descriptors have the numbers of the one before."""
    with relaying() as table:
        table.meet()
        table.relay.close()
        with relaying(within=table.loop) as another:
            another.meet()
            another.control.close()
            another.end.wait(table.loop)


def test_nothing_is_left_of_one_that_is_over() -> None:
    policy, end = Policy(Names().look_up, lambda address: True), End()
    with control_pair(HERE) as (control, theirs), udp_socket(HERE) as target, Loop() as loop:
        relay = DatagramRelay(loop, control, Options(host=HERE), Place(HERE, 0), policy, end)
        loop.spawn(relay)
        port = target.getsockname()[1]
        target.sendto(wrap(HERE, port, b"to itself"), relay.bound)
        loop.run(Arrival(target))
        left = weakref.ref(relay)
        theirs.close()
        end.wait(loop)
        del relay
        gc.collect()
        assert left() is None


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """The process may open so many more."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_one_without_sockets_leaves_the_connection_as_it_is() -> None:
    policy = Policy(Names().look_up, lambda address: True)
    with control_pair(HERE) as (control, theirs), Loop() as loop:
        before = descriptors()
        for left, told in enumerate(["cannot open a socket", "no socket for any target"]):
            with descriptors_left(left), pytest.raises(LocalError, match=told):
                DatagramRelay(loop, control, Options(host=HERE), Place(HERE, 0), policy, End())
        assert descriptors() == before
        control.sink.write(b"x")
        assert theirs.recv(1) == b"x"


# With a client.


class Echo:
    """A task: sends back what comes to a plain socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def advance(self) -> bool:
        try:
            data, sender = self._sock.recvfrom(1 << 16)
        except BlockingIOError:
            raise WouldBlock(self._sock.fileno(), READ) from None
        self._sock.sendto(data, sender)
        return True


def granted(loop: Loop, control: Endpoint, ended: Callable[[], None]) -> DatagramRelay:
    """Lead the dialogue with a client, who is to get a relay."""
    dialogue = Socks5Server()

    def say() -> None:
        while words := dialogue.data_to_send(100):
            control.sink.write(words)

    class Talk:
        def advance(self) -> bool:
            dialogue.receive(control.source.read(100))
            say()
            return not dialogue.request

    loop.run(Talk())
    assert dialogue.request
    policy = Policy(Names().look_up, lambda address: True)
    client = announced(PEER, dialogue.request.host, dialogue.request.port)
    relay = DatagramRelay(loop, control, Options(host=HERE), client, policy, ended)
    dialogue.grant(*relay.bound)
    say()
    assert dialogue.established
    return relay


@pytest.mark.parametrize("host", [HERE, "host"])
def test_pync_s_own_client_gets_through(host: str) -> None:
    end = End()
    with (
        udp_socket(HERE) as target,
        socket.create_server((HERE, 0)) as listener,
        start(
            "-u", "-x", f"{HERE}:{listener.getsockname()[1]}", host,
            str(target.getsockname()[1]), stdin=bytes(10_000),
        ) as pync,
        Loop() as loop,
    ):  # fmt: skip
        ours, address = listener.accept()
        control = tcp.endpoint(ours, InetAddress(socket.AF_INET, address, "tcp"), Options())
        loop.spawn(Echo(target))
        loop.spawn(granted(loop, control, end))
        end.wait(loop)
        assert pync.finish() == (0, bytes(10_000), "")
