"""Standard input and output shared by many clients.

Each has a session of its own, between its outbox and a share of our output.
Standard input goes to everybody: one flow reads it into the fan-out, which puts
each piece into every client's outbox.  Standard output is shared by pieces: whoever
has begun to write one finishes it before anybody else writes.
"""

from __future__ import annotations

from collections.abc import Callable

from pync.circle import OUTBOX, Circle, Subscriber
from pync.flow import Flow
from pync.loop import Loop
from pync.session import Session
from pync.stream import Condition, Endpoint, Ends, Sink, Source, WouldBlock
from pync.transports.datagrams import LARGEST
from pync.transports.memory import MemoryPipe

PIECE = LARGEST  # bytes that go to everybody at once, and fit a datagram


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
        self._circle = Circle(loop.clock)
        self._fan_out = FanOut(self._circle, min(PIECE, outbox))
        self._outbox = outbox
        self._output = SharedOutput(local.sink)
        self._open_session = open_session
        loop.spawn(Broadcast(local.source, self._fan_out, loop.clock))

    def attend(self, endpoint: Endpoint) -> Subscriber:
        outbox = MemoryPipe(self._outbox, framed=endpoint.sink.framed)
        sink = self._output.share()
        session = self._open_session(Ends(outbox, sink), endpoint)
        subscriber = Hearer(session, outbox, self._circle, sink.release)
        self._fan_out.add(subscriber)
        return subscriber


class Hearer(Subscriber):
    """One of those who get standard input."""

    @property
    def interrupted(self) -> bool:
        return self.session.inward.stuck and not self.outbox.ended


class Broadcast:
    """A task: the flow from standard input to what is for everybody, whose failing is ours."""

    def __init__(self, source: Source, sink: Sink, clock: Callable[[], float]) -> None:
        self._flow = Flow(source, sink, clock, Condition())

    def advance(self) -> bool:
        again = self._flow.advance()
        if self._flow.error:
            raise self._flow.error
        return again


class FanOut(Sink):
    """Gives to all in the circle.  With nobody there it waits, so that nothing is lost.

    limit: as a sink's, and no more than an outbox has room for.
    """

    def __init__(self, circle: Circle, limit: int = PIECE) -> None:
        self.limit = limit
        self._circle = circle
        self._came = Condition()
        self._ended = False

    def add(self, subscriber: Subscriber) -> None:
        self._circle.add(subscriber)
        if self._ended:
            subscriber.outbox.end()
        self._came.notify()

    def write(self, data: bytes | memoryview) -> int:
        self._circle.wait_for_room()
        if not len(self._circle):
            raise WouldBlock(condition=self._came)
        piece = bytes(data[: self.limit])
        self._circle.give(piece)
        return len(piece)

    def end(self) -> None:
        self._ended = True
        self._circle.end()


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
