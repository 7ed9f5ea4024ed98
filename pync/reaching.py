"""From what is to be reached to a connection that is ready for the first byte, as a script.

A script is a generator that yields tasks, one after the other, and is told of what one
raises.  To close it is to give up what it is at.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from pync.errors import ConnectError, PyncError, UsageError, WantsNewConnection
from pync.options import Options
from pync.stream import Endpoint, Peer, WouldBlock
from pync.transports import inet, transport_of

if TYPE_CHECKING:
    from pync.connecting import Connecting
    from pync.loop import Task
    from pync.opening import Opening
    from pync.proxies import Hop
    from pync.transports.inet import InetAddress, Lookup

Result = TypeVar("Result")
Script = Generator["Task", None, Result]
Search = Callable[[str, int, str, Options], "Lookup"]  # as inet.look_up, beside the loop


class Performance(Generic[Result]):
    """A task: performs a script, and raises what that does not catch.  result: what it returns."""

    result: Result

    def __init__(self, script: Script[Result]) -> None:
        self._script = script
        self._task: Task | None = None  # the script has not begun

    def advance(self) -> bool:
        try:
            self._go_on()
        except StopIteration as end:
            self.result = end.value
            return False
        return True

    def _go_on(self) -> None:
        try:
            if self._task and self._task.advance():
                return
        except PyncError as error:
            self._task = self._script.throw(error)
        else:
            self._task = next(self._script)

    def close(self) -> None:
        self._script.close()


class LookingUp:
    """A task: waits for what `lookup` finds, until `deadline`.  host: whose addresses they are."""

    def __init__(
        self, host: str, lookup: Lookup, clock: Callable[[], float], deadline: float
    ) -> None:
        self.found: list[InetAddress] = []
        self._host = host
        self._lookup = lookup
        self._clock = clock
        self._deadline = deadline

    def advance(self) -> bool:
        try:
            self.found = self._lookup.finish()
        except WouldBlock as blocked:
            if self._clock() >= self._deadline:
                why = f"cannot resolve {self._host}: timed out"
                raise ConnectError(why, errno.ETIMEDOUT) from None
            blocked.until = min(blocked.until, self._deadline)
            raise
        return False


def look_up(
    host: str, lookup: Lookup, clock: Callable[[], float], deadline: float
) -> Script[list[InetAddress]]:
    """The addresses of `host`.  Raises NetworkError if there are none, or none in time."""
    looking = LookingUp(host, lookup, clock, deadline)
    try:
        yield looking
    finally:
        lookup.abandon()
    return looking.found


def find(
    options: Options, search: Search, clock: Callable[[], float], deadline: float
) -> Script[Sequence[Peer]]:
    """Where to connect to; only a name needs `search`.

    Raises NetworkError as look_up does, and UsageError.
    """
    try:
        return transport_of(options).addresses(options._replace(nodns=True))
    except UsageError:
        if options.nodns:
            raise
    host, protocol = options.host or "", "udp" if options.udp else "tcp"
    port = inet.port_number(options.port or "", protocol, options.nodns)
    lookup = search(host, port, protocol, options)
    found = yield from look_up(host, lookup, clock, deadline)
    return inet.within_reach(found, options)


def connect(
    connecting: Connecting,
    open_endpoint: Callable[[Endpoint, float], Opening] | None = None,
    hop: Hop | None = None,
) -> Script[Endpoint]:
    """The connection, once what comes first on it is over.

    open_endpoint: leads that, until a deadline; None: nothing does.  hop: the proxy that is
    connected to, if it is one.  One of those on the way may want a new connection, and
    gets it.
    """
    while True:
        try:
            yield connecting
        except ConnectError as error:
            raise hop.out_of_reach(error) if hop else error from None
        finally:
            connecting.close()
        assert connecting.endpoint
        if open_endpoint is None:
            return connecting.endpoint
        opening = open_endpoint(connecting.endpoint, connecting.deadline)
        try:
            yield opening
        except WantsNewConnection:
            connecting.again(opening.deadline)
        except GeneratorExit:
            opening.close()
            raise
        else:
            return opening.endpoint
