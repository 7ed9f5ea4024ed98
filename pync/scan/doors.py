"""From targets to doors: a port of a host, with all the addresses that it may be behind."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from pync.errors import ResolveError
from pync.scan.targets import Hosts
from pync.stream import EndOfStream
from pync.transports.inet import InetAddress, Lookup

AHEAD = 16  # names that are looked up before their turn comes


class Doors:
    """Gives them one after the other, each host's ports together.

    look_up: of a host's name or number.  usable: those of its addresses that can be tried,
    or UsageError.  ports: those of a host, in the order wanted.
    complain: told of names without an address, which have no doors.
    """

    def __init__(
        self,
        hosts: Sequence[Hosts],
        ports: Callable[[], Iterable[int]],
        look_up: Callable[[str], Lookup],
        usable: Callable[[list[InetAddress]], list[InetAddress]],
        complain: Callable[[str], None],
    ) -> None:
        self._names = (str(host) for some in hosts for host in some.each)
        self._ports_of_a_host = ports
        self._look_up = look_up
        self._usable = usable
        self._complain = complain
        self._lookups: deque[Lookup] = deque()
        self._addresses: list[InetAddress] = []
        self._ports: Iterator[int] = iter(())

    def next(self) -> list[InetAddress]:
        """The addresses of one.  Raises WouldBlock, EndOfStream, or UsageError."""
        while True:
            for port in self._ports:
                return [address.at(port) for address in self._addresses]
            self._addresses = self._next_host()
            self._ports = iter(self._ports_of_a_host() if self._addresses else ())

    def _next_host(self) -> list[InetAddress]:
        for name in itertools.islice(self._names, AHEAD - len(self._lookups)):
            self._lookups.append(self._look_up(name))
        if not self._lookups:
            raise EndOfStream
        try:
            found = self._lookups[0].finish()
        except ResolveError as error:
            self._complain(str(error))
            found = []
        self._lookups.popleft()
        return self._usable(found) if found else []

    def close(self) -> None:
        for lookup in self._lookups:
            lookup.abandon()
