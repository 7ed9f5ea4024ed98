"""Who is waited for when standard input goes to all, and who is dropped: by the clock,
without any socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from test_circle import ALL, Mouth, Turns

from pync.circle import LOOK, PATIENCE, Subscriber
from pync.endings import Terms
from pync.loop import Loop
from pync.session import Session
from pync.sharing import Sharing
from pync.stream import NEVER, Endpoint, Ends, WouldBlock
from pync.transports.memory import Discard, MemoryPipe, Silence
from pync.transports.unix import UnixAddress

OUTBOX = 1000  # bytes
SOON = LOOK + 0.001


class Hall:
    """Clients that all get what is said.  now: the clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.loop = Loop(lambda: self.now)
        self._stdin = MemoryPipe(1 << 20)
        local = Ends(self._stdin, Discard())
        self._sharing = Sharing(self.loop, local, self._session, OUTBOX)

    def _session(self, ends: Ends, endpoint: Endpoint) -> Session:
        return Session(self.loop, ends, endpoint, Terms(linger=NEVER))

    def join(self, name: str, appetite: int = ALL) -> tuple[Subscriber, Mouth]:
        mouth = Mouth(appetite)
        return self._sharing.attend(Endpoint(Silence(), mouth, UnixAddress(name))), mouth

    def says(self, size: int) -> None:
        self._stdin.write(bytes(size))
        self.runs()

    def takes(self, one: Subscriber, mouth: Mouth, size: int = ALL) -> None:
        """Let it take so much of what there is."""
        mouth.appetite = size
        self.loop.wake(one.session.inward)
        self.runs()
        mouth.appetite = 0

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.runs()

    def runs(self) -> None:
        self.loop.run(Turns(100))


@pytest.fixture
def hall() -> Iterator[Hall]:
    made = Hall()
    with made.loop:
        yield made


def test_all_get_all_of_it(hall: Hall) -> None:
    mouths = [hall.join(name)[1] for name in ("one", "two")]
    hall.says(20 * OUTBOX)
    assert [len(mouth.taken) for mouth in mouths] == [20 * OUTBOX] * 2


def test_one_that_has_just_become_full_is_waited_for(hall: Hall) -> None:
    stuck, mouth = hall.join("stuck", appetite=0)
    _, hungry = hall.join("hungry")
    hall.passes(3600)  # while there was nothing for it
    hall.says(10 * OUTBOX)
    got = len(hungry.taken)
    assert got == 2 * OUTBOX  # as the other one's flow has a piece, and its outbox one
    hall.passes(PATIENCE - 0.01)
    assert len(hungry.taken) == got
    hall.takes(stuck, mouth)
    assert not stuck.dropped
    assert len(hungry.taken) == len(mouth.taken) == 10 * OUTBOX


def test_one_that_takes_nothing_is_dropped_for_one_that_has_taken_all(hall: Hall) -> None:
    stuck, _ = hall.join("stuck", appetite=0)
    _, hungry = hall.join("hungry")
    hall.says(10 * OUTBOX)
    hall.passes(PATIENCE)
    assert str(stuck.dropped) == "stuck takes nothing: dropped"
    assert len(hungry.taken) == 10 * OUTBOX


def test_one_that_stopped_long_ago_delays_nobody(hall: Hall) -> None:
    stuck, _ = hall.join("stuck", appetite=0)
    _, hungry = hall.join("hungry")
    hall.says(OUTBOX // 2)
    hall.passes(PATIENCE)
    assert not stuck.dropped
    hall.says(10 * OUTBOX)
    hall.passes(SOON)
    assert stuck.dropped
    assert len(hungry.taken) == 10 * OUTBOX + OUTBOX // 2


def test_one_that_is_alone_is_waited_for_until_another_one_comes(hall: Hall) -> None:
    stuck, mouth = hall.join("stuck", appetite=0)
    hall.says(10 * OUTBOX)
    hall.passes(3600)
    assert not stuck.dropped
    hall.takes(stuck, mouth, OUTBOX)
    hall.passes(3600)
    assert not stuck.dropped
    _, newcomer = hall.join("newcomer")
    hall.runs()
    assert stuck.dropped
    assert 0 < len(newcomer.taken) < 10 * OUTBOX


def test_where_all_are_slow_nobody_is_dropped(hall: Hall) -> None:
    """They take turns that are longer than anybody's patience."""
    clients = [hall.join(name, appetite=0) for name in ("one", "two", "three")]
    hall.says(10 * OUTBOX)
    for _ in range(40):
        for client, mouth in clients:
            hall.passes(PATIENCE)
            hall.takes(client, mouth, OUTBOX // 2)
    assert [client.dropped for client, _ in clients] == [None] * 3
    assert [len(mouth.taken) for _, mouth in clients] == [10 * OUTBOX] * 3


def test_one_of_the_slow_that_stops_is_dropped_once_another_has_taken_all(hall: Hall) -> None:
    (stuck, _), (slow, mouth) = hall.join("stuck", appetite=0), hall.join("slow", appetite=0)
    hall.says(10 * OUTBOX)
    hall.passes(10 * PATIENCE)
    assert [stuck.dropped, slow.dropped] == [None, None]
    hall.takes(slow, mouth)
    hall.passes(SOON)
    assert stuck.dropped
    assert not slow.dropped


class Later:
    """A task: does something when it is time, behind those whose time came before."""

    def __init__(self, hall: Hall, when: float, act: Callable[[], None]) -> None:
        self._hall = hall
        self._when = when
        self._act = act

    def advance(self) -> bool:
        if self._hall.now < self._when:
            raise WouldBlock(until=self._when)
        self._act()
        return False


def test_before_one_is_dropped_it_has_a_turn(hall: Hall) -> None:
    """Its last one was long ago, since there are many others; it would have taken something."""
    late, mouth = hall.join("late", appetite=0)
    hall.join("hungry")
    hall.says(10 * OUTBOX)
    hall.loop.spawn(
        Later(hall, hall.now + PATIENCE + 1, lambda: hall.loop.wake(late.session.inward))
    )
    hall.runs()
    mouth.appetite = ALL
    hall.passes(10 * PATIENCE)
    assert not late.dropped
    assert len(mouth.taken) == 10 * OUTBOX
