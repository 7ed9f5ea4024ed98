"""Standard input and output shared by many clients.

Each has a session of its own, between its outbox and a share of our output.
Standard input goes to everybody: one flow reads it into the fan-out, which puts
each piece into every client's outbox.  Standard output is shared by pieces: whoever
has begun to write one finishes it before anybody else writes.
"""

from __future__ import annotations

from collections.abc import Callable

from pync.endings import GRACE, Closing
from pync.errors import NetworkError, PyncError
from pync.flow import Flow
from pync.loop import Loop
from pync.session import Session
from pync.stream import NEVER, Condition, Endpoint, Ends, Sink, Source, WouldBlock
from pync.transports.datagrams import LARGEST
from pync.transports.memory import MemoryPipe

OUTBOX = 1 << 20  # bytes that may wait for one client
PIECE = LARGEST  # bytes that go to everybody at once, and fit a datagram
PATIENCE = 2.0  # seconds that a client may take nothing of a full outbox


class Sharing:
    """Joins each client with `local`: what goes to everybody, and where what they send goes.

    open_session(ends, endpoint): the session that joins the two.
    """

    def __init__(
        self, loop: Loop, local: Ends, open_session: Callable[[Ends, Endpoint], Session]
    ) -> None:
        self._fan_out = FanOut(loop.clock)
        self._output = SharedOutput(local.sink)
        self._open_session = open_session
        loop.spawn(Broadcast(local.source, self._fan_out, loop.clock))

    def attend(self, endpoint: Endpoint) -> Participant:
        outbox = MemoryPipe(OUTBOX, framed=endpoint.sink.framed)
        sink = self._output.share()
        session = self._open_session(Ends(outbox, sink), endpoint)

        def leave(participant: Participant) -> None:
            self._fan_out.remove(participant)
            sink.release()

        participant = Participant(session, outbox, leave)
        self._fan_out.add(participant)
        return participant


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

    def __init__(
        self, session: Session, outbox: MemoryPipe, leave: Callable[[Participant], None]
    ) -> None:
        self.session = session
        self.outbox = outbox
        self.full_since = NEVER  # since when its outbox has had no room
        self._leave = leave
        self.dropped: NetworkError | None = None

    @property
    def takes(self) -> bool:
        """Whether what is put into its outbox may still be sent."""
        return not (self.session.closing or self.session.inward.error)

    def advance(self) -> bool:
        try:
            if self.dropped:
                raise self.dropped
            again = self.session.advance()
        except NetworkError:
            self._leave(self)
            raise
        if not again:
            self._leave(self)
        elif self.session.closing:
            self.outbox.changed.notify()  # the fan-out need not wait for this one
        return again

    def drop(self) -> None:
        """End it, for the others' sake."""
        self.dropped = NetworkError(f"{self.session.remote.peer} takes nothing: dropped")
        self.break_off(self.dropped)
        self._leave(self)

    def wind_up(self) -> None:
        self.session.close(Closing(patience=GRACE))

    def break_off(self, error: PyncError) -> None:
        self.session.break_off(error)


class FanOut(Sink):
    """Puts what it is given into every participant's outbox.

    The slowest sets the pace as long as it moves at all; one that has not moved
    for PATIENCE with its outbox full is dropped.  One that is ending gets no more.
    With nobody there it waits, so that nothing is lost.
    """

    limit = PIECE

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._participants: dict[Participant, None] = {}
        self._came = Condition()
        self._ended = False

    def add(self, participant: Participant) -> None:
        self._participants[participant] = None
        if self._ended:
            participant.outbox.end()
        self._came.notify()

    def remove(self, participant: Participant) -> None:
        self._participants.pop(participant, None)
        participant.outbox.changed.notify()

    def write(self, data: bytes | memoryview) -> int:
        takers = [participant for participant in self._participants if participant.takes]
        for participant in takers:
            if participant.outbox.room < len(data):
                self._wait_for(participant)
            participant.full_since = NEVER
        if not takers:
            raise WouldBlock(condition=self._came)
        piece = bytes(data)  # one copy for all
        for participant in takers:
            participant.outbox.write(piece)
        return len(piece)

    def _wait_for(self, participant: Participant) -> None:
        participant.full_since = min(participant.full_since, self._clock())
        until = max(participant.full_since, participant.session.inward.moved_at) + PATIENCE
        if self._clock() < until:
            raise WouldBlock(condition=participant.outbox.changed, until=until)
        participant.drop()
        raise WouldBlock(after=0)

    def end(self) -> None:
        self._ended = True
        for participant in self._participants:
            participant.outbox.end()


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
