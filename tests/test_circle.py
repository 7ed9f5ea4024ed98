"""Who is waited for in a circle, and who is dropped: by the clock, without any socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pync.broker import Broker, Guest, Voice
from pync.circle import EXCESS, PATIENCE
from pync.endings import Terms
from pync.loop import Loop
from pync.session import Session
from pync.stream import NEVER, Endpoint, Ends, Sink, WouldBlock
from pync.transports.memory import Silence
from pync.transports.unix import UnixAddress

OUTBOX = 1000  # bytes
ALL = 1 << 30
PIECE = bytes(OUTBOX)  # fills an outbox at once


class Mouth(Sink):
    """What a client takes.  appetite: how many bytes more."""

    def __init__(self, appetite: int) -> None:
        self.taken = b""
        self.appetite = appetite

    def write(self, data: bytes | memoryview) -> int:
        if not self.appetite:
            raise WouldBlock
        taken = bytes(data[: self.appetite])
        self.taken += taken
        self.appetite -= len(taken)
        return len(taken)


class Turns:
    """A task: lets the others have a few turns."""

    def __init__(self, count: int) -> None:
        self._count = count

    def advance(self) -> bool:
        self._count -= 1
        return self._count > 0


class Room:
    """A broker, and a speaker in it who hears nothing."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.loop = Loop(lambda: self.now)
        self.broker = Broker(self.loop, self._session, OUTBOX)
        self._speaker, _ = self.join("speaker")
        self._voice = Voice(self.broker.circle, self._speaker.outbox)

    def _session(self, ends: Ends, endpoint: Endpoint) -> Session:
        return Session(self.loop, ends, endpoint, Terms(linger=NEVER))

    def join(self, name: str, appetite: int = ALL) -> tuple[Guest, Mouth]:
        mouth = Mouth(appetite)
        return self.broker.attend(Endpoint(Silence(), mouth, UnixAddress(name))), mouth

    def says(self, data: bytes = PIECE) -> bool:
        """Whether the others need not be waited for, but for one more turn."""
        try:
            return self._voice.write(data) == len(data)
        except WouldBlock as blocked:
            self.loop.run(Turns(3))
            return blocked.after == 0 and self.says(data)  # others have had their last turn
        finally:
            self.loop.run(Turns(3))

    def fills(self, guest: Guest) -> None:
        """Say as much as it can hold, what its flow has taken included."""
        while guest.outbox.room:
            assert self.says()

    def takes(self, guest: Guest, mouth: Mouth, size: int = ALL) -> None:
        """Let it take so much of what there is."""
        mouth.appetite = size
        self.loop.wake(guest.session.inward)
        self.loop.run(Turns(3))
        mouth.appetite = 0


@pytest.fixture
def room() -> Iterator[Room]:
    made = Room()
    with made.loop:
        yield made


def stuck(room: Room, name: str) -> tuple[Guest, Mouth]:
    return room.join(name, appetite=0)


def test_one_that_takes_everything_is_never_waited_for(room: Room) -> None:
    _, mouth = room.join("one")
    assert all(room.says() for _ in range(100))
    assert mouth.taken == PIECE * 100


def test_one_that_is_alone_keeps_nobody_waiting_until_another_comes(room: Room) -> None:
    guest, _ = stuck(room, "one")
    room.fills(guest)
    room.now += 3600
    assert not room.says()
    assert not guest.dropped
    _, mouth = room.join("two")
    assert room.says()
    assert guest.dropped
    assert mouth.taken == PIECE


def test_one_that_has_just_become_full_is_waited_for(room: Room) -> None:
    guest, mouth = stuck(room, "one")
    room.join("two")
    room.now += 3600  # while there was nothing for it
    room.fills(guest)
    assert not room.says()
    room.now += PATIENCE - 0.01
    assert not room.says()
    room.takes(guest, mouth)
    assert room.says()
    assert not guest.dropped


def test_one_that_takes_nothing_for_long_is_dropped(room: Room) -> None:
    guest, _ = stuck(room, "one")
    room.join("two")
    room.fills(guest)
    room.now += PATIENCE
    assert room.says()
    assert str(guest.dropped).startswith("one takes nothing: dropped")


def test_one_that_stopped_long_ago_is_dropped_as_soon_as_it_is_full(room: Room) -> None:
    guest, _ = stuck(room, "one")
    room.join("two")
    for _ in range(3):
        assert room.says(b"a bit")
        room.now += PATIENCE
    room.fills(guest)
    assert room.says()
    assert guest.dropped


def test_nobody_is_dropped_while_another_is_waited_for_that_moves(room: Room) -> None:
    (stopped, _), (slow, mouth) = stuck(room, "one"), stuck(room, "two")
    room.fills(stopped)
    room.now += PATIENCE - 0.01
    room.takes(slow, mouth, 1)
    room.now += 0.02
    assert not room.says()
    assert not stopped.dropped
    room.takes(slow, mouth)
    room.now += 2 * PATIENCE
    assert room.says()
    assert stopped.dropped
    assert not slow.dropped


def test_where_all_are_slow_nobody_is_dropped_before_one_has_taken_all(room: Room) -> None:
    (last, _), (other, mouth) = stuck(room, "one"), stuck(room, "two")
    room.fills(last)
    for _ in range(10):
        room.now += 2 * PATIENCE
        room.takes(other, mouth, 1)
        room.now += 2 * PATIENCE
        assert not room.says()
    room.takes(other, mouth)
    room.now += PATIENCE
    assert room.says()
    assert last.dropped
    assert not other.dropped


def test_one_has_a_last_turn_before_it_is_dropped(room: Room) -> None:
    """Its flow may have waited for its turn all the time."""
    guest, mouth = stuck(room, "one")
    room.join("two")
    room.fills(guest)
    room.now += PATIENCE
    mouth.appetite = ALL  # it could have taken, had it been asked
    room.loop.wake(guest.session.inward)
    assert room.says()
    assert not guest.dropped


def test_what_waits_for_nobody_is_bounded_as_well(room: Room) -> None:
    guest, _ = stuck(room, "one")
    _, mouth = room.join("two")
    given = 0
    while not guest.dropped and given < 2 * EXCESS:
        room.broker.circle.give(PIECE)
        given += len(PIECE)
        room.loop.run(Turns(3))
    assert 0.9 * EXCESS < given < 1.1 * EXCESS  # small pieces count for more than their bytes
    assert len(mouth.taken) == given
