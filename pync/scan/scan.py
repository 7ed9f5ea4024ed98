"""Many trials at a time, in the one loop.

Theory.  Most ports of a near host say no at once: a trial is looked at twice before
anything is told to the loop, and then it is over, and was never in a selector.  What
has to wait is a task of its own.  There are never more than `parallel` of them, and
doors come one by one, so that memory and descriptors do not grow with the scan.

What is reported may have to wait for whoever reads it.  Then nothing more is begun until
it has been taken; what is under way goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from pync.errors import ConnectError, OutOfDescriptors
from pync.loop import Loop
from pync.scan.doors import Door, Doors, Host, UnderWay
from pync.scan.report import Report
from pync.scan.trial import State, Trial, unreachable
from pync.stream import NEVER_YET, Condition, EndOfStream, WouldBlock
from pync.transports.inet import InetAddress

BATCH = 64  # trials that begin before other tasks get their turn
LOOKS = 2  # at a trial, before the loop waits for it


class Scan:
    """A task: tries all doors, and reports on each.

    begin: a trial of an address.  pause: seconds from one door to the next.
    """

    def __init__(
        self,
        loop: Loop,
        doors: Doors,
        begin: Callable[[InetAddress], Trial],
        report: Report,
        parallel: int,
        pause: float,
    ) -> None:
        self._loop = loop
        self._doors = doors
        self._begin = begin
        self._report = report
        self._parallel = parallel
        self._pause = pause
        self._next_at = NEVER_YET
        self._next: Door | None = None
        self._door = Door([], Host())  # whose addresses are being begun
        self._under_way: set[UnderWay] = set()
        self._changed = Condition()

    def advance(self) -> bool:
        self._report.flush()
        try:
            for _ in range(BATCH):
                self._begin_next()
        except EndOfStream:
            self._report.flush()
            if self._under_way:
                raise WouldBlock(condition=self._changed) from None
            return False
        except WouldBlock:
            self._report.flush()
            raise
        return True

    def _begin_next(self) -> None:
        if len(self._under_way) >= self._parallel:
            raise WouldBlock(condition=self._changed)
        if not self._door.untried:
            self._open_next_door()
        door = self._door
        address = door.untried.pop(0)
        try:
            trial = self._begin(address)
        except ConnectError as error:
            door.note(unreachable(address, error))
            self._close_if_done(door)
        except OutOfDescriptors:
            if not self._under_way:
                raise
            door.untried.insert(0, address)
            raise WouldBlock(condition=self._changed) from None
        else:
            self._look_at(trial, door)

    def _open_next_door(self) -> None:
        """Once there is one, and the pause before it is over."""
        self._next = self._next or self._doors.next()
        if self._pause:
            now = self._loop.clock()
            if now < self._next_at:
                raise WouldBlock(until=self._next_at)
            self._next_at = now + self._pause
        self._door, self._next = self._next, None

    def _look_at(self, trial: Trial, door: Door) -> None:
        for _ in range(LOOKS):
            try:
                trial.advance()
            except WouldBlock:
                continue
            self._settle(trial, door)
            return
        task = UnderWay(trial, door, self._over)
        door.under_way.append(task)
        self._under_way.add(task)
        self._loop.spawn(task)

    def _over(self, task: UnderWay) -> None:
        self._take_out(task)
        self._settle(task.trial, task.door)

    def _settle(self, trial: Trial, door: Door) -> None:
        assert trial.outcome
        trial.close()
        door.note(trial.outcome)
        if trial.outcome.state is State.OPEN:
            door.untried.clear()
            for other in door.under_way[:]:
                self._give_up(other)
        self._close_if_done(door)

    def _close_if_done(self, door: Door) -> None:
        if not (door.untried or door.under_way) and door.best:
            for outcome in self._doors.outcomes(door.best, door):
                self._report.tell(outcome)

    def _give_up(self, task: UnderWay) -> None:
        self._loop.cancel(task)
        self._take_out(task)
        task.trial.close()

    def _take_out(self, task: UnderWay) -> None:
        for fd in task.trial.descriptors:
            self._loop.forget(fd)
        task.door.under_way.remove(task)
        self._under_way.discard(task)
        self._changed.notify()

    def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._under_way):
            self._give_up(task)
        self._doors.close()
