"""Clients that are connected with each other: what one sends goes to all the others.

Theory.  Each client has a session of its own, as with anything else, between an
outbox and its share of the circle.  What one read of it gave is a piece, which is
put into everybody else's outbox, whole and the same for all, so that there is one
copy of it however many there are; what is put there while its client's flow waits
for its turn leaves together.

An outbox is bounded, but takes the whole piece that fills it.  Whoever has something
to say waits while there is a full one.  So the slowest sets the pace, as long as it
moves: one that has taken nothing for PATIENCE, with something there to be taken, is
dropped once nobody else is waited for.  Since that is counted from its last movement,
one that stopped before is dropped as soon as its outbox is full, and has delayed
nobody.  Where all are slow, because the machine is, each has twice the time that
the others lately took.

A client that has ended what it sends still hears the others.  Whether it listens is
known when something is sent to it, and looked for now and then (endings.absent).
"""

from __future__ import annotations

from collections.abc import Callable

from pync.errors import NetworkError
from pync.loop import Loop
from pync.session import Session
from pync.sharing import OUTBOX, Subscriber
from pync.stream import Endpoint, Ends, Sink, WouldBlock
from pync.transports.memory import MemoryPipe

PIECE = 1 << 18  # bytes that are read of a client at a time
# Seconds that a client with a full outbox may have taken nothing, or twice what others need.
PATIENCE, MOST_PATIENCE = 0.5, 2.0
FORGETTING = 0.99  # what is left of a slow one's example when the next one takes something


class Broker:
    """Connects clients with each other.

    open_session(ends, endpoint): the session that joins the two.  outbox: bytes that may
    wait for one client.
    """

    def __init__(
        self,
        loop: Loop,
        open_session: Callable[[Ends, Endpoint], Session],
        outbox: int = OUTBOX,
    ) -> None:
        self.circle = Circle(loop.clock)
        self._open_session = open_session
        self._outbox = outbox

    def attend(self, endpoint: Endpoint) -> Guest:
        outbox = MemoryPipe(self._outbox, framed=endpoint.sink.framed)
        session = self._open_session(Ends(outbox, self._voice(outbox)), endpoint)
        guest = Guest(session, outbox, lambda: self._end(outbox))
        self._begin(guest)
        return guest

    def _voice(self, outbox: MemoryPipe) -> Sink:
        """What the client with that outbox says goes there."""
        return Voice(self.circle, outbox)

    def _begin(self, guest: Guest) -> None:
        self.circle.add(guest)

    def _end(self, outbox: MemoryPipe) -> None:
        """Its client hears no more.  May be repeated."""
        self.circle.remove(outbox)


class Guest(Subscriber):
    """A task: one client's session with the others."""

    def advance(self) -> bool:
        """As a subscriber's; but one that has ended may go without ado."""
        try:
            return super().advance()
        except NetworkError:
            if self.dropped or self.session.outward.error or not self.session.outward.over:
                raise
            return False
        finally:
            if not self.takes:
                self._leave()


class Circle:
    """Those who hear each other, by their outboxes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._guests: dict[MemoryPipe, Guest] = {}
        self._full: dict[MemoryPipe, float] = {}  # and when each had taken something before
        self._pace = 0.0  # seconds that those who were full lately took to take something

    def __contains__(self, outbox: MemoryPipe) -> bool:
        return outbox in self._guests

    def add(self, guest: Guest) -> None:
        self._guests[guest.outbox] = guest

    def remove(self, outbox: MemoryPipe) -> None:
        self._guests.pop(outbox, None)
        self._full.pop(outbox, None)
        outbox.changed.notify()  # nobody need wait for it

    def wait_for_room(self, speaker: MemoryPipe) -> None:
        """Raise WouldBlock as long as another one is full, and moves.

        Those who do not are dropped once there is nobody else to wait for.
        """
        if not self._full:
            return
        self._pass_over_those_with_room()
        now, patience = self._clock(), min(max(PATIENCE, 2 * self._pace), MOST_PATIENCE)
        full = [self._guests[outbox] for outbox in self._full if outbox is not speaker]
        for guest in reversed(full):  # when the last one has room, most have
            until = guest.took_at + patience
            if now < until:
                raise WouldBlock(condition=guest.outbox.changed, until=until)
        self._drop(full)

    def _pass_over_those_with_room(self) -> None:
        """Not to look at them before they are full again."""
        for outbox, took_at in [*self._full.items()]:
            if outbox.room:
                del self._full[outbox]
                self._pace = max(self._guests[outbox].took_at - took_at, FORGETTING * self._pace)

    def give(self, piece: bytes, speaker: MemoryPipe | None = None) -> None:
        """Put it into all outboxes but the speaker's, full or not.

        One that had twice as much as it may have is dropped.
        """
        now, hopeless = self._clock(), []
        for outbox, guest in self._guests.items():
            if outbox is speaker:
                continue
            if not outbox.backlog:
                guest.waits_since = now
            outbox.put(piece)
            if not outbox.room:
                self._full.setdefault(outbox, guest.took_at)
                if outbox.filled - len(piece) > 2 * outbox.capacity:
                    hopeless.append(guest)
        self._drop(hopeless)

    def _drop(self, guests: list[Guest]) -> None:
        for guest in guests:
            if guest.outbox in self:  # still, after what was said of the one before
                guest.drop()
                self.remove(guest.outbox)


class Voice(Sink):
    """What a client says, on its way to the others.  Its end is not theirs."""

    def __init__(self, circle: Circle, outbox: MemoryPipe) -> None:
        self._circle = circle
        self._outbox = outbox
        self.framed = outbox.framed
        self.limit = min(PIECE, outbox.capacity)

    def write(self, data: bytes | memoryview) -> int:
        self._circle.wait_for_room(self._outbox)
        self._circle.give(bytes(data), self._outbox)
        return len(data)
