"""Several addresses of one host: whoever accepts first, and nobody waits for one that is silent."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from harness import PATIENCE, descriptors, free_port

from pync.connecting import HEAD_START, Connecting
from pync.errors import ConnectError, LocalError
from pync.loop import Loop
from pync.options import Options
from pync.redial import Pause
from pync.transports.inet import InetAddress, by_turns

NOISE = 2.0  # seconds that a busy machine may add; the kernel itself gives up after minutes
HOSTS = [f"127.0.0.{number}" for number in range(2, 8)]


def address(sock: socket.socket) -> InetAddress:
    return InetAddress(socket.AF_INET, sock.getsockname(), "tcp")


class Street:
    """Hosts with an open, a closed and a silent door."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._hosts = iter(HOSTS)
        self._listeners: list[socket.socket] = []

    def open(self) -> InetAddress:
        return address(self._listener(8))

    def closed(self) -> InetAddress:
        """Bound, and not listening: refused at once, and nobody else's meanwhile."""
        sock = self._stack.enter_context(socket.socket())
        sock.bind((next(self._hosts), 0))
        return address(sock)

    def silent(self) -> InetAddress:
        """Its queue is full, so the kernel answers nobody."""
        listener = self._listener(0)
        waiting = self._stack.enter_context(socket.socket())
        waiting.connect(listener.getsockname())
        return address(listener)

    def close(self) -> None:
        """Let all the doors be closed ones."""
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)

    def _listener(self, backlog: int) -> socket.socket:
        sock = self._stack.enter_context(socket.socket())
        sock.bind((next(self._hosts), 0))
        sock.listen(backlog)
        self._listeners.append(sock)
        return sock


@pytest.fixture
def street() -> Iterator[Street]:
    with ExitStack() as stack:
        yield Street(stack)


class Later:
    """A task: calls `act` after so many seconds."""

    def __init__(self, loop: Loop, seconds: float, act: Callable[[], None]) -> None:
        self._pause = Pause(loop, seconds)
        self._act = act

    def advance(self) -> bool:
        self._pause.advance()
        self._act()
        return False


class Trip:
    """One connecting, and what became of it."""

    def __init__(
        self,
        addresses: list[InetAddress],
        wait: float = PATIENCE,
        source_port: str | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """meanwhile: called when some have had the time to begin."""
        self.said: list[str] = []
        self.error: ConnectError | None = None
        self.reached = ""
        before = descriptors()
        with Loop() as loop:
            begin = loop.clock()
            wanted = Options(source_port=source_port)
            connecting = Connecting(wanted, loop, self.said.append, addresses, begin + wait)
            loop.spawn(Later(loop, 2 * HEAD_START, meanwhile))
            try:
                loop.run(connecting)
            except ConnectError as error:
                self.error = error
            connecting.close()
            self.took = loop.clock() - begin
            if connecting.endpoint:
                self.reached = str(connecting.endpoint.peer)
                connecting.endpoint.close()
        assert descriptors() == before


def test_the_first_that_accepts_is_taken(street: Street) -> None:
    first, second = street.open(), street.open()
    trip = Trip([first, second])
    assert trip.reached == str(first)
    assert trip.said == []


def test_after_a_refusal_the_next_is_tried_at_once(street: Street) -> None:
    closed, good = street.closed(), street.open()
    trip = Trip([closed, closed, good])
    assert trip.reached == str(good)
    assert trip.said == 2 * [f"connect to {closed.target} failed: Connection refused"]


@pytest.mark.parametrize("silent", [1, 2])
def test_a_silent_one_costs_its_head_start_and_not_a_timeout(street: Street, silent: int) -> None:
    mute = [street.silent() for _ in range(silent)]
    good = street.open()
    trip = Trip([*mute, good])
    assert trip.reached == str(good)
    assert silent * HEAD_START <= trip.took < silent * HEAD_START + NOISE
    assert trip.said == [f"connect to {one.target} given up: another was quicker" for one in mute]


def test_the_time_limit_is_for_all_of_them(street: Street) -> None:
    """And each that was tried is named, with its reason."""
    closed, *mute = street.closed(), street.silent(), street.silent()
    trip = Trip([*mute, closed], wait=0.9)
    assert str(trip.error).splitlines() == [
        f"connect to {closed.target} failed: Connection refused",
        *(f"connect to {one.target} failed: Connection timed out" for one in mute),
    ]
    assert trip.error
    assert trip.error.errno == errno.ETIMEDOUT
    assert 0.9 <= trip.took < 0.9 + NOISE


def test_the_time_limit_may_come_before_others_are_tried(street: Street) -> None:
    """They are named as well."""
    mute, good = street.silent(), street.open()
    trip = Trip([mute, good], wait=HEAD_START / 2)
    assert str(trip.error).splitlines() == [
        f"connect to {mute.target} failed: Connection timed out",
        f"connect to {good.target} not tried: the time was over",
    ]


def test_all_refuse(street: Street) -> None:
    closed = [street.closed(), street.closed()]
    trip = Trip(closed)
    assert str(trip.error).splitlines() == [
        f"connect to {one.target} failed: Connection refused" for one in closed
    ]


def test_with_a_port_of_our_own_a_silent_one_costs_no_more(street: Street) -> None:
    mute, good = street.silent(), street.open()
    trip = Trip([mute, good], source_port=str(free_port()))
    assert trip.reached == str(good)
    assert trip.took < HEAD_START + NOISE


def test_one_that_is_in_the_way_of_another_keeps_nobody_else_waiting(street: Street) -> None:
    """From one port to another there is but one connection at a time."""
    mute, good = street.silent(), street.open()
    trip = Trip([mute, mute, good], source_port=str(free_port()))
    assert trip.reached == str(good)
    assert trip.said == [f"connect to {mute.target} given up: another was quicker"]


def test_one_that_another_was_in_the_way_of_is_tried_after_that(street: Street) -> None:
    mute = street.silent()
    trip = Trip([mute, mute], source_port=str(free_port()), meanwhile=street.close)
    refused = f"connect to {mute.target} failed: Connection refused"
    assert str(trip.error).splitlines() == [refused, refused]


def test_one_that_another_is_in_the_way_of_may_never_be_tried(street: Street) -> None:
    mute = street.silent()
    trip = Trip([mute, mute], wait=2 * HEAD_START, source_port=str(free_port()))
    assert str(trip.error).splitlines() == [
        f"connect to {mute.target} failed: Connection timed out",
        f"connect to {mute.target} not tried: the time was over",
    ]


def test_a_port_that_somebody_else_has_is_a_mistake(street: Street) -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LocalError, match=f"cannot bind to 0.0.0.0 port {port}: "):
            Trip([street.open(), street.open()], source_port=str(port))


SIX, FOUR = socket.AF_INET6, socket.AF_INET


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        ([], []),
        ([(FOUR, "a")], "a"),
        ([(SIX, "a"), (SIX, "b"), (FOUR, "c"), (FOUR, "d")], "acbd"),
        ([(SIX, "a"), (SIX, "b"), (SIX, "c"), (FOUR, "d")], "adbc"),
        ([(FOUR, "a"), (SIX, "b"), (SIX, "c")], "abc"),
    ],
)
def test_the_families_come_by_turns(found: list[tuple[int, str]], tried: str) -> None:
    addresses = [InetAddress(family, (name, 80), "tcp") for family, name in found]
    assert [one.host for one in by_turns(addresses)] == list(tried)
