"""Names looked up beside the loop, which goes on meanwhile.

Theory.  getaddrinfo waits for the name server, for half a minute at times, and nothing
can interrupt it.  So threads call it, a few of them, that are started when they are
needed.  They are daemons: one that hangs does not delay the end of the process.

A look-up waits in the queue, is then at one of the threads, and then among the
answers, which the loop gives out.  All that both sides touch is behind one lock, which
nobody holds while waiting for anything else.  The threads wake the loop through a pair
of sockets, in which there is a byte exactly as long as there are answers, so that it
never fills up.  A thread that comes back after the end finds the resolver closed, and
touches neither the sockets nor their descriptors' numbers, which others may have by
then.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from pync.address import check_name
from pync.errors import PyncError, ResolveError, UsageError
from pync.loop import Loop
from pync.options import Options
from pync.stream import READ, Condition, WouldBlock
from pync.transports import inet
from pync.transports.inet import InetAddress

THREADS = 8
NAME = "look-up"  # of each of them
WAITING = 1000  # look-ups that may wait for a thread

Find = Callable[[str, int, str, Options], list[InetAddress]]


class Answer(NamedTuple):
    """What a look-up came to; error: why there are no addresses."""

    addresses: list[InetAddress]
    error: str = ""


class Lookup:
    """The search for a host's addresses."""

    def __init__(
        self, find: Callable[[], list[InetAddress]], host: str, abandon: Callable[[Lookup], None]
    ) -> None:
        self._find = find
        self._host = host
        self._abandon = abandon
        self._answer: Answer | None = None
        self._answered = Condition()

    def finish(self) -> list[InetAddress]:
        """The addresses, best first.  Raises WouldBlock, or ResolveError."""
        if self._answer is None:
            raise WouldBlock(condition=self._answered)
        if self._answer.error:
            raise ResolveError(self._answer.error)
        return self._answer.addresses

    def abandon(self) -> None:
        """The answer is not wanted any more."""
        self._abandon(self)

    def search(self) -> Answer:
        """Find the answer, however long that takes."""
        try:
            return Answer(self._find())
        except PyncError as error:
            return Answer([], str(error))

    def settle(self, answer: Answer) -> None:
        """Let finish give this."""
        self._answer = answer
        self._answered.notify()

    def refuse(self, why: str) -> None:
        self.settle(Answer([], f"cannot resolve {self._host}: {why}"))


def without_search(host: str, port: int, protocol: str, options: Options) -> Answer | None:
    """The answer for a number, or for what is no host's name; None for a name.

    Somebody else has asked for this host: the system would take an empty one for this
    machine, and a name to end before a zero byte.
    """
    try:
        check_name(host)
        return Answer(inet.look_up(host, port, protocol, options._replace(nodns=True)))
    except ValueError as error:
        return Answer([], f"cannot resolve {host!r}: {error}")
    except ResolveError as error:
        return Answer([], str(error))
    except UsageError as error:
        return Answer([], str(error)) if options.nodns else None


class Resolver:
    """A task, which it spawns itself: looks up names in threads.

    find: what the threads call.
    """

    def __init__(self, loop: Loop, find: Find = inet.look_up) -> None:
        self._loop = loop
        self._find = find
        self._changed = threading.Condition()  # of what is from here on
        self._queue: dict[Lookup, None] = {}  # the first to come is the first
        self._answers: list[tuple[Lookup, Answer]] = []
        self._threads = 0
        self._idle = 0
        self._closed = False
        self._ours, self._theirs = socket.socketpair()
        loop.spawn(self)

    def look_up(self, host: str, port: int, protocol: str, options: Options) -> Lookup:
        """As inet.look_up; whatever goes wrong is told by the Lookup."""
        find = partial(self._find, host, port, protocol, options)
        lookup = Lookup(find, host, self._abandon)
        if answer := without_search(host, port, protocol, options):
            lookup.settle(answer)
        else:
            self._enqueue(lookup)
        return lookup

    def _enqueue(self, lookup: Lookup) -> None:
        with self._changed:
            if len(self._queue) >= WAITING:
                lookup.refuse("too many names are being looked up")
                return
            self._queue[lookup] = None
            if len(self._queue) > self._idle and self._threads < THREADS:
                self._start_thread()
            if self._threads:
                self._changed.notify()
            else:
                del self._queue[lookup]
                lookup.refuse("the system gives no thread for it")

    def _start_thread(self) -> None:
        with suppress(RuntimeError):  # the system has too many; ours may do
            threading.Thread(target=self._work, name=NAME, daemon=True).start()
            self._threads += 1

    def _abandon(self, lookup: Lookup) -> None:
        with self._changed:
            self._queue.pop(lookup, None)

    def _work(self) -> None:
        """What each thread does."""
        while lookup := self._next():
            self._tell(lookup, lookup.search())

    def _next(self) -> Lookup | None:
        """A look-up to do, for which it waits; None at the end."""
        with self._changed:
            self._idle += 1
            while not (self._queue or self._closed):
                self._changed.wait()
            self._idle -= 1
            if self._closed:
                return None
            lookup = next(iter(self._queue))
            del self._queue[lookup]
            return lookup

    def _tell(self, lookup: Lookup, answer: Answer) -> None:
        with self._changed:
            if self._closed:
                return
            if not self._answers:
                self._theirs.send(b"\0")
            self._answers.append((lookup, answer))

    def advance(self) -> bool:
        """Give out the answers that are there."""
        with self._changed:
            if not self._answers:
                raise WouldBlock(self._ours.fileno(), READ)
            self._ours.recv(1)
            answers, self._answers = self._answers, []
        for lookup, answer in answers:
            lookup.settle(answer)
        return True

    def close(self) -> None:
        """Look up no more; what has no answer yet never gets one."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
            self._loop.cancel(self)
            self._loop.forget(self._ours.fileno())
            self._ours.close()
            self._theirs.close()
