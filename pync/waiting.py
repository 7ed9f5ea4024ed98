"""--wait-open: a connection that is tried for until it can be had."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from pync.connecting import Connecting
from pync.errors import NetworkError, ResolveError
from pync.loop import Loop
from pync.options import Options
from pync.redial import Pause
from pync.scan.targets import port_texts
from pync.stream import Endpoint, Peer, WouldBlock
from pync.transports import inet, transport_of
from pync.transports.inet import InetAddress, Lookup
from pync.transports.resolver import Resolver

PATIENCE = 5.0  # seconds that an attempt has, if no option says otherwise
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds from an attempt that failed to the next
GROWTH = 1.5


class Waiting:
    """Tries again and again, until the time of --wait-open is over.

    say: told why an attempt failed.
    """

    def __init__(self, options: Options, loop: Loop, say: Callable[[str], None]) -> None:
        self._options = options
        self._loop = loop
        self._say = say
        self._resolver = Resolver(loop)
        self._deadline = loop.clock() + (options.wait_open or 0)

    def each(self) -> Iterator[Options]:
        """The options for each port alone."""
        if not self._options.ports:
            yield self._options
        for port in port_texts(self._options.ports):
            yield self._options._replace(port=port, ports=())

    def connect(self, first: Options, finish: Callable[[Connecting], Endpoint]) -> Endpoint:
        """A connection.  Raises the last NetworkError when time is up.

        first: how to get to whoever is first on the way.  finish: sees a connection
        through to its end, or raises NetworkError.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                return finish(self._begin(first))
            except NetworkError as error:
                self._sleep(pause)
                if self._loop.clock() >= self._deadline:
                    raise
                self._say(str(error))
            pause = min(pause * GROWTH, LONGEST_PAUSE)

    def _sleep(self, pause: float) -> None:
        """Not quite so long: many that wait for the same are not to come all at once."""
        left = self._deadline - self._loop.clock()
        self._loop.run(Pause(self._loop, min(pause * random.uniform(0.5, 1), left)))  # noqa: S311

    def _begin(self, first: Options) -> Connecting:
        addresses = self._addresses(first)
        left = max(0.0, self._deadline - self._loop.clock())
        limited = first._replace(wait=min(first.connect_limit or PATIENCE, left))
        return Connecting(limited, self._loop, self._say, addresses)

    def _addresses(self, first: Options) -> Sequence[Peer]:
        """Looked up anew, in the time that is left."""
        if first.unixsock or first.nodns:
            return transport_of(first).addresses(first)
        protocol = "udp" if first.udp else "tcp"
        port = inet.port_number(first.port or "", protocol, first.nodns)
        lookup = self._resolver.look_up(first.host or "", port, protocol, first, "waiting")
        finding = Finding(lookup, first.host or "", self._loop.clock, self._deadline)
        self._loop.run(finding)
        return inet.within_reach(finding.addresses, first)

    def close(self) -> None:
        self._resolver.close()


class Finding:
    """A task: a host's addresses.  Raises ResolveError, also if there are none in time."""

    def __init__(
        self, lookup: Lookup, host: str, clock: Callable[[], float], deadline: float
    ) -> None:
        self.addresses: list[InetAddress] = []
        self._lookup = lookup
        self._host = host
        self._clock = clock
        self._deadline = deadline

    def advance(self) -> bool:
        try:
            self.addresses = self._lookup.finish()
        except WouldBlock as blocked:
            if self._clock() >= self._deadline:
                self._lookup.abandon()
                raise ResolveError(f"cannot resolve {self._host}: no answer in time") from None
            blocked.until = min(blocked.until, self._deadline)
            raise
        return False
