"""Who gets standard input, where there are many clients: the policies of --stdin.

    all    whoever is there gets what comes in: see sharing
    first  one alone gets it, of those who are there the one who came first
    each   everybody gets the whole of it, from its start

What clients send goes to the output that they share, whatever the policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pync import dial
from pync.circle import Participant
from pync.environment import Environment
from pync.errors import PyncError
from pync.hub import Attendance
from pync.loop import Loop
from pync.options import Options
from pync.session import Session
from pync.sharing import Broadcast, SharedOutput, SharedSink, Sharing
from pync.stream import NEVER, Condition, EndOfStream, Endpoint, Ends, Sink, Source, WouldBlock

if TYPE_CHECKING:
    from pync.transports.kept import Spool

OpenSession: TypeAlias = Callable[[Ends, Endpoint], Session]


def attending(
    loop: Loop, options: Options, environment: Environment, output: Sink, open_session: OpenSession
) -> Callable[[Endpoint], Attendance]:
    """What makes the attendance of a client.  open_session: joins it with what it gets."""
    if options.stdin == "each":
        readings = kept_input(loop, options, environment)
        return Each(readings, SharedOutput(output), open_session).attend
    source = dial.local_source(options, environment)
    if options.stdin == "first":
        return First(source, SharedOutput(output), open_session).attend
    return Sharing(loop, Ends(source, output), open_session, options.outbox).attend


# Each.


class Each:
    """Joins each client with a reading of its own: none waits for another."""

    def __init__(
        self,
        readings: Callable[[], Source],
        output: SharedOutput,
        open_session: OpenSession,
    ) -> None:
        self._readings = readings
        self._output = output
        self._open_session = open_session

    def attend(self, endpoint: Endpoint) -> Recipient:
        sink = self._output.share()
        return Recipient(self._open_session(Ends(self._readings(), sink), endpoint), sink.release)


class Recipient(Participant):
    """A task: the session of a client that gets the whole of standard input."""

    def break_off(self, error: PyncError) -> None:
        if self.session.inward.drained_at == NEVER:  # more might have come
            self.session.terms = self.session.terms._replace(passes_failure=True)
        super().break_off(error)


def kept_input(loop: Loop, options: Options, environment: Environment) -> Callable[[], Source]:
    """What makes one more reading of standard input from its start.  Raises LocalError."""
    from pync.transports.kept import kept_file

    kept = kept_file(environment.stdin) or spooled(loop, environment)
    return lambda: dial.as_sent(kept.reading(), options, environment)


def spooled(loop: Loop, environment: Environment) -> Spool:
    """What keeps standard input, which comes in from now on."""
    from pync.transports.kept import Spool

    spool = Spool()
    loop.spawn(Broadcast(dial.standard_input(environment), spool, loop.clock))
    return spool


# First.


class First:
    """Joins one client at a time with `source`; the others are heard, and get nothing."""

    def __init__(self, source: Source, output: SharedOutput, open_session: OpenSession) -> None:
        self._line = Line(source)
        self._output = output
        self._open_session = open_session

    def attend(self, endpoint: Endpoint) -> InLine:
        place, sink = self._line.join(), self._output.share()
        return InLine(self._open_session(Ends(place, sink), endpoint), place, sink)


class Line:
    """Those whose turn has not passed yet, in the order in which they came.

    The one in front has `source`.  Who comes when that has ended gets its end.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.ended = False
        self.front: Place | None = None
        self._places: dict[Place, None] = {}

    def join(self) -> Place:
        place = Place(self, self.source.raw_fd if self.front is None else None)
        self._places[place] = None
        self.front = self.front or place
        return place

    def leave(self, place: Place) -> None:
        self._places.pop(place, None)
        if place is self.front:
            self.front = next(iter(self._places), None)
            if self.front:
                self.front.turn.notify()

    def end(self) -> None:
        """The source has given everything."""
        self.ended = True
        for place in self._places:
            place.turn.notify()


class Place(Source):
    """One client's place in a line, which gives something to the one in front alone.

    turn: notified when it may have come, or never will.
    """

    def __init__(self, line: Line, raw_fd: int | None) -> None:
        self.turn = Condition()
        self.raw_fd = raw_fd
        self.framed = line.source.framed
        self._line = line
        self._left = False

    @property
    def in_front(self) -> bool:
        return self._line.front is self

    @property
    def backlog(self) -> int:
        return self._line.source.backlog if self.in_front else 0

    def read_into(self, buffer: memoryview) -> int:
        if self._left or self._line.ended:
            raise EndOfStream
        if not self.in_front:
            raise WouldBlock(condition=self.turn)
        try:
            return self._line.source.read_into(buffer)
        except EndOfStream:
            self._line.end()
            raise

    def failure(self, error: OSError) -> PyncError:
        return self._line.source.failure(error)

    def leave(self) -> None:
        """Get nothing any more."""
        self._left = True
        self._line.leave(self)
        self.turn.notify()


class InLine(Participant):
    """A task: the session of a client that may have to wait for its turn."""

    def __init__(self, session: Session, place: Place, sink: SharedSink) -> None:
        super().__init__(session, self._leave_both)
        self._place = place
        self._sink = sink

    @property
    def interrupted(self) -> bool:
        return self._place.in_front and self.session.inward.stuck

    def advance(self) -> bool:
        if self.session.outward.over and not self._place.in_front:
            self._place.leave()  # it has ended, and need not wait for what may never come
        return super().advance()

    def _leave_both(self) -> None:
        self._place.leave()
        self._sink.release()
