"""From addresses to one connection (RFC 8305, "Happy Eyeballs").

Theory.  A name may have several addresses, and some of them lead nowhere without
saying so.  They are tried one after the other, as the look-up has them; whoever has not answered
within HEAD_START gets company by the next one, and a failure lets the next one begin
at once.  The first that accepts wins, and the others are given up.  One time limit is
for all of them together.

With a local port of our own, two attempts may be in each other's way.  Most systems let
them have it both, as long as they do not go to the same place; one that may not begin
for that reason waits until one that has begun is over.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable

from pync.errors import AddressTaken, ConnectError, PyncError
from pync.loop import Loop
from pync.options import Options
from pync.stream import NEVER, NEVER_YET, Attempt, Condition, Endpoint, Peer, WouldBlock
from pync.transports import transport_of

HEAD_START = 0.25  # seconds; RFC 8305 section 5 recommends it
IN_THE_WAY = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)  # what connect says of a local port


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
        self._next_at = NEVER_YET  # when the next one may begin
        self._racers: list[Racer] = []
        self._put_off: list[Peer] = []  # until a racer fails, which has what they need
        self._changed = Condition()
        self._accepted: Peer | None = None
        self.deadline = deadline

    def advance(self) -> bool:
        for racer in self._racers[:]:
            if racer.over:
                self._judge(racer)
        if self.endpoint:
            return self._finish()
        if self._racers and self._loop.clock() >= self.deadline:
            self._run_out_of_time()
            return True
        if self._addresses and (not self._racers or self._loop.clock() >= self._next_at):
            self._begin_next()
            return True
        if not self._racers:
            raise self._failure()
        until = min(self.deadline, self._next_at) if self._addresses else self.deadline
        raise WouldBlock(until=until, condition=self._changed)

    def _begin_next(self) -> None:
        peer = self._addresses.popleft()
        self._next_at = self._loop.clock() + HEAD_START
        try:
            attempt = self._via.connect(peer, self._options)
        except ConnectError as error:
            self._failures.append(error)
            return
        except AddressTaken:
            if not self._racers:
                raise
            self._put_off.append(peer)
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
        if not isinstance(racer.error, ConnectError):
            assert racer.error
            raise racer.error
        if self._racers and racer.error.errno in IN_THE_WAY:
            self._put_off.append(racer.peer)
        else:
            self._failures.append(racer.error)
            self._addresses.extendleft(self._put_off)
            self._put_off.clear()
        self._next_at = NEVER_YET

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
        self._failures += [not_tried(peer) for peer in (*self._put_off, *self._addresses)]
        self._put_off.clear()
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


def not_tried(peer: Peer) -> ConnectError:
    message = f"connect to {peer.target} not tried: the time was over"
    return ConnectError(message, errno.ETIMEDOUT)
