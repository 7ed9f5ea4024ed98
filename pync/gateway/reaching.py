"""The way to what a client wants: to a target, or to a relay of its datagrams."""

from __future__ import annotations

from collections.abc import Callable

from pync.connecting import Connecting
from pync.errors import NetworkError, PyncError
from pync.gateway.datagram_relay import DatagramRelay
from pync.loop import Loop
from pync.opening import cut
from pync.reaching import Performance, Script, look_up
from pync.reaching import connect as open_connection
from pync.stream import Condition, Endpoint, WouldBlock
from pync.transports.inet import InetAddress, Lookup
from pync.wire.socks import NOWHERE
from pync.wire.socks5 import Place

NO_PLACE = Place(NOWHERE, 0)  # where a way has none on our side, or needs none


class NoWay:
    """A look-up of what must not be looked up."""

    def __init__(self, error: NetworkError) -> None:
        self._error = error

    def finish(self) -> list[InetAddress]:
        raise self._error

    def abandon(self) -> None:
        pass


class Way:
    """A task that finds a way; then it is over, with what it found or with an error.

    changed: notified then.  endpoint: the connection with a target.  relay: what takes
    the client's datagrams, which is not begun yet.
    """

    def __init__(self, loop: Loop) -> None:
        self.changed = Condition()
        self.over = False
        self.error: PyncError | None = None
        self.endpoint: Endpoint | None = None
        self.relay: DatagramRelay | None = None
        self._loop = loop

    @property
    def bound(self) -> Place:
        """Our side of it, as the client is told."""
        return NO_PLACE

    def advance(self) -> bool:
        try:
            if self._search():
                return True
        except PyncError as error:
            self.error = error
        self.over = True
        self.changed.notify()
        return False

    def _search(self) -> bool:
        """Whether there is more to do.  Raises WouldBlock or a PyncError."""
        raise NotImplementedError

    def close(self) -> None:
        """Give it up, with what it found."""
        self._loop.cancel(self)


class Reaching(Way):
    """To a target, from its name to a connection."""

    def __init__(
        self,
        loop: Loop,
        target: str,
        lookup: Lookup,
        connect: Callable[[list[InetAddress]], Connecting],
        deadline: float,
    ) -> None:
        super().__init__(loop)
        self._performance = Performance(self._reach(target, lookup, connect, deadline))

    @property
    def bound(self) -> Place:
        local = self.endpoint and self.endpoint.local
        return Place(local.host, local.port) if local else NO_PLACE

    def _search(self) -> bool:
        return self._performance.advance()

    def _reach(
        self,
        target: str,
        lookup: Lookup,
        connect: Callable[[list[InetAddress]], Connecting],
        deadline: float,
    ) -> Script[None]:
        connecting = connect((yield from look_up(target, lookup, self._loop.clock, deadline)))
        connecting.deadline = deadline
        self.endpoint = yield from open_connection(connecting)

    def close(self) -> None:
        super().close()
        self._performance.close()
        if self.endpoint:
            cut(self._loop, self.endpoint)


class Associating(Way):
    """To a relay of datagrams.  make: the relay; it is told what to call at its end."""

    def __init__(self, loop: Loop, make: Callable[[Callable[[], None]], DatagramRelay]) -> None:
        super().__init__(loop)
        self._make = make

    @property
    def bound(self) -> Place:
        return self.relay.bound if self.relay else NO_PLACE

    def _search(self) -> bool:
        self.relay = self._make(self.changed.notify)
        return False

    def close(self) -> None:
        super().close()
        if self.relay:
            self.relay.close()


class Association:
    """A task: lasts as long as `way.relay`, which it begins."""

    def __init__(self, loop: Loop, way: Way) -> None:
        self._way = way
        assert way.relay
        loop.spawn(way.relay)

    def advance(self) -> bool:
        assert self._way.relay
        if self._way.relay.over:
            return False
        raise WouldBlock(condition=self._way.changed)
