"""Dialling again: after an attempt that failed, and after a peer that went.

Theory.  A session owns its connection and lets go of it, but not of standard input and
output, which outlast it.  What was taken from standard input and not given to the system
when the connection breaks, as its flow and the stages on the way hold it, comes first on
the next one; what has been given to the system and was not acknowledged cannot be had
back, and is counted in the line that tells of it.  Once standard input has ended and
nothing of it is unsent there is nothing to come back for, and the session ends by the
rules of any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from random import uniform

from pync.errors import NetworkError
from pync.loop import Loop
from pync.options import Options
from pync.session import Session
from pync.stream import NEVER, Endpoint, Ends, Sink, WouldBlock
from pync.taps import Unread

SHORTEST = 0.05  # seconds: who refuses at once, or hangs up at once, is not to be stormed
JITTER = 0.25  # of a pause, more or less: who lost the same peer is not to come back together


def pauses(most: int | None, delay: float) -> Iterator[float]:
    """The seconds before each further attempt, `most` of them; None: no end of them."""
    for _ in count() if most is None else range(most):
        yield max(SHORTEST, delay * uniform(1 - JITTER, 1 + JITTER))  # noqa: S311  no secret


class Pause:
    """A task: lasts so many seconds."""

    def __init__(self, loop: Loop, seconds: float) -> None:
        self._clock = loop.clock
        self._until = loop.clock() + seconds

    def advance(self) -> bool:
        if self._clock() >= self._until:
            return False
        raise WouldBlock(until=self._until)


class Dialler:
    """Dials until there is a connection, or no attempt is left.

    dial: one attempt.  complain: told why one failed; repeat: where that is no news.  say:
    of peers that have gone.
    """

    def __init__(
        self,
        loop: Loop,
        dial: Callable[[], Endpoint],
        options: Options,
        complain: Callable[[str], None],
        repeat: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._dial = dial
        self._most = options.retry  # None: as often as it takes
        self._delay = options.retry_delay
        self._complain = complain
        self._repeat = repeat
        self._say = say
        self._last = ""  # what was told last

    def reach(self) -> Endpoint:
        """Raises the NetworkError of the last attempt."""
        for pause in pauses(self._most, self._delay):
            try:
                return self._dial()
            except NetworkError as error:
                self._tell(str(error))
            self._pause(pause)
        return self._dial()

    def keep_talking(
        self,
        local: Ends,
        open_session: Callable[[Ends, Endpoint], Session],
        hold: Callable[[Session], None],
    ) -> None:
        """Join `local` with one peer after the other, until its source has ended.

        hold: leads a session to its end.
        """
        again, sink = Unread(local.source, b""), Lasting(local.sink)
        while True:
            source = again if again.held else local.source
            session = open_session(Ends(source, sink), self.reach())
            self._last = ""
            try:
                hold(session)
            except NetworkError as error:
                if is_told_all(session):
                    raise
                self._complain(str(error))
            else:
                if is_told_all(session) or not session.outward.over:
                    break
                self._say(f"{session.remote.peer} has closed the connection")
            again.put_back(session.unsent)
            self._pause(next(pauses(1, self._delay)))
        local.sink.end()

    def _tell(self, failure: str) -> None:
        tell = self._repeat if failure == self._last else self._complain
        tell(failure)
        self._last = failure

    def _pause(self, seconds: float) -> None:
        self._loop.run(Pause(self._loop, seconds))


def is_told_all(session: Session) -> bool:
    """Whether there is nothing more to say to a next peer."""
    return session.inward.drained_at < NEVER and not session.unsent


class Lasting(Sink):
    """`sink`, which outlasts those who write through here."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.raw_fd = sink.raw_fd
        self.framed = sink.framed
        self.limit = sink.limit

    def write(self, data: bytes | memoryview) -> int:
        return self._sink.write(data)

    def failure(self, error: OSError) -> Exception:
        return self._sink.failure(error)
