"""Doors: a port of a host, with all the addresses that it may be behind; from targets to them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from pync.errors import ResolveError
from pync.loop import Loop
from pync.scan.targets import Hosts
from pync.scan.trial import Outcome, Trial
from pync.stream import Condition, EndOfStream, WouldBlock
from pync.transports.inet import InetAddress, Lookup

AHEAD = 16  # names that are looked up before their turn comes


class Host:
    """What all the doors of one have in common.

    busy: how many of them are being tried for the first time.  refuses: whether one did.
    silent: those that are to be asked again.  queued: whether that has a time.
    unmoved: how many in a row still were silent then.  given_up: no more are asked again.
    """

    __slots__ = ("busy", "given_up", "queued", "refuses", "silent", "unmoved")

    def __init__(self) -> None:
        self.busy = 0
        self.refuses = False
        self.silent: deque[Door] = deque()
        self.queued = False
        self.unmoved = 0
        self.given_up = False


class Door:
    """A port whose addresses are being tried: the best that one of them says counts."""

    __slots__ = ("addresses", "again", "best", "host", "under_way", "untried")

    def __init__(self, addresses: list[InetAddress], host: Host, *, again: bool = False) -> None:
        self.addresses = addresses
        self.host = host
        self.again = again
        self.untried = addresses[:]
        self.under_way: list[UnderWay] = []
        self.best: Outcome | None = None

    def note(self, outcome: Outcome) -> None:
        if self.best is None or outcome.state > self.best.state:
            self.best = outcome


class UnderWay:
    """A task: a trial that the loop waits for."""

    def __init__(self, trial: Trial, door: Door, over: Callable[[UnderWay], None]) -> None:
        self.trial = trial
        self.door = door
        self._over = over

    def advance(self) -> bool:
        self.trial.advance()
        self._over(self)
        return False


class Finding:
    """A task: looks up a host until `deadline`.  over: called with this, once it is."""

    def __init__(
        self,
        name: str,
        lookup: Lookup,
        clock: Callable[[], float],
        deadline: float,
        over: Callable[[Finding], None],
    ) -> None:
        self.lookup = lookup
        self._addresses: list[InetAddress] = []
        self._error: ResolveError | None = None
        self.name = name
        self._clock = clock
        self._deadline = deadline
        self._over = over

    def advance(self) -> bool:
        try:
            self._addresses = self.lookup.finish()
        except WouldBlock as blocked:
            if self._clock() < self._deadline:
                blocked.until = self._deadline
                raise
            self.lookup.abandon()
            self._error = ResolveError(f"cannot resolve {self.name}: timed out")
        except ResolveError as error:
            self._error = error
        self._over(self)
        return False

    def result(self) -> list[InetAddress]:
        """The host's addresses, once it is over.  Raises ResolveError."""
        if self._error:
            raise self._error
        return self._addresses


class Doors:
    """Gives them one after the other, each host's ports together.

    The host comes first whose address is known first: none waits for a dead name.

    look_up: of a host's name or number.  patience: seconds that it has.  usable: those of
    its addresses that can be tried, or PyncError.  ports: those of a host, in the order
    wanted.  complain: told of a host that has no doors, and why.
    """

    def __init__(
        self,
        loop: Loop,
        hosts: Sequence[Hosts],
        ports: Callable[[], Iterable[int]],
        look_up: Callable[[str], Lookup],
        patience: float,
        usable: Callable[[list[InetAddress]], list[InetAddress]],
        complain: Callable[[str, str], None],
    ) -> None:
        self._loop = loop
        self._names = (str(host) for some in hosts for host in some.each)
        self._ports_of_a_host = ports
        self._look_up = look_up
        self._patience = patience
        self._usable = usable
        self._complain = complain
        self._sought: set[Finding] = set()
        self._found: deque[Finding] = deque()
        self._changed = Condition()
        self._addresses: list[InetAddress] = []
        self._host = Host()
        self._ports: Iterator[int] = iter(())

    def next(self) -> Door:
        """Raises WouldBlock, EndOfStream, or UsageError."""
        while True:
            for port in self._ports:
                return Door([address.at(port) for address in self._addresses], self._host)
            self._addresses = self._next_host()
            self._host = Host()
            self._ports = iter(self._ports_of_a_host() if self._addresses else ())

    def _next_host(self) -> list[InetAddress]:
        self._look_ahead()
        if not self._found:
            raise WouldBlock(condition=self._changed) if self._sought else EndOfStream
        found = self._found.popleft()
        try:
            return self._usable(found.result())
        except ResolveError as error:
            self._complain(found.name, str(error))
            return []

    def _look_ahead(self) -> None:
        room = AHEAD - len(self._sought) - len(self._found)
        for name in itertools.islice(self._names, max(0, room)):
            deadline = self._loop.clock() + self._patience
            finding = Finding(name, self._look_up(name), self._loop.clock, deadline, self._over)
            self._sought.add(finding)
            try:
                finding.advance()
            except WouldBlock:
                self._loop.spawn(finding)

    def _over(self, finding: Finding) -> None:
        self._sought.remove(finding)
        self._found.append(finding)
        self._changed.notify()

    def outcomes(self, best: Outcome, door: Door) -> Iterable[Outcome]:  # noqa: ARG002
        """What is to be told now that `best` has become of a door."""
        return (best,)

    def close(self) -> None:
        for finding in self._sought:
            self._loop.cancel(finding)
            finding.lookup.abandon()
