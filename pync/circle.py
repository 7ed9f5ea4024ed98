"""Those who are given the same, each at its own pace as far as that harms nobody.

Theory.  Each subscriber has an outbox, between what it is given and its client.  A
piece is put into all of them, whole and the same, so that there is one copy of it
however many there are; what is put there while a client's flow waits for its turn
leaves together.

An outbox is bounded, but takes the whole piece that fills it.  Whoever gives waits
while there is a full one.  So the slowest sets the pace, as long as it moves: one that
has taken nothing for PATIENCE, with something there to be taken, is dropped once
nobody else is waited for.  Since that is counted from its last movement, one that
stopped before is dropped as soon as its outbox is full, and has delayed nobody.  Where
all are slow, because the machine is, each has twice the time that the others lately
took.  One that is alone keeps nobody waiting, and is never dropped.
"""

from __future__ import annotations

from collections.abc import Callable

from pync.endings import GRACE, Closing
from pync.errors import NetworkError, PyncError
from pync.session import Session
from pync.stream import NEVER, NEVER_YET, WouldBlock
from pync.transports.memory import MemoryPipe

OUTBOX = 1 << 20  # bytes that may wait for one client
EXCESS = 1 << 20  # and more, of what is given without waiting
# Seconds that a client with a full outbox may have taken nothing, or twice what others need.
PATIENCE, MOST_PATIENCE = 0.5, 2.0
FORGETTING = 0.99  # what is left of a slow one's example when the next one takes something


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

    def wind_up(self) -> None:
        self.session.close(Closing(patience=GRACE))

    def break_off(self, error: PyncError) -> None:
        self.session.break_off(error)


class Subscriber(Participant):
    """One that is given what is put into its outbox, as long as it is in the circle.

    waits_since: when there came something into the empty outbox.  dropped: why, if it is.
    """

    def __init__(
        self, session: Session, outbox: MemoryPipe, circle: Circle, leave: Callable[[], None]
    ) -> None:
        super().__init__(session, leave)
        self.outbox = outbox
        self.waits_since = NEVER_YET
        self.dropped: NetworkError | None = None
        self._circle = circle

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
        self._full: dict[MemoryPipe, float] = {}  # and when each had taken something before
        self._pace = 0.0  # seconds that those who were full lately took to take something

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
        """Raise WouldBlock as long as another one is full, and moves.

        Those who do not are dropped once there is nobody else to wait for.
        """
        if not self._full:
            return
        self._pass_over_those_with_room()
        now, patience = self._clock(), self._patience(speaker)
        full = [self._subscribers[outbox] for outbox in self._full if outbox is not speaker]
        for subscriber in reversed(full):  # when the last one has room, most have
            until = subscriber.took_at + patience
            if now < until:
                raise WouldBlock(condition=subscriber.outbox.changed, until=until)
        self._drop(full)

    def _patience(self, speaker: MemoryPipe | None) -> float:
        others = len(self) - (speaker in self)
        return min(max(PATIENCE, 2 * self._pace), MOST_PATIENCE) if others > 1 else NEVER

    def _pass_over_those_with_room(self) -> None:
        """Not to look at them before they are full again."""
        for outbox, took_at in [*self._full.items()]:
            if outbox.room:
                del self._full[outbox]
                took = self._subscribers[outbox].took_at - took_at
                self._pace = max(took, FORGETTING * self._pace)

    def give(self, piece: bytes, speaker: MemoryPipe | None = None) -> None:
        """Put it into all outboxes but the speaker's, full or not.

        One that has far more than it may have is dropped.
        """
        now, hopeless = self._clock(), []
        for outbox, subscriber in self._subscribers.items():
            if outbox is speaker:
                continue
            if not outbox.backlog:
                subscriber.waits_since = now
            elif outbox.filled > outbox.capacity + EXCESS:
                hopeless.append(subscriber)
            outbox.put(piece)
            if not outbox.room:
                self._full.setdefault(outbox, subscriber.took_at)
        self._drop(hopeless)

    def end(self) -> None:
        """Those who are there have been given everything."""
        for outbox in self._subscribers:
            outbox.end()

    def _drop(self, subscribers: list[Subscriber]) -> None:
        for subscriber in subscribers:
            if subscriber.outbox in self:  # still, after what was said of the one before
                subscriber.drop()
