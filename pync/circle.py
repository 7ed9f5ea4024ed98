"""Those who are given the same, each at its own pace as far as that harms nobody.

Theory.  Each subscriber has an outbox, between what it is given and its client.  A
piece is put into all of them, whole and the same, so that there is one copy of it
however many there are; what is put there while a client's flow waits for its turn
leaves together.

An outbox is bounded, but takes the whole piece that fills it.  Whoever gives waits
while there is a full one.  So the slowest sets the pace, as long as it moves: one that
has taken nothing for PATIENCE, with something there to be taken, is dropped for the
sake of those who have taken all; so nobody is where all are slow, or where there is but
one.  Since that is counted from its last movement, one that stopped before is dropped
as soon as its outbox is full, and has delayed nobody.  Before it is, it has one more
turn, since with many clients turns may be far between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from pync.endings import GRACE, Closing
from pync.errors import NetworkError, PyncError
from pync.session import Session
from pync.stream import NEVER, NEVER_YET, WouldBlock
from pync.transports.memory import MemoryPipe

OUTBOX = 1 << 20  # bytes that may wait for one client
EXCESS = 1 << 20  # and more, of what is given without waiting
PATIENCE = 0.5  # seconds that a client with a full outbox may have taken nothing
LOOK = 0.02  # seconds between looks for one that would be better off without it


class Participant:
    """A task: one client's session.  leave: told, maybe again, that it is over."""

    def __init__(self, session: Session, leave: Callable[[], None]) -> None:
        self.session = session
        self._leave = leave

    def advance(self) -> bool:
        try:
            again = self.session.advance()
        except NetworkError:
            self._leave()
            raise
        if not again:
            self._leave()
        return again

    @property
    def interrupted(self) -> bool:
        """Whether there was more to come than what is held."""
        return False

    def wind_up(self) -> None:
        if not self.session.closing:
            self.session.close(Closing(abrupt=self.interrupted, patience=GRACE))

    def break_off(self, error: PyncError) -> None:
        self.session.break_off(error)


class Subscriber(Participant):
    """One that is given what is put into its outbox, as long as it is in the circle.

    waits_since: when there came something, and it had all before.  last_turn: when it had
    last taken something, at its last turn before it may be dropped.  dropped: why, if it is.
    """

    def __init__(
        self, session: Session, outbox: MemoryPipe, circle: Circle, leave: Callable[[], None]
    ) -> None:
        super().__init__(session, leave)
        self.outbox = outbox
        self.waits_since = NEVER_YET
        self.last_turn = NEVER_YET
        self.dropped: NetworkError | None = None
        self._circle = circle

    @property
    def has_all(self) -> bool:
        """Whether it has taken all that there was for it."""
        return not self.session.inward.held

    @property
    def took_at(self) -> float:
        """When it last took something, or else had nothing to take."""
        return max(self.session.inward.moved_at, self.waits_since)

    def advance(self) -> bool:
        try:
            if self.dropped and self.session.outward.over:
                self.break_off(self.dropped)
                self._leave()
                raise self.dropped
            return super().advance()
        finally:
            if self.session.closing or self.session.inward.over:
                self._circle.remove(self.outbox)

    def drop(self) -> None:
        """End it, for the others' sake; what it has sent is passed on first."""
        self.dropped = NetworkError(f"{self.session.remote.peer} takes nothing: dropped")
        self.session.close(Closing(abrupt=True))
        self._circle.remove(self.outbox)


class Circle:
    """All who are given the same, by their outboxes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._subscribers: dict[MemoryPipe, Subscriber] = {}
        self._full: dict[MemoryPipe, None] = {}  # as they became so

    def __contains__(self, outbox: MemoryPipe | None) -> bool:
        return outbox in self._subscribers

    def __len__(self) -> int:
        return len(self._subscribers)

    def add(self, subscriber: Subscriber) -> None:
        self._subscribers[subscriber.outbox] = subscriber
        for outbox in self._full:
            outbox.changed.notify()  # whoever was alone is so no more

    def remove(self, outbox: MemoryPipe) -> None:
        self._subscribers.pop(outbox, None)
        self._full.pop(outbox, None)
        outbox.changed.notify()  # nobody need wait for it

    def wait_for_room(self, speaker: MemoryPipe | None = None) -> None:
        """Raise WouldBlock as long as another one is full, and moves or is nobody's trouble.

        Those who are are dropped once there is nobody else to wait for.
        """
        if not self._full:
            return
        self._full = {outbox: None for outbox in self._full if not outbox.room}
        full = [self._subscribers[outbox] for outbox in self._full if outbox is not speaker]
        now = self._clock()
        for subscriber in reversed(full):  # when the last one has room, most have
            if now < subscriber.took_at + PATIENCE:
                wait(subscriber, subscriber.took_at + PATIENCE)
        if full:
            self._wait_for_trouble(full[0], speaker)
            self._give_last_turns(full)
            self._drop(full)

    def _wait_for_trouble(self, stopped: Subscriber, speaker: MemoryPipe | None) -> None:
        """Raise WouldBlock unless somebody has taken all, and could have more but for this one."""
        if len(self) - (speaker in self) == 1:
            wait(stopped, NEVER)
        others = (one for outbox, one in self._subscribers.items() if outbox is not speaker)
        if not any(one.has_all for one in others):
            wait(stopped, self._clock() + LOOK)

    def _give_last_turns(self, stopped: list[Subscriber]) -> None:
        waiting = [one for one in stopped if one.last_turn != one.took_at]
        for one in waiting:
            one.last_turn = one.took_at
        if waiting:
            raise WouldBlock(after=0)

    def give(self, piece: bytes, speaker: MemoryPipe | None = None) -> None:
        """Put it into all outboxes but the speaker's, full or not.

        One that has far more than it may have is dropped.
        """
        now, hopeless = self._clock(), []
        for outbox, subscriber in self._subscribers.items():
            if outbox is speaker:
                continue
            if subscriber.has_all:
                subscriber.waits_since = now
            elif outbox.filled > outbox.capacity + EXCESS:
                hopeless.append(subscriber)
            outbox.put(piece)
            if not outbox.room:
                self._full[outbox] = None
        self._drop(hopeless)

    def end(self) -> None:
        """Those who are there have been given everything."""
        for outbox in self._subscribers:
            outbox.end()

    def _drop(self, subscribers: list[Subscriber]) -> None:
        for subscriber in subscribers:
            if subscriber.outbox in self:  # still, after what was said of the one before
                subscriber.drop()


def wait(stopped: Subscriber, until: float) -> NoReturn:
    raise WouldBlock(condition=stopped.outbox.changed, until=until)
