"""One connection from its opening to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pync.endings import AT_ONCE, CLOSINGS, ENDINGS, Closing, Terms
from pync.errors import NetworkError, PyncError
from pync.flow import Flow
from pync.loop import Loop
from pync.relay import Relay, as_it_is
from pync.stream import NEVER, Endpoint, Ends, Source, WouldBlock
from pync.transports.memory import Discard

if TYPE_CHECKING:
    from pync.stage import Stage


class Session:
    """A task: `local` and `remote`, which it closes, joined until that is over.

    advance raises the error that ended it, if one did.  stages and received: as
    in Relay.
    """

    def __init__(
        self,
        loop: Loop,
        local: Ends,
        remote: Endpoint,
        terms: Terms,
        stages: Sequence[Stage] = (),
        received: Callable[[Source], Source] = as_it_is,
    ) -> None:
        self.terms = terms
        self.remote = remote
        self.clock = loop.clock
        self._loop = loop
        far = Ends(remote.source, remote.sink)
        self._relay = Relay(loop, local, stages, far, self._pass_end_on, received)
        self.inward = self._relay.inward
        self.outward = self._relay.outward
        self.closing: Closing | None = None
        self._unacknowledged = 0
        self._acknowledged_at = AT_ONCE
        self._relay.start()

    def advance(self) -> bool:
        earliest = NEVER
        try:
            for rule in CLOSINGS if self.closing else ENDINGS:
                due = rule.due(self)
                if due <= self.clock():
                    return rule.act(self)
                earliest = min(earliest, due)
        except PyncError as error:
            self.break_off(error)
            raise
        raise WouldBlock(until=earliest, condition=self._relay.changed)

    def _pass_end_on(self) -> None:
        """What happens at stdin's end in the place of remote.sink.end."""
        if self.inward.error:
            raise WouldBlock  # it broke off, and that is not to look like an end
        waits = self.terms.keeps_end_back and not self.inward.taken
        if waits and not self.outward.over and not self.closing:
            raise WouldBlock(condition=self._relay.changed)
        if self.terms.sends_end:
            self.remote.sink.end()

    @property
    def undelivered(self) -> int:
        """Bytes taken from local that the peer's kernel has not acknowledged."""
        return self.inward.held + self.remote.sink.unacknowledged()

    @property
    def error(self) -> PyncError | None:
        """What has failed so far, the cause before what follows from it."""
        drain = self.closing and self.closing.drain
        return self.outward.error or self.inward.error or (drain and drain.error) or None

    @property
    def progress_at(self) -> float:
        """When a byte last moved, either way, or was acknowledged."""
        waiting = self.remote.sink.unacknowledged()
        if waiting != self._unacknowledged:
            self._unacknowledged = waiting
            self._acknowledged_at = self.clock()
        return max(self.inward.moved_at, self.outward.moved_at, self._acknowledged_at)

    def close(self, closing: Closing) -> bool:
        """Begin to end as `closing` says; True, since that goes on."""
        self.closing = closing
        closing.since = self.clock()
        if closing.abrupt:
            self._relay.cancel(self.inward)
        else:
            self._relay.stop(self.inward)
        if closing.drain_until > self.clock():
            self._relay.cancel(self.outward)
            clock, changed = self.clock, self._relay.changed
            closing.drain = Flow(self.remote.source, Discard(), clock, changed)
            self._loop.spawn(closing.drain)
        else:
            self._relay.stop(self.outward)
        self._relay.changed.notify()
        return True

    def finish(self, abrupt: bool) -> None:
        """Stop everything and let go of remote."""
        self._relay.cancel(self.inward)
        self._relay.cancel(self.outward)
        if self.closing and self.closing.drain:
            self._loop.cancel(self.closing.drain)
        for fd in self.remote.descriptors:
            self._loop.forget(fd)
        if abrupt:
            self.remote.abort()
        else:
            self.remote.close()

    def break_off(self, error: PyncError) -> None:
        """End at once; `error` is told what was not delivered."""
        undelivered = self.undelivered
        if isinstance(error, NetworkError):
            error.undelivered = undelivered
        self.finish(abrupt=undelivered > 0)
