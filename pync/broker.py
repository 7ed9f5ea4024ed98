"""Clients that are connected with each other: what one sends goes to all the others.

Each client has a session of its own, as with anything else, between its outbox and its
voice.  What one read of it gave is a piece, which is given to the circle of all others.

A client that has ended what it sends still hears the others.  Whether it listens is
known when something is sent to it, and looked for now and then (endings.absent).
"""

from __future__ import annotations

from collections.abc import Callable

from pync.circle import OUTBOX, Circle, Subscriber
from pync.errors import NetworkError
from pync.loop import Loop
from pync.session import Session
from pync.stream import Endpoint, Ends, Sink
from pync.transports.memory import MemoryPipe

PIECE = 1 << 20  # bytes that are read of a client at a time: few pieces are quicker


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
        guest = Guest(session, outbox, self.circle, lambda: self._end(outbox))
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
