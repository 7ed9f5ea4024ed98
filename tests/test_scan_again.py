"""Which silent ports are asked again, and when: a clock that the test turns, no network."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from pync.loop import Loop
from pync.scan.again import ALL, ENOUGH, MOST, PACE, Again
from pync.scan.doors import Door
from pync.scan.targets import Hosts
from pync.scan.trial import Outcome, State
from pync.stream import EndOfStream, WouldBlock
from pync.transports.inet import InetAddress


class Known:
    """A number."""

    def __init__(self, host: str) -> None:
        self._found = [InetAddress(socket.AF_INET, (host, 0), "udp", host)]

    def finish(self) -> list[InetAddress]:
        return self._found

    def abandon(self) -> None:
        pass


class Street:
    """Hosts that have the ports from 1 on.  now: the time."""

    def __init__(self, ports: int, hosts: int = 1) -> None:
        self.now = 0.0
        self.loop = Loop(lambda: self.now)
        names = [f"10.0.{number >> 8}.{number & 255}" for number in range(hosts)]
        self.doors = Again(
            *(self.loop, [Hosts(names, hosts)], lambda: range(1, ports + 1), Known, 1.0, list),
            lambda host, why: None,
        )

    def all(self) -> list[Door]:
        """Those that can be had now."""
        found = []
        try:
            while True:
                found.append(self.doors.next())
        except (WouldBlock, EndOfStream):
            return found

    def end(self, door: Door, state: State) -> list[tuple[int, str]]:
        """What is told, once that has become of a door."""
        silent = state is State.UNANSWERED
        peer = door.addresses[0]
        door.best = Outcome(peer, state, errno.ETIMEDOUT if silent else 0, b"", 0.0)
        told = self.doors.outcomes(door.best, door)
        return [(one.peer.port, "doubtful" if one.doubtful else one.state.words) for one in told]


@pytest.fixture
def street(request: pytest.FixtureRequest) -> Iterator[Street]:
    made = Street(*request.param)
    with made.loop:
        yield made


def of(ports: int, hosts: int = 1) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("street", [(ports, hosts)], indirect=True, ids=[""])


@of(2)
def test_who_refuses_none_is_not_asked_again(street: Street) -> None:
    for door in street.all():
        assert street.end(door, State.UNANSWERED) == [(door.addresses[0].port, "open|filtered")]
    with pytest.raises(EndOfStream):
        street.doors.next()


@of(4)
def test_silent_ones_are_asked_again_one_by_one_once_all_have_been_asked(street: Street) -> None:
    refused, second, third, last = street.all()
    assert street.end(refused, State.CLOSED) == [(1, "closed")]
    assert street.end(second, State.UNANSWERED) == []
    assert street.end(third, State.UNANSWERED) == []
    street.now += 9
    assert street.all() == []  # one is not over
    assert street.end(last, State.OPEN) == [(4, "open")]
    with pytest.raises(WouldBlock) as waits:
        street.doors.next()
    assert waits.value.until == street.now + PACE
    street.now += PACE
    (again,) = street.all()
    assert street.end(again, State.CLOSED) == [(2, "closed")]
    assert street.all() == []
    street.now += PACE
    (again,) = street.all()
    assert street.end(again, State.UNANSWERED) == [(3, "open|filtered")]
    with pytest.raises(EndOfStream):
        street.doors.next()


@of(MOST + 3)
def test_too_many_are_not_asked_again(street: Street) -> None:
    refused, *silent, last = street.all()
    street.end(refused, State.CLOSED)
    *held, told = [street.end(door, State.UNANSWERED) for door in silent]
    assert held == [[]] * MOST
    assert told == [(port, "doubtful") for port in range(2, MOST + 3)]
    assert street.end(last, State.UNANSWERED) == [(MOST + 3, "doubtful")]
    with pytest.raises(EndOfStream):
        street.doors.next()


@of(ENOUGH + 4)
def test_who_stays_silent_is_asked_no_more(street: Street) -> None:
    refused, *silent = street.all()
    street.end(refused, State.CLOSED)
    for door in silent:
        street.end(door, State.UNANSWERED)
    for port in range(2, ENOUGH + 2):
        street.now += PACE
        (again,) = street.all()
        told = street.end(again, State.UNANSWERED)
        assert told[0] == (port, "open|filtered")
    assert told[1:] == [(port, "doubtful") for port in range(ENOUGH + 2, ENOUGH + 5)]
    with pytest.raises(EndOfStream):
        street.doors.next()


@of(MOST + 1, hosts=2 * ALL // MOST)
def test_no_more_are_begun_while_many_are_held(street: Street) -> None:
    begun = 0
    for _ in range(2 * ALL):
        try:
            door = street.doors.next()
        except WouldBlock:
            break
        begun += 1
        street.end(door, State.CLOSED if door.addresses[0].port == 1 else State.UNANSWERED)
    assert begun == ALL + ALL // MOST
    street.now += PACE
    assert len([door for door in street.all() if door.again]) == ALL // MOST
