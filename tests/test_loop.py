"""The loop: order, waiting, waking, and what an event costs."""

from __future__ import annotations

import os
import selectors
import socket
import weakref
from collections.abc import Callable, Iterator

import pytest

from pync.loop import Loop
from pync.stream import READ, WRITE, Condition, WouldBlock


class Steps:
    """A task that does one of `steps` in each advance, and is over after the last."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)

    def advance(self) -> bool:
        self._steps[0]()
        self._steps.pop(0)
        return bool(self._steps)


class Clock:
    """Time that only passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def turn(self, seconds: float) -> None:
        self.now += seconds


def blocked(*arguments: object, **wait: object) -> Callable[[], None]:
    """A step that waits once, and passes when it is tried again."""
    waits = iter([WouldBlock(*arguments, **wait)])  # type: ignore[arg-type]

    def step() -> None:
        for wait_for in waits:
            raise wait_for

    return step


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as made:
        yield made


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_the_numbers_of_events_are_those_of_selectors() -> None:
    assert (READ, WRITE) == (selectors.EVENT_READ, selectors.EVENT_WRITE)


def test_tasks_take_turns(loop: Loop) -> None:
    order: list[str] = []
    loop.spawn(Steps(*[lambda: order.append("a")] * 3))
    loop.run(Steps(*[lambda: order.append("b")] * 3))
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_run_ends_with_its_task_and_leaves_the_others_where_they_are(loop: Loop) -> None:
    order: list[str] = []
    loop.spawn(Steps(blocked(), lambda: order.append("never")))
    loop.run(Steps(lambda: order.append("first")))
    loop.run(Steps(lambda: order.append("second")))
    assert order == ["first", "second"]


def test_what_a_task_raises_ends_run(loop: Loop) -> None:
    loop.spawn(Steps(lambda: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        loop.run(Steps(blocked()))


def test_a_task_wakes_when_its_descriptor_is_ready(loop: Loop, pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    loop.spawn(Steps(lambda: os.write(writing, b"x")))
    loop.run(Steps(blocked(reading, READ), lambda: os.read(reading, 1)))


def test_a_reader_and_a_writer_share_a_descriptor(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        order: list[str] = []
        loop.spawn(
            Steps(blocked(ours.fileno(), WRITE), lambda: (order.append("w"), theirs.send(b"x")))
        )
        loop.run(Steps(blocked(ours.fileno(), READ), lambda: order.append("r")))
        assert order == ["w", "r"]


def test_time_wakes_in_order_of_deadlines() -> None:
    clock, order = Clock(), []
    with Loop(clock) as loop:
        loop.spawn(Steps(blocked(until=3.0), lambda: order.append("late")))
        loop.spawn(Steps(blocked(after=1.0), lambda: order.append("early")))
        loop.spawn(Steps(lambda: clock.turn(5)))
        loop.run(Steps(blocked(until=4.0), lambda: None))
    assert order == ["early", "late"]


def test_whichever_comes_first_wakes_and_the_other_is_forgotten(
    loop: Loop, pipe: tuple[int, int]
) -> None:
    reading, _ = pipe
    condition, tries = Condition(), []
    waits = blocked(reading, READ, after=3600, condition=condition)
    loop.spawn(Steps(lambda: (tries.append(1), waits()), blocked()))
    loop.spawn(Steps(lambda: None, condition.notify, condition.notify))
    loop.run(Steps(*[lambda: None] * 6))
    assert len(tries) == 2


def test_a_condition_wakes_only_those_who_wait_now(loop: Loop) -> None:
    condition = Condition()
    loop.spawn(Steps(condition.notify))
    with pytest.raises(RuntimeError, match="still waiting"):
        loop.run(
            Steps(
                lambda: None,
                lambda: loop.spawn(Steps(blocked(after=0), lambda: fail("still waiting"))),
                blocked(condition=condition),
            )
        )


def fail(text: str) -> None:
    raise RuntimeError(text)


def test_a_cancelled_task_is_never_called_again(loop: Loop) -> None:
    condition = Condition()
    waiting = Steps(blocked(condition=condition), lambda: fail("called"))
    ready = Steps(lambda: fail("called"))
    loop.spawn(waiting)
    loop.run(Steps(lambda: None))
    loop.spawn(ready)
    loop.cancel(ready)
    loop.cancel(waiting)
    condition.notify()
    loop.run(Steps(lambda: None, lambda: None))


def test_a_descriptor_may_be_forgotten_closed_and_its_number_used_again(loop: Loop) -> None:
    for _ in range(3):
        reading, writing = os.pipe()
        loop.spawn(Steps(lambda fd=writing: os.write(fd, b"x")))
        loop.run(Steps(blocked(reading, READ)))
        loop.forget(reading)
        os.close(reading)
        os.close(writing)


def test_a_time_that_is_not_waited_for_any_more_keeps_nobody(loop: Loop) -> None:
    task = Steps(blocked(after=3600), lambda: None)
    loop.spawn(task)
    loop.run(Steps(lambda: None, lambda: None))
    loop.cancel(task)
    gone = weakref.ref(task)
    del task
    assert gone() is None


class CountingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Counts what it is told."""

    calls = 0

    def register(self, *arguments: object) -> selectors.SelectorKey:
        self.calls += 1
        return super().register(*arguments)  # type: ignore[arg-type]

    def modify(self, *arguments: object) -> selectors.SelectorKey:
        self.calls += 1
        return super().modify(*arguments)  # type: ignore[arg-type]

    def unregister(self, *arguments: object) -> selectors.SelectorKey:
        self.calls += 1
        return super().unregister(*arguments)  # type: ignore[arg-type]


@pytest.fixture
def counted() -> Iterator[tuple[Loop, CountingSelector]]:
    selector = CountingSelector()
    with Loop(selector=selector) as loop:
        yield loop, selector


def test_coming_back_to_the_same_descriptor_is_not_told_again(
    counted: tuple[Loop, CountingSelector], pipe: tuple[int, int]
) -> None:
    loop, selector = counted
    reading, writing = pipe
    os.set_blocking(reading, False)

    def read() -> None:
        try:
            os.read(reading, 1)
        except BlockingIOError:
            raise WouldBlock(reading, READ) from None

    loop.spawn(Steps(*[lambda: os.write(writing, b"x"), blocked(after=0)] * 50))
    loop.run(Steps(*[read] * 50))
    assert selector.calls <= 5


def test_a_descriptor_that_nobody_wants_does_not_spin(
    counted: tuple[Loop, CountingSelector], pipe: tuple[int, int]
) -> None:
    loop, selector = counted
    reading, writing = pipe
    loop.spawn(Steps(lambda: os.write(writing, b"x")))
    loop.run(Steps(blocked(reading, READ)))
    wakes = []
    loop.spawn(Steps(*[lambda: wakes.append(1), blocked(after=0.01)] * 5))
    loop.run(Steps(blocked(after=0.1)))
    assert selector.calls == 2
    assert not selector.get_map()


def test_what_an_event_costs_does_not_grow_with_the_number_of_tasks(
    counted: tuple[Loop, CountingSelector], pipe: tuple[int, int]
) -> None:
    loop, selector = counted
    reading, writing = pipe
    idle = [socket.socketpair() for _ in range(200)]
    for ours, _ in idle:
        loop.spawn(Steps(blocked(ours.fileno(), READ)))
    loop.run(Steps(lambda: None, lambda: None))
    before = selector.calls
    loop.spawn(Steps(lambda: os.write(writing, b"x")))
    loop.run(Steps(blocked(reading, READ)))
    for pair in idle:
        for end in pair:
            end.close()
    assert selector.calls - before == 1
