"""Standard input and output shared by many clients.

Each has a session of its own, between its outbox and a share of our output.
Standard input goes to everybody: one flow reads it into the fan-out, which puts
each piece into every client's outbox.  Standard output is shared by pieces: whoever
has begun to write one finishes it before anybody else writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from pync.endings import GRACE, Closing
from pync.errors import NetworkError, PyncError
from pync.flow import Flow
from pync.loop import Loop
from pync.session import Session
from pync.stream import NEVER, NEVER_YET, Condition, Endpoint, Ends, Sink, Source, WouldBlock
from pync.transports.datagrams import LARGEST
from pync.transports.memory import MemoryPipe

OUTBOX = 1 << 20  # bytes that may wait for one client
PIECE = LARGEST  # bytes that go to everybody at once, and fit a datagram
PATIENCE = 0.5  # seconds that a client with a full outbox may have taken nothing
LOOK = 0.02  # seconds between looks for one that would be better off without it


class Sharing:
    """Joins each client with `local`: what goes to everybody, and where what they send goes.

    open_session(ends, endpoint): the session that joins the two.  outbox: bytes that may
    wait for one client.
    """

    def __init__(
        self,
        loop: Loop,
        local: Ends,
        open_session: Callable[[Ends, Endpoint], Session],
        outbox: int = OUTBOX,
    ) -> None:
        self._fan_out = FanOut(loop.clock, min(PIECE, outbox))
        self._outbox = outbox
        self._output = SharedOutput(local.sink)
        self._open_session = open_session
        loop.spawn(Broadcast(local.source, self._fan_out, loop.clock))

    def attend(self, endpoint: Endpoint) -> Subscriber:
        outbox = MemoryPipe(self._outbox, framed=endpoint.sink.framed)
        sink = self._output.share()
        session = self._open_session(Ends(outbox, sink), endpoint)

        def leave() -> None:
            self._fan_out.remove(subscriber)
            sink.release()

        subscriber = Subscriber(session, outbox, leave)
        self._fan_out.add(subscriber)
        return subscriber


class Broadcast:
    """A task: the flow from standard input to what is for everybody, whose failing is ours."""

    def __init__(self, source: Source, sink: Sink, clock: Callable[[], float]) -> None:
        self._flow = Flow(source, sink, clock, Condition())

    def advance(self) -> bool:
        again = self._flow.advance()
        if self._flow.error:
            raise self._flow.error
        return again


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
    """One that is given things, which wait for it in its outbox.

    waits_since: when there came something, and it had all before.  dropped: why, if it is.
    """

    def __init__(self, session: Session, outbox: MemoryPipe, leave: Callable[[], None]) -> None:
        super().__init__(session, leave)
        self.outbox = outbox
        self.waits_since = NEVER_YET
        self.dropped: NetworkError | None = None

    @property
    def takes(self) -> bool:
        """Whether what is put into its outbox may still be sent."""
        return not (self.session.closing or self.session.inward.error)

    @property
    def has_all(self) -> bool:
        """Whether it has taken all that there was for it."""
        return not self.session.inward.held

    @property
    def took_at(self) -> float:
        """When it last took something, or else had nothing to take."""
        return max(self.session.inward.moved_at, self.waits_since)

    def advance(self) -> bool:
        if self.dropped and self.session.outward.over:
            self.break_off(self.dropped)
            self._leave()
            raise self.dropped
        again = super().advance()
        if self.session.closing:
            self.outbox.changed.notify()  # nobody need wait for this one
        return again

    def drop(self) -> None:
        """End it, for the others' sake; what it has sent is passed on first."""
        self.dropped = NetworkError(f"{self.session.remote.peer} takes nothing: dropped")
        self.session.close(Closing(abrupt=True))


class FanOut(Sink):
    """Puts what it is given into every subscriber's outbox.

    Theory.  The slowest sets the pace as long as it moves.  One with a full outbox
    that has taken nothing for PATIENCE is dropped for the sake of those who have taken
    all; so nobody is where all are slow, or where there is but one.  Since that is
    counted from its last movement, one that stopped before delays nobody.  Before it is
    dropped it has one more turn, since with many clients turns may be far between.
    One that is ending gets no more.  With nobody there the fan-out waits, so that
    nothing is lost.

    limit: as a sink's, and no more than an outbox has room for.
    """

    def __init__(self, clock: Callable[[], float], limit: int = PIECE) -> None:
        self.limit = limit
        self._clock = clock
        self._subscribers: dict[Subscriber, None] = {}
        self._came = Condition()
        self._awaited: Subscriber | None = None
        self._last_turn: tuple[Subscriber, float] | None = None  # of whom, who took at what time
        self._ended = False

    def add(self, subscriber: Subscriber) -> None:
        self._subscribers[subscriber] = None
        if self._ended:
            subscriber.outbox.end()
        self._came.notify()
        if self._awaited:
            self._awaited.outbox.changed.notify()  # which is not alone any more

    def remove(self, subscriber: Subscriber) -> None:
        self._subscribers.pop(subscriber, None)
        subscriber.outbox.changed.notify()

    def write(self, data: bytes | memoryview) -> int:
        takers = [subscriber for subscriber in self._subscribers if subscriber.takes]
        piece = bytes(data[: self.limit])  # one copy for all
        for subscriber in takers:
            if subscriber.outbox.room < len(piece):
                self._wait_for(subscriber, takers)
        if not takers:
            raise WouldBlock(condition=self._came)
        now, self._awaited = self._clock(), None
        for subscriber in takers:
            if subscriber.has_all:
                subscriber.waits_since = now
            subscriber.outbox.write(piece)
        return len(piece)

    def _wait_for(self, subscriber: Subscriber, takers: list[Subscriber]) -> NoReturn:
        self._awaited = subscriber
        now, took_at = self._clock(), subscriber.took_at
        until = took_at + PATIENCE
        if len(takers) == 1:
            until = NEVER
        elif now >= until and not any(taker.has_all for taker in takers):
            until = now + LOOK
        if now < until:
            raise WouldBlock(condition=subscriber.outbox.changed, until=until)
        if self._last_turn == (subscriber, took_at):
            subscriber.drop()
        self._last_turn = subscriber, took_at
        raise WouldBlock(after=0)

    def end(self) -> None:
        self._ended = True
        for subscriber in self._subscribers:
            subscriber.outbox.end()


class SharedOutput:
    """One sink for many, a piece at a time."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.holder: SharedSink | None = None
        self.freed = Condition()

    def share(self) -> SharedSink:
        return SharedSink(self)


class SharedSink(Sink):
    """One client's share of the output.  Its end is not the output's."""

    def __init__(self, output: SharedOutput) -> None:
        self._output = output
        self.limit = output.sink.limit
        self.framed = output.sink.framed

    def write(self, data: bytes | memoryview) -> int:
        output = self._output
        if output.holder not in (None, self):
            raise WouldBlock(condition=output.freed)
        output.holder = self
        taken = output.sink.write(data)
        if taken == len(data):
            self.release()
        return taken

    def release(self) -> None:
        if self._output.holder is self:
            self._output.holder = None
            self._output.freed.notify()
