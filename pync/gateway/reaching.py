"""The way to a target: from its name to a connection."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from pync.dial import Connecting
from pync.errors import ConnectError, PyncError
from pync.loop import Loop
from pync.opening import cut
from pync.stream import Condition, Endpoint, Peer, WouldBlock
from pync.transports.resolver import Lookup


class Reaching:
    """A task: the way to a target, from its name to a connection.

    over, with either endpoint or error, in any case; changed is notified then.
    """

    def __init__(
        self,
        loop: Loop,
        target: str,
        look_up: Callable[[], Lookup],
        abandon: Callable[[Lookup], None],
        connect: Callable[[Sequence[Peer]], Connecting],
        deadline: float,
    ) -> None:
        self.changed = Condition()
        self.over = False
        self.endpoint: Endpoint | None = None
        self.error: PyncError | None = None
        self._loop = loop
        self._target = target
        self._look_up = look_up
        self._abandon = abandon
        self._lookup: Lookup | None = None
        self._connect = connect
        self._connecting: Connecting | None = None
        self._deadline = deadline

    def advance(self) -> bool:
        try:
            if self._step():
                return True
        except WouldBlock as blocked:
            if self._loop.clock() < self._deadline:
                blocked.until = min(blocked.until, self._deadline)
                raise
            self._stop_looking()
            message = f"cannot resolve {self._target}: timed out"
            self.error = ConnectError(message, errno.ETIMEDOUT)
        except PyncError as error:
            self.error = error
        self.over = True
        self.changed.notify()
        return False

    def _step(self) -> bool:
        if self._connecting is None:
            self._lookup = self._lookup or self._look_up()
            self._connecting = self._connect(self._lookup.finish())
            self._connecting.deadline = self._deadline
        again = self._connecting.advance()
        self.endpoint = self._connecting.endpoint
        return again

    def _stop_looking(self) -> None:
        if self._lookup:
            self._abandon(self._lookup)

    def close(self) -> None:
        """Give it up, with the connection if there is one."""
        self._loop.cancel(self)
        self._stop_looking()
        if self._connecting:
            self._connecting.close()
        if self.endpoint:
            cut(self._loop, self.endpoint)
