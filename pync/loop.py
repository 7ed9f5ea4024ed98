"""The one loop: runs the tasks that can go on, and waits for those that cannot.

Theory.  A task is anything with advance(): it does a bounded piece of work and
returns True to be called again, False when it is over, or raises WouldBlock to
say what it waits for.  Flows, sessions, listeners, pending connections and the
watch for signals are all tasks, and the loop knows nothing else of them.

A task is in exactly one place: in the queue of those that can run, or in the
table of those that wait, with the WouldBlock that says for what (a descriptor, a
time, a condition, whichever comes first).  If there is a time, the heap of times
has a ticket for it, which is void once the task waits no more.  It stays until its
time comes, or until void ones are the most of the heap, which is then made anew.

What an event costs does not depend on how many tasks there are.  A descriptor
has at most one reader and one writer, so looking up whom to wake is two slots.
A registration outlives the wait: a flow comes back to the same descriptor time
and again, and the selector hears of it only when that changes.  If an event
arrives that nobody waits for, the interest is dropped then, so a descriptor
that has hung up costs one wake-up, not a spinning loop.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from pync.stream import NEVER, READ, WRITE, WouldBlock

MANY_VOID = 64  # void tickets that may stand in the heap however few tasks wait


class Task(Protocol):
    """Something that goes on in pieces."""

    def advance(self) -> bool:
        """Do a piece: True for more at once, False when over; or raise WouldBlock.

        Any other exception ends Loop.run.
        """


class Registration:
    """Who waits for a descriptor, and what the selector was told."""

    __slots__ = ("events", "reader", "writer")

    def __init__(self) -> None:
        self.events = 0
        self.reader: Task | None = None
        self.writer: Task | None = None


class Ticket:
    """For a task that waits for a time; void, with no task, when it does not any more."""

    __slots__ = ("task",)

    def __init__(self, task: Task) -> None:
        self.task: Task | None = task


class Loop:
    """Runs tasks.  clock: seconds, monotonic.  selector: which it closes."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        selector: selectors.BaseSelector | None = None,
    ) -> None:
        self.clock = clock
        self._selector = selector or selectors.DefaultSelector()
        self._tasks: set[Task] = set()
        self._ready: deque[Task] = deque()
        self._waiting: dict[Task, WouldBlock] = {}
        self._registrations: dict[int, Registration] = {}
        self._tickets: dict[Task, Ticket] = {}
        self._times: list[tuple[float, int, Ticket]] = []
        self._count = itertools.count()

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *exception: object) -> None:
        self._selector.close()

    def spawn(self, task: Task) -> None:
        """Begin to run `task`."""
        self._tasks.add(task)
        self._ready.append(task)

    def cancel(self, task: Task) -> None:
        """Never call `task` again."""
        self._stop_waiting(task)
        self._tasks.discard(task)

    def wake(self, task: Task) -> None:
        """Let `task` try again, whatever it waits for."""
        if self._stop_waiting(task):
            self._ready.append(task)

    def forget(self, fd: int) -> None:
        """Drop what is known of `fd`; to be called before it is closed."""
        registration = self._registrations.pop(fd, None)
        if registration and registration.events:
            self._selector.unregister(fd)

    def run(self, main: Task) -> None:
        """Run everything until `main` is over."""
        self.spawn(main)
        while main in self._tasks:
            self._run_ready()
            if main in self._tasks:
                self._wait()

    def _run_ready(self) -> None:
        for _ in range(len(self._ready)):
            task = self._ready.popleft()
            if task not in self._tasks:
                continue
            try:
                again = task.advance()
            except WouldBlock as blocked:
                if task in self._tasks:
                    self._suspend(task, blocked)
            else:
                if again:
                    self._ready.append(task)
                else:
                    self._tasks.discard(task)

    def _suspend(self, task: Task, blocked: WouldBlock) -> None:
        blocked.__traceback__ = None
        self._waiting[task] = blocked
        if blocked.fd is not None:
            self._watch(task, blocked.fd, blocked.events)
        if blocked.until < NEVER or blocked.after < NEVER:
            self._push_time(task, blocked)
        if blocked.condition:
            blocked.condition.add(task, self.wake)

    def _push_time(self, task: Task, blocked: WouldBlock) -> None:
        if len(self._times) > 2 * len(self._waiting) + MANY_VOID:
            self._times = [entry for entry in self._times if entry[2].task]
            heapq.heapify(self._times)
        ticket = self._tickets[task] = Ticket(task)
        until = min(blocked.until, self.clock() + blocked.after)
        heapq.heappush(self._times, (until, next(self._count), ticket))

    def _stop_waiting(self, task: Task) -> bool:
        blocked = self._waiting.pop(task, None)
        if blocked is None:
            return False
        if blocked.fd is not None and (registration := self._registrations.get(blocked.fd)):
            if registration.reader is task:
                registration.reader = None
            if registration.writer is task:
                registration.writer = None
        if blocked.condition:
            blocked.condition.discard(task)
        if ticket := self._tickets.pop(task, None):
            ticket.task = None
        return True

    def _watch(self, task: Task, fd: int, events: int) -> None:
        registration = self._registrations.get(fd)
        if registration is None:
            registration = self._registrations[fd] = Registration()
        if events & READ:
            registration.reader = task
        if events & WRITE:
            registration.writer = task
        if events & ~registration.events:
            self._tell_selector(fd, registration, registration.events | events)

    def _tell_selector(self, fd: int, registration: Registration, events: int) -> None:
        if not registration.events:
            self._selector.register(fd, events, registration)
        elif events:
            self._selector.modify(fd, events, registration)
        else:
            self._selector.unregister(fd)
        registration.events = events

    def _wait(self) -> None:
        for key, events in self._selector.select(self._timeout()):
            registration: Registration = key.data
            reader = registration.reader if events & READ else None
            writer = registration.writer if events & WRITE else None
            if reader:
                self.wake(reader)
            if writer and writer is not reader:
                self.wake(writer)
            wanted = (READ if reader else 0) | (WRITE if writer else 0)
            if events & ~wanted:
                self._drop_interest(key.fd, registration, events & ~wanted)
        if self._times:
            self._wake_those_whose_time_has_come()

    def _drop_interest(self, fd: int, registration: Registration, unwanted: int) -> None:
        if self._registrations.get(fd) is registration:
            self._tell_selector(fd, registration, registration.events & ~unwanted)

    def _timeout(self) -> float | None:
        """Seconds the selector may wait; None: for ever."""
        if self._ready:
            return 0
        while self._times and not self._times[0][2].task:
            heapq.heappop(self._times)
        return max(0.0, self._times[0][0] - self.clock()) if self._times else None

    def _wake_those_whose_time_has_come(self) -> None:
        now = self.clock()
        while self._times and self._times[0][0] <= now:
            task = heapq.heappop(self._times)[2].task
            if task:
                self.wake(task)
