"""From addresses to one connection (RFC 8305, "Happy Eyeballs").

Theory.  A name may have several addresses, and some of them lead nowhere without
saying so.  They are tried one after the other, as the look-up has them; whoever has not answered
within HEAD_START gets company by the next one, and a failure lets the next one begin
at once.  The first that accepts wins, and the others are given up.  One time limit is
for all of them together.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable

from pync.errors import ConnectError, PyncError
from pync.loop import Loop
from pync.options import Options
from pync.stream import NEVER, NEVER_YET, Attempt, Condition, Endpoint, Peer, WouldBlock
from pync.transports import transport_of

HEAD_START = 0.25  # seconds; RFC 8305 section 5 recommends it


class Connecting:
    """A task that tries addresses until one accepts.

    endpoint: the connection, once the task is over.  advance raises ConnectError with a
    line for each address if none accepts, or none in time.
    """

    def __init__(
        self,
        options: Options,
        loop: Loop,
        say: Callable[[str], None],
        addresses: Iterable[Peer],
        deadline: float = NEVER,
    ) -> None:
        """say: told of the addresses that failed, where another one accepts.

        deadline: when it is to be there at the latest, by the loop's clock.
        """
        self.endpoint: Endpoint | None = None
        self._loop = loop
        self._say = say
        self._failures: list[ConnectError] = []
        self._options = options
        self._via = transport_of(options)
        self._addresses = deque(addresses)
        # Two that begin at the same local port would be in each other's way.
        self._head_start = NEVER if options.source_port else HEAD_START
        self._next_at = NEVER_YET  # when the next one may begin
        self._racers: list[Racer] = []
        self._changed = Condition()
        self._accepted: Peer | None = None
        self.deadline = deadline

    def advance(self) -> bool:
        for racer in self._racers[:]:
            if racer.over:
                self._judge(racer)
        if self.endpoint:
            return self._finish()
        if self._addresses and (not self._racers or self._loop.clock() >= self._next_at):
            self._begin_next()
            return True
        if not self._racers:
            raise self._failure()
        if self._loop.clock() >= self.deadline:
            self._run_out_of_time()
            return True
        until = min(self.deadline, self._next_at) if self._addresses else self.deadline
        raise WouldBlock(until=until, condition=self._changed)

    def _begin_next(self) -> None:
        peer = self._addresses.popleft()
        self._next_at = self._loop.clock() + self._head_start
        try:
            attempt = self._via.connect(peer, self._options)
        except ConnectError as error:
            self._failures.append(error)
            return
        racer = Racer(attempt, self._changed)
        self._racers.append(racer)
        self._loop.spawn(racer)

    def _judge(self, racer: Racer) -> None:
        """What has become of it: the connection, or one more failure."""
        self._racers.remove(racer)
        if racer.endpoint and not self.endpoint:
            self.endpoint = racer.endpoint
            self._accepted = racer.peer
            return
        self._drop(racer)
        if isinstance(racer.error, ConnectError):
            self._failures.append(racer.error)
            self._next_at = NEVER_YET
        elif racer.error:
            raise racer.error

    def _finish(self) -> bool:
        for failure in self._failures:
            self._say(str(failure))
        for racer in self._racers:
            self._say(f"connect to {racer.peer.target} given up: another was quicker")
        self._drop_all()
        return False

    def _failure(self) -> ConnectError:
        last = self._failures[-1].errno if self._failures else None
        return ConnectError("\n".join(map(str, self._failures)), last)

    def _run_out_of_time(self) -> None:
        self._failures += [timed_out(racer.peer) for racer in self._racers]
        self._addresses.clear()
        self._drop_all()

    def again(self, deadline: float) -> None:
        """Be a task once more, for another connection to where this one got."""
        assert self._accepted
        self._addresses = deque([self._accepted])
        self._failures.clear()
        self.endpoint = None
        self.deadline = deadline

    def close(self) -> None:
        """Give up what is not open yet."""
        self._drop_all()

    def _drop_all(self) -> None:
        for racer in self._racers:
            self._drop(racer)
        self._racers.clear()

    def _drop(self, racer: Racer) -> None:
        self._loop.cancel(racer)
        for fd in racer.descriptors:
            self._loop.forget(fd)
        racer.give_up()


class Racer:
    """A task: one attempt.  changed: notified when it has got somewhere, or failed."""

    def __init__(self, attempt: Attempt, changed: Condition) -> None:
        self.peer = attempt.peer
        self.descriptors = attempt.descriptors
        self.over = False
        self.endpoint: Endpoint | None = None
        self.error: PyncError | None = None
        self._attempt = attempt
        self._changed = changed

    def advance(self) -> bool:
        try:
            self.endpoint = self._attempt.finish()
        except PyncError as error:
            self.error = error
        self.over = True
        self._changed.notify()
        return False

    def give_up(self) -> None:
        if self.endpoint:
            self.endpoint.abort()
        else:
            self._attempt.abandon()


def timed_out(peer: Peer) -> ConnectError:
    message = f"connect to {peer.target} failed: Connection timed out"
    return ConnectError(message, errno.ETIMEDOUT)
