"""One port of one address: what becomes of it."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from pync.errors import ConnectError, ConnectionLost
from pync.stream import Attempt, EndOfStream, Endpoint, WouldBlock
from pync.transports.inet import InetAddress
from pync.wire.probes import questions

BANNER_WAIT = 1.0  # seconds that an open port is given to say something by itself
SAID_MOST = 1024  # bytes that are kept of what it says


class State(IntEnum):
    """What a port is, the best news last; each has the words that are shown.

    Whoever refuses is closed.  Nothing that came back, or word that the way is barred,
    means filtered; but to a datagram an open port need not answer either.
    """

    FILTERED = 0
    CLOSED = 1
    UNANSWERED = 2
    OPEN = 3

    @property
    def words(self) -> str:
        return "open|filtered" if self is State.UNANSWERED else self.name.lower()


STATES = {
    errno.ECONNREFUSED: State.CLOSED,
    errno.ECONNRESET: State.OPEN,  # it was accepted, and then cut
    errno.EPIPE: State.OPEN,
}


class Outcome(NamedTuple):
    """What became of a port.

    error: the system's number for the reason, or 0.  said: what came from the port
    without being asked for.  seconds: how long it took.  doubtful: it is silent, and may
    be closed, since the host limits its refusals.
    """

    peer: InetAddress
    state: State
    error: int
    said: bytes
    seconds: float
    doubtful: bool = False

    @property
    def reason(self) -> str:
        if self.doubtful:
            return "No answer, and the host limits its refusals"
        return os.strerror(self.error) if self.error else ""


def unreachable(peer: InetAddress, error: ConnectError) -> Outcome:
    """That of an address which this machine cannot even try."""
    return Outcome(peer, State.FILTERED, error.errno or errno.EIO, b"", 0.0)


class Trial:
    """A task that tries a port by a connection.

    outcome: what became of it, once the task is over.
    """

    silence = State.FILTERED  # what it means

    def __init__(
        self,
        attempt: Attempt,
        peer: InetAddress,
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        """patience: seconds that the peer has."""
        self.peer = peer
        self.descriptors = attempt.descriptors
        self.outcome: Outcome | None = None
        self._attempt = attempt
        self._endpoint: Endpoint | None = None
        self._clock = clock
        self._begun = clock()
        self._until = self._begun + patience

    def advance(self) -> bool:
        try:
            self._try()
        except WouldBlock as blocked:
            if self._clock() < self._until:
                blocked.until = min(blocked.until, self._until)
                raise
            self._run_out()
        except (ConnectError, ConnectionLost) as error:
            number = error.errno or errno.EIO
            self._end(self._state_after(number), number)
        return False

    def _try(self) -> None:
        self._endpoint = self._attempt.finish()
        self._end(State.OPEN)

    def _run_out(self) -> None:
        self._end(self.silence, errno.ETIMEDOUT)

    def _state_after(self, number: int) -> State:
        return STATES.get(number, State.FILTERED)

    def _end(self, state: State, number: int = 0, said: bytes = b"") -> None:
        self.outcome = Outcome(self.peer, state, number, said, self._clock() - self._begun)

    def close(self) -> None:
        """Let go of the connection, or of the attempt."""
        if self._endpoint:
            self._endpoint.close()
        else:
            self._attempt.abandon()


class Hearing(Trial):
    """One that listens for what an open port says by itself."""

    def _try(self) -> None:
        if self._endpoint is None:
            self._endpoint = self._attempt.finish()
            self._until = self._clock() + BANNER_WAIT
        self._end(State.OPEN, said=read(self._endpoint))

    def _run_out(self) -> None:
        if self._endpoint:
            self._end(State.OPEN)
        else:
            super()._run_out()

    def _state_after(self, number: int) -> State:
        return State.OPEN if self._endpoint else super()._state_after(number)


def read(endpoint: Endpoint) -> bytes:
    """The first that comes; nothing if the peer ends before."""
    try:
        return endpoint.source.read(SAID_MOST)
    except EndOfStream:
        return b""


class Asking(Trial):
    """One by datagrams, to which whoever is there may have an answer.

    Each may get lost, so there are two, the second after half of the time.
    """

    silence = State.UNANSWERED

    def __init__(
        self,
        attempt: Attempt,
        peer: InetAddress,
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        super().__init__(attempt, peer, clock, patience)
        asked = questions(peer.port)
        times = self._begun, self._begun + patience / 2
        self._unasked = deque(zip(times, (asked[0], asked[-1]), strict=True))

    def _try(self) -> None:
        if self._endpoint is None:
            self._endpoint = self._attempt.finish()
        while self._unasked and self._unasked[0][0] <= self._clock():
            self._endpoint.sink.write(self._unasked[0][1])
            self._unasked.popleft()
        try:
            self._end(State.OPEN, said=self._endpoint.source.read(SAID_MOST))
        except WouldBlock as blocked:
            if self._unasked:
                blocked.until = self._unasked[0][0]
            raise
