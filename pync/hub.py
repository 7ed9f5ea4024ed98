"""Many clients at once, each attended for itself.

What is done for a client is an Attendance: a task that knows nothing of the others'
tasks, and whose failing is its own.  Who makes it (`attend`) decides what a listener
does: whether its clients share our standard streams, or get a program, or a proxy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pync.admission import Admission
from pync.dial import stop_listening
from pync.errors import LocalError, NetworkError, OutOfDescriptors, PyncError
from pync.loop import Loop
from pync.stream import NEVER, Endpoint, Listener, Peer, WouldBlock

FAREWELL = 2.0  # seconds that clients get to take what is held for them when we have to end


class Orderly(Protocol):
    """A task that can be asked to end."""

    def advance(self) -> bool: ...

    def wind_up(self) -> None:
        """End in order: take in no more, and give out what is held."""

    def break_off(self, error: PyncError, /) -> None:
        """End at once, so that no client takes this for the end."""


class Attendance(Orderly, Protocol):
    """What is done for one client, whose connection it owns.

    advance raises NetworkError for what ended it, having let go of the client.
    """


Attend = Callable[[Endpoint], Attendance]


class Hub:
    """A task: admits clients, for ever, and attends each.

    attend: raises LocalError if there is nothing left for one more client, which it cuts.
    complain: told of that, and of what ended the attendance of one, if that failed, with its
    name.  most: so many at a time.  affordable: for so many there are
    descriptors.
    """

    def __init__(
        self,
        loop: Loop,
        listener: Listener,
        attend: Attend,
        complain: Callable[[str], None],
        most: float = NEVER,
        affordable: float = NEVER,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._admission = Admission(listener, self._admit, complain, self._room)
        self._most = most
        self._affordable = affordable
        self._attend = attend
        self._complain = complain
        self._members: dict[Member, None] = {}
        self._until = NEVER  # when it has to be over

    def advance(self) -> bool:
        if self._until == NEVER:
            return self._admission.advance()
        if self._members and self._loop.clock() < self._until:
            raise WouldBlock(until=self._until)
        return False

    def _room(self) -> float:
        here = len(self._members)
        if self._affordable <= here < self._most:
            raise OutOfDescriptors("cannot accept: there are too few descriptors for more")
        return min(self._most, self._affordable) - here

    def _admit(self, endpoint: Endpoint) -> None:
        try:
            member = Member(self._attend(endpoint), endpoint.peer, self._part)
        except LocalError as error:
            self._complain(str(error))
            return
        self._members[member] = None
        self._loop.spawn(member)

    def _part(self, member: Member, error: NetworkError | None) -> None:
        del self._members[member]
        self._loop.wake(self)
        if error:
            self._complain(named(member.peer, str(error)))

    def wind_up(self) -> None:
        """Admit no more, and be over when all have what is held for them, or soon."""
        stop_listening(self._loop, self._listener)
        self._until = self._loop.clock() + FAREWELL
        for member in self._members:
            member.attendance.wind_up()

    def break_off(self, error: PyncError) -> None:
        """End what is done for each, at once."""
        for member in self._members:
            self._loop.cancel(member)
            member.attendance.break_off(error)


def named(client: Peer, failure: str) -> str:
    """The failure with the name of whose it is, if it does not say so by itself."""
    return failure if str(client) in failure else f"client {client}: {failure}"


class Lone:
    """A task: the attendance of one client, without a hub; raises what ended it."""

    def __init__(self, loop: Loop, attendance: Attendance) -> None:
        self._clock = loop.clock
        self._attendance = attendance
        self._until = NEVER  # when it has to be over

    def advance(self) -> bool:
        try:
            return self._attendance.advance()
        except WouldBlock as blocked:
            if self._clock() >= self._until:
                return False
            blocked.until = min(blocked.until, self._until)
            raise

    def wind_up(self) -> None:
        """Be over when the client has what is held for it, or soon."""
        self._until = self._clock() + FAREWELL
        self._attendance.wind_up()

    def break_off(self, error: PyncError) -> None:
        """End what is done, at once."""
        self._attendance.break_off(error)


class Member:
    """A task: one client's attendance.  part: told when it is over, and of its failing."""

    def __init__(
        self,
        attendance: Attendance,
        peer: Peer,
        part: Callable[[Member, NetworkError | None], None],
    ) -> None:
        self.attendance = attendance
        self.peer = peer
        self._part = part

    def advance(self) -> bool:
        try:
            if self.attendance.advance():
                return True
        except NetworkError as error:
            self._part(self, error)
        else:
            self._part(self, None)
        return False
