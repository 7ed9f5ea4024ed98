"""Clients that are connected with each other: what one sends goes to all the others.

Theory.  Each client has a session of its own, as with anything else, between an
outbox and its share of the circle.  What one read of it gave is a piece, which is
put into everybody else's outbox, whole and the same for all, so that there is one
copy of it however many there are; what is put there while its client's flow waits
for its turn leaves together.

An outbox is bounded, but takes the whole piece that fills it.  Whoever has something
to say waits while there is a full one.  So the slowest sets the pace, as long as it
moves: one that has taken nothing for PATIENCE, with something there to be taken, is
dropped.  Since that is counted from its last movement, one that stopped before is
dropped as soon as its outbox is full, and has delayed nobody.

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

PIECE = 1 << 16  # bytes that are read of a client at a time


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
        self._circle = Circle(loop.clock)
        self._open_session = open_session
        self._outbox = outbox

    def attend(self, endpoint: Endpoint) -> Guest:
        outbox = MemoryPipe(self._outbox, framed=endpoint.sink.framed)
        voice = Voice(self._circle, outbox)
        session = self._open_session(Ends(outbox, voice), endpoint)
        guest = Guest(session, outbox, lambda: self._circle.remove(outbox))
        self._circle.add(guest)
        return guest


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
    """Those who hear each other."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._guests: dict[MemoryPipe, Guest] = {}
        self._full: dict[MemoryPipe, Guest] = {}

    def add(self, guest: Guest) -> None:
        self._guests[guest.outbox] = guest

    def remove(self, outbox: MemoryPipe) -> None:
        self._guests.pop(outbox, None)
        self._full.pop(outbox, None)
        outbox.changed.notify()  # nobody need wait for it

    def put(self, piece: bytes, sender: MemoryPipe | None = None) -> None:
        """Let all but the one with the outbox `sender` have it.

        Raises WouldBlock while somebody's outbox is full.
        """
        self._wait_for_room(sender)
        now = self._clock()
        for outbox, guest in self._guests.items():
            if outbox is sender:
                continue
            if not outbox.backlog:
                guest.waits_since = now
            outbox.put(piece)
            if not outbox.room:
                self._full[outbox] = guest

    def _wait_for_room(self, sender: MemoryPipe | None) -> None:
        """Raise WouldBlock as long as somebody is full and moves; drop those who alone are left."""
        now, stopped = self._clock(), []
        for outbox, guest in [*self._full.items()]:
            if outbox.room:
                del self._full[outbox]  # until it is full again
            elif now >= guest.patience_until:
                stopped.append(guest)
            elif outbox is not sender:
                raise WouldBlock(condition=outbox.changed, until=guest.patience_until)
        for guest in stopped:
            guest.drop()
            self.remove(guest.outbox)


class Voice(Sink):
    """What a client says, on its way to the others.  Its end is not theirs."""

    limit = PIECE

    def __init__(self, circle: Circle, outbox: MemoryPipe) -> None:
        self._circle = circle
        self._outbox = outbox
        self.framed = outbox.framed

    def write(self, data: bytes | memoryview) -> int:
        self._circle.put(bytes(data), self._outbox)
        return len(data)
