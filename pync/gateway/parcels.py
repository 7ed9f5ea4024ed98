"""Datagrams that leave when they can, and when it is known where to.

A parcel is ready to leave, and waits for its socket alone.  What is sent to a name
waits until that has been looked up, as far as there is room; the rest is dropped,
since datagrams may be lost.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from pync.errors import LocalError, NetworkError
from pync.transports.inet import InetAddress, Lookup
from pync.transports.udp import Unconnected

MOST_WAITING = 64 * 1024  # bytes for one name while it is looked up
COST = 64  # bytes of memory that a datagram takes beside its own

Key = TypeVar("Key")
Value = TypeVar("Value")


class Parcel(NamedTuple):
    """A datagram that is ready to leave."""

    by: Unconnected
    data: bytes
    to: InetAddress

    def send(self) -> None:
        self.by.send(self.data, self.to)


Take = Callable[[], "Parcel | None"]  # none where what was there is not passed on


class Carrier:
    """A task: sends what `take` gives, one by one.  failed: called if it gives no more."""

    def __init__(self, take: Take, failed: Callable[[], None]) -> None:
        self._take = take
        self._failed = failed
        self._parcel: Parcel | None = None

    def advance(self) -> bool:
        try:
            self._parcel = self._parcel or self._take()
        except LocalError:
            self._failed()
            return False
        if self._parcel:
            self._parcel.send()
        self._parcel = None
        return True


class Resolving:
    """A task: a name's look-up, and then the sending of what has waited for it.

    parcel: makes one for one of the addresses, or none.  over: whether all that is done.
    """

    def __init__(
        self, lookup: Lookup, parcel: Callable[[list[InetAddress], bytes], Parcel | None]
    ) -> None:
        self._lookup = lookup
        self._parcel = parcel
        self._addresses: list[InetAddress] | None = None
        self._waiting: deque[bytes] = deque()
        self._room = MOST_WAITING
        self.over = False

    def post(self, data: bytes) -> Parcel | None:
        """Send it later, or give what is to be sent at once."""
        if self.over:
            return self._parcel(self._addresses or [], data)
        if self._room >= len(data) + COST:
            self._room -= len(data) + COST
            self._waiting.append(data)
        return None

    def advance(self) -> bool:
        if self._addresses is None:
            self._addresses = self._finish()
        while self._waiting:
            if parcel := self._parcel(self._addresses, self._waiting[0]):
                parcel.send()
            self._waiting.popleft()
        self.over = True
        return False

    def abandon(self) -> None:
        """What waits is not to be sent any more."""
        self._lookup.abandon()

    def _finish(self) -> list[InetAddress]:
        try:
            return self._lookup.finish()
        except NetworkError:
            return []


class Recent(Generic[Key, Value]):
    """A table of at most `size` entries: the longest unused makes room."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: Key, value: Value) -> Value | None:
        """What had to make room, if anything had to."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        return self._entries.popitem(last=False)[1] if len(self._entries) > self._size else None

    def values(self) -> list[Value]:
        return list(self._entries.values())
