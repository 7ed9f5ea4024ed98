"""Letting peers in, for ever: what all that serve many at once begin with."""

from __future__ import annotations

from collections.abc import Callable

from pync.errors import OutOfDescriptors
from pync.stream import NEVER, Endpoint, Listener, Peer, WouldBlock

BATCH = 64  # peers admitted before others get their turn


class Admission:
    """A task: gives each peer of `listener` to `admit`, as long as there is room for more.

    complain: told, once, that there is no descriptor for more, or that peers are not heard
    for lack of room.  room: for how many there is now, or it raises OutOfDescriptors; to be
    woken when one has left.
    """

    def __init__(
        self,
        listener: Listener,
        admit: Callable[[Endpoint], None],
        complain: Callable[[str], None],
        room: Callable[[], float] = lambda: NEVER,
    ) -> None:
        self._listener = listener
        self._admit = admit
        self._complain = complain
        self._room = room
        self._told: set[str] = set()
        if listener.shared:
            self._admits = listener.admits
            listener.admits = self._has_room_for

    def advance(self) -> bool:
        for _ in range(BATCH):
            try:
                endpoint = self._next()
            except OutOfDescriptors as error:
                self._say_once(f"{error}; clients wait until one leaves")
                raise WouldBlock(after=self._listener.RETRY) from None
            self._admit(endpoint)
        return True

    def _next(self) -> Endpoint:
        if not self._listener.shared:
            self._listener.wanted = self._room()
            if self._listener.wanted <= 0:
                raise WouldBlock
        return self._listener.accept()

    def _has_room_for(self, peer: Peer) -> bool:
        if not self._admits(peer):
            return False
        why = "there are as many peers as may be"
        try:
            if self._room() > 0:
                return True
        except OutOfDescriptors as error:
            why = str(error)
        self._say_once(f"{why}; datagrams of others are dropped")
        return False

    def _say_once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._complain(line)
