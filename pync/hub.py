"""Many peers at once: each is a session of its own, between its outbox and our output.

Standard input goes to everybody: one flow reads it into the fan-out, which puts
each piece into every client's outbox.  Standard output is shared: whoever has
begun to write a piece finishes it before anybody else writes.
"""

from __future__ import annotations

from collections.abc import Callable

from pync.admission import Admission
from pync.errors import NetworkError, PyncError
from pync.flow import Flow
from pync.loop import Loop
from pync.session import Session
from pync.stream import NEVER, Condition, Endpoint, Ends, Listener, Sink, Source, WouldBlock
from pync.transports.datagrams import LARGEST
from pync.transports.memory import MemoryPipe

OUTBOX = 1 << 20  # bytes that may wait for one client
PIECE = LARGEST  # bytes that go to everybody at once, and fit a datagram
PATIENCE = 2.0  # seconds that a client may take nothing of a full outbox


class Hub:
    """A task that admits clients for ever and runs a session for each.

    local: what goes to every client, and where what they send goes.
    open_session(ends, endpoint): the session that joins the two.  welcome and
    complain: told of each client that comes, and of what ended one that failed.
    """

    def __init__(
        self,
        loop: Loop,
        listener: Listener,
        local: Ends,
        open_session: Callable[[Ends, Endpoint], Session],
        welcome: Callable[[Endpoint], None],
        complain: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._left = Condition()
        self._admission = Admission(listener, self._admit, complain, self._left)
        self._fan_out = FanOut(loop.clock, self._cut)
        self._output = SharedOutput(local.sink)
        self._open_session = open_session
        self._welcome = welcome
        self._complain = complain
        loop.spawn(Broadcast(local.source, self._fan_out, loop.clock))

    def advance(self) -> bool:
        return self._admission.advance()

    def _admit(self, endpoint: Endpoint) -> None:
        self._welcome(endpoint)
        outbox = MemoryPipe(OUTBOX)
        sink = self._output.share()
        session = self._open_session(Ends(outbox, sink), endpoint)
        member = Member(session, outbox, sink, self._part)
        self._fan_out.add(member)
        self._loop.spawn(member)

    def _part(self, member: Member, error: NetworkError | None) -> None:
        self._fan_out.remove(member)
        member.sink.release()
        self._left.notify()
        if error:
            self._complain(str(error))

    def break_off(self, error: PyncError) -> None:
        """End all sessions at once."""
        for member in self._fan_out.members:
            member.session.break_off(error)

    def _cut(self, member: Member) -> None:
        """Drop one that takes nothing, for the others' sake."""
        self._loop.cancel(member)
        error = NetworkError(f"{member.session.remote.peer} takes nothing: dropped")
        member.session.break_off(error)
        self._part(member, error)


class Broadcast:
    """A task: the flow from standard input to everybody, whose failing is ours."""

    def __init__(self, source: Source, fan_out: FanOut, clock: Callable[[], float]) -> None:
        self._flow = Flow(source, fan_out, clock, Condition())

    def advance(self) -> bool:
        again = self._flow.advance()
        if self._flow.error:
            raise self._flow.error
        return again


class Member:
    """A task: one client's session; its failing is its own."""

    def __init__(
        self,
        session: Session,
        outbox: MemoryPipe,
        sink: SharedSink,
        part: Callable[[Member, NetworkError | None], None],
    ) -> None:
        self.session = session
        self.outbox = outbox
        self.sink = sink
        self.full_since = NEVER  # since when its outbox has had no room
        self._part = part

    @property
    def takes(self) -> bool:
        """Whether what is put into its outbox may still be sent."""
        return not (self.session.closing or self.session.inward.error)

    def advance(self) -> bool:
        try:
            again = self.session.advance()
        except NetworkError as error:
            self._part(self, error)
            return False
        if not again:
            self._part(self, None)
        elif self.session.closing:
            self.outbox.changed.notify()  # the fan-out need not wait for this one
        return again


class FanOut(Sink):
    """Puts what it is given into every member's outbox.

    The slowest sets the pace as long as it moves at all; one that has not moved
    for PATIENCE with its outbox full is cut.  One that is ending gets no more.
    With nobody there it waits, so that nothing is lost.
    """

    limit = PIECE

    def __init__(self, clock: Callable[[], float], cut: Callable[[Member], None]) -> None:
        self._clock = clock
        self._cut = cut
        self.members: dict[Member, None] = {}
        self._came = Condition()
        self._ended = False

    def add(self, member: Member) -> None:
        self.members[member] = None
        if self._ended:
            member.outbox.end()
        self._came.notify()

    def remove(self, member: Member) -> None:
        self.members.pop(member, None)
        member.outbox.changed.notify()

    def write(self, data: bytes | memoryview) -> int:
        takers = [member for member in self.members if member.takes]
        for member in takers:
            if member.outbox.room < len(data):
                self._wait_for(member)
            member.full_since = NEVER
        if not takers:
            raise WouldBlock(condition=self._came)
        piece = bytes(data)  # one copy for all
        for member in takers:
            member.outbox.write(piece)
        return len(piece)

    def _wait_for(self, member: Member) -> None:
        member.full_since = min(member.full_since, self._clock())
        until = max(member.full_since, member.session.inward.moved_at) + PATIENCE
        if self._clock() < until:
            raise WouldBlock(condition=member.outbox.changed, until=until)
        self._cut(member)
        raise WouldBlock(after=0)

    def end(self) -> None:
        self._ended = True
        for member in self.members:
            member.outbox.end()


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
