"""Silent ports asked again, of hosts that do refuse, but not so often.

Theory.  A system may limit how many ICMP errors it sends (RFC 1812 section 4.3.2.8), and
Linux sends six at once to a peer, and then one a second (icmp(7), icmp_ratelimit).  So
of many closed ports most are as silent as open ones, if they are asked at the same time.
Once a host has refused one, and has been asked for all, its silent ports are asked for
again, at a pace at which each can be refused: those that are silent even then may well be
open.

That takes a second for each.  So a host with more than MOST is not asked again, and one
of which ENOUGH in a row stay silent no longer; its other silent ports are doubtful then.
No new doors are begun while ALL are held, so that memory is bounded.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from typing import Any

from pync.loop import Loop
from pync.scan.doors import Door, Doors, Host
from pync.scan.trial import Outcome, State
from pync.stream import NEVER, EndOfStream, WouldBlock

PACE = 1.05  # seconds from one to the next of a host
MOST = 100  # silent ports of a host
ENOUGH = 10
ALL = 1000  # silent ports of all hosts


class Again(Doors):
    """Doors, and those that are silent once more."""

    def __init__(self, loop: Loop, *arguments: Any) -> None:
        super().__init__(loop, *arguments)
        self._clock = loop.clock
        self._held = 0
        self._hosts: list[tuple[float, int, Host]] = []  # a heap: when to ask which
        self._count = itertools.count()

    def next(self) -> Door:
        due = self._due()
        if due <= self._clock():
            return self._next_again()
        try:
            if self._held < ALL:
                return self._next_new()
        except EndOfStream:
            pass
        except WouldBlock as blocked:
            blocked.until = min(blocked.until, due)
            raise
        raise WouldBlock(until=due) if due < NEVER else EndOfStream

    def _due(self) -> float:
        """When the next may be asked again."""
        while self._hosts and not self._hosts[0][2].silent:
            heapq.heappop(self._hosts)[2].queued = False
        return self._hosts[0][0] if self._hosts else NEVER

    def _next_again(self) -> Door:
        host = heapq.heappop(self._hosts)[2]
        host.queued = False
        self._held -= 1
        addresses = host.silent.popleft().addresses
        self._put_off(host)
        return Door(addresses, host, again=True)

    def _next_new(self) -> Door:
        door = super().next()
        door.host.busy += 1
        return door

    def _put_off(self, host: Host) -> None:
        if host.silent and not host.queued:
            host.queued = True
            heapq.heappush(self._hosts, (self._clock() + PACE, next(self._count), host))

    def outcomes(self, best: Outcome, door: Door) -> Iterable[Outcome]:
        host = door.host
        host.busy -= not door.again
        if best.state is State.CLOSED:
            host.refuses = True
            host.unmoved = 0
        told = self._told(best, door)
        if len(host.silent) > MOST or host.unmoved >= ENOUGH:
            told = [*told, *self._give_up(host)]
        if not host.busy:
            self._put_off(host)
        return told

    def _told(self, best: Outcome, door: Door) -> list[Outcome]:
        host = door.host
        if best.state is State.UNANSWERED and not door.again and host.refuses:
            if host.given_up:
                return [best._replace(doubtful=True)]
            host.silent.append(door)
            self._held += 1
            return []
        host.unmoved += best.state is State.UNANSWERED and door.again
        return [best]

    def _give_up(self, host: Host) -> list[Outcome]:
        doors = [*host.silent]
        host.silent.clear()
        host.given_up = True
        self._held -= len(doors)
        return [door.best._replace(doubtful=True) for door in doors if door.best]
