"""Names looked up beside the loop, which goes on meanwhile; and whatever else takes its time.

Theory.  getaddrinfo waits for the name server, for half a minute at times, and nothing
can interrupt it, whether somebody still wants the answer or not.  So threads call it.
One is started for a question, goes on with those that wait, and ends when none may be
asked.  They are daemons: one that hangs does not delay the end of the process.

Each question has an owner, on whose behalf it is asked, and who has no more than a
share of the threads and of the queue: whoever asks for slow names waits for them alone.
A thread is the owner's until it comes back, also when the question has been abandoned;
else to ask and to leave would be the way to all of them.  A question waits only while
its owner, or all together, have what they may (or the system gives no more threads), so
it is enough that each thread that comes back takes the first one that it may.

A question waits in the queue, is then at one of the threads, and then among the
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
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from ipaddress import ip_network
from typing import Any, Generic, NamedTuple, TypeVar

from pync.address import check_name
from pync.errors import PyncError, ResolveError, UsageError
from pync.loop import Loop
from pync.options import Options
from pync.stream import READ, Condition, Peer, WouldBlock
from pync.transports import inet
from pync.transports.inet import InetAddress
from pync.wire.socks import literal

NAME = "look-up"  # of each thread

Found = TypeVar("Found")
Find = Callable[[str, int, str, Options], list[InetAddress]]


class Answer(NamedTuple):
    """What a question came to; error: why nothing was found."""

    found: Any
    error: str = ""


class Question(Generic[Found]):
    """A search: for a host's addresses, it is an inet.Lookup.

    owner: for whom it is.  failing: what is told of one that fails, in front of the reason.
    """

    def __init__(
        self,
        find: Callable[[], Found],
        failing: str,
        owner: str,
        abandon: Callable[[Question[Any]], None],
    ) -> None:
        self.owner = owner
        self._find = find
        self._failing = failing
        self._abandon = abandon
        self._answer: Answer | None = None
        self._answered = Condition()

    def finish(self) -> Found:
        """What was found: addresses, best first.  Raises WouldBlock, or ResolveError."""
        if self._answer is None:
            raise WouldBlock(condition=self._answered)
        if self._answer.error:
            raise ResolveError(self._answer.error)
        found: Found = self._answer.found
        return found

    def abandon(self) -> None:
        """The answer is not wanted any more."""
        self._abandon(self)

    def search(self) -> Answer:
        """Find the answer, however long that takes."""
        try:
            return Answer(self._find())
        except PyncError as error:
            return Answer(None, str(error))

    def settle(self, answer: Answer) -> None:
        """Let finish give this."""
        self._answer = answer
        self._answered.notify()

    def refuse(self, why: str) -> None:
        self.settle(Answer(None, f"{self._failing}: {why}"))


class Bounds(NamedTuple):
    """How many questions may be somewhere: in all, and of one owner."""

    in_all: int
    each: int

    def admit(self, owner: str, questions: Collection[Question[Any]]) -> bool:
        """Whether another of `owner` may join these."""
        own = sum(question.owner == owner for question in questions)
        return len(questions) < self.in_all and own < self.each


THREADS = Bounds(in_all=64, each=16)
WAITING = Bounds(in_all=4096, each=1024)


def owner(client: Peer) -> str:
    """Whom look-ups for it are put down to: its host.

    In IPv6 one host may have all addresses of a network of 64 bits (RFC 4291 section 2.5.4).
    """
    address = literal(client.host)
    if address is None or address.version == 4:
        return client.host
    return str(ip_network((address.packed, 64), strict=False))


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
        self._lock = threading.Lock()  # of what is from here on
        self._queue: dict[Question[Any], None] = {}  # the first to come is the first
        self._at_work: set[Question[Any]] = set()  # each with a thread at it
        self._answers: list[tuple[Question[Any], Answer]] = []
        self._closed = False
        self._ours, self._theirs = socket.socketpair()
        loop.spawn(self)

    def look_up(
        self, host: str, port: int, protocol: str, options: Options, owner: str
    ) -> Question[list[InetAddress]]:
        """As inet.look_up, for `owner`; whatever goes wrong is told by what it gives."""
        failing = f"cannot resolve {host}"
        if answer := without_search(host, port, protocol, options):
            question = Question(list[InetAddress], failing, owner, self._abandon)
            question.settle(answer)
            return question
        return self.search(partial(self._find, host, port, protocol, options), failing, owner)

    def search(self, find: Callable[[], Found], failing: str, owner: str) -> Question[Found]:
        """What `find` gives, which a thread calls, and which raises PyncError.

        failing: as Question's.
        """
        question = Question(find, failing, owner, self._abandon)
        self._take_on(question)
        return question

    def _take_on(self, question: Question[Any]) -> None:
        """Give it a thread, or let it wait for one to come back."""
        with self._lock:
            if THREADS.admit(question.owner, self._at_work) and self._start_thread(question):
                return
            if not self._at_work:
                question.refuse("the system gives no thread for it")
            elif WAITING.admit(question.owner, self._queue):
                self._queue[question] = None
            else:
                question.refuse("too many names are being looked up")

    def _start_thread(self, question: Question[Any]) -> bool:
        """False if the system has too many; ours may do."""
        try:
            threading.Thread(target=self._work, args=[question], name=NAME, daemon=True).start()
        except RuntimeError:
            return False
        self._at_work.add(question)
        return True

    def _abandon(self, question: Question[Any]) -> None:
        with self._lock:
            self._queue.pop(question, None)

    def _work(self, question: Question[Any] | None) -> None:
        """What each thread does."""
        while question:
            question = self._hand_in(question, question.search())

    def _hand_in(self, question: Question[Any], answer: Answer) -> Question[Any] | None:
        """What the thread is to go on with."""
        with self._lock:
            self._at_work.remove(question)
            if self._closed:
                return None
            if not self._answers:
                self._theirs.send(b"\0")
            self._answers.append((question, answer))
            return self._next()

    def _next(self) -> Question[Any] | None:
        """The first of those that wait whose owner may have a thread."""
        held = Counter(question.owner for question in self._at_work)
        for question in self._queue:
            if held[question.owner] < THREADS.each:
                del self._queue[question]
                self._at_work.add(question)
                return question
        return None

    def advance(self) -> bool:
        """Give out the answers that are there."""
        with self._lock:
            if not self._answers:
                raise WouldBlock(self._ours.fileno(), READ)
            self._ours.recv(1)
            answers, self._answers = self._answers, []
        for question, answer in answers:
            question.settle(answer)
        return True

    def close(self) -> None:
        """Look up no more; what has no answer yet never gets one."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            self._loop.cancel(self)
            self._loop.forget(self._ours.fileno())
            self._ours.close()
            self._theirs.close()
