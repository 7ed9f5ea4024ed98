"""Dialling again: after an attempt that failed, and after a peer that went.

Theory.  A session owns its connection and lets go of it, but not of standard input and
output, which outlast it.  What its flow has taken from standard input and not passed on
when the connection breaks comes first on the next one; what has been given to the system
and was not acknowledged cannot be had back, and is counted in the line that tells of it.
Once standard input has ended there is nothing to come back for, and the session ends by
the rules of any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from random import uniform

from pync.errors import NetworkError
from pync.loop import Loop
from pync.stream import Endpoint, Sink, WouldBlock

JITTER = 0.25  # of a pause, more or less: who lost the same peer is not to come back together


def pauses(most: int | None, delay: float) -> Iterator[float]:
    """The seconds before each further attempt, `most` of them; None: no end of them."""
    for _ in count() if most is None else range(most):
        yield delay * uniform(1 - JITTER, 1 + JITTER)


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
    """Tries until there is a connection, or no attempt is left.

    dial: one attempt.  most, delay: as in pauses.  say: told of what failed.
    """

    def __init__(
        self,
        loop: Loop,
        dial: Callable[[], Endpoint],
        most: int | None,
        delay: float,
        say: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._dial = dial
        self._most = most
        self._delay = delay
        self._say = say

    def reach(self) -> Endpoint:
        """The connection.  Raises the NetworkError of the last attempt."""
        for pause in pauses(self._most, self._delay):
            try:
                return self._dial()
            except NetworkError as error:
                self._say(f"{error}; trying again in {pause:.1f} s")
            self.wait(pause)
        return self._dial()

    def come_back(self) -> Endpoint:
        """Another connection after one that was lost, which is not dialled at once."""
        self.wait(next(pauses(1, self._delay)))
        return self.reach()

    def wait(self, seconds: float) -> None:
        self._loop.run(Pause(self._loop, seconds))


class Lasting(Sink):
    """`sink`, whose end is not that of who writes through here."""

    def __init__(self, sink: Sink) -> None:
        self.raw_fd = sink.raw_fd
        self.framed = sink.framed
        self.limit = sink.limit
        self.write = sink.write  # type: ignore[method-assign]
        self.failure = sink.failure  # type: ignore[method-assign]
