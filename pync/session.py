"""One connection from its opening to its end."""

from __future__ import annotations

from collections.abc import Callable

from pync.endings import AT_ONCE, CLOSINGS, ENDINGS, Closing, Terms, quiet_since
from pync.errors import NetworkError, PyncError
from pync.flow import Flow
from pync.loop import Loop
from pync.stream import NEVER, Condition, Endpoint, Ends, Sink, Source, WouldBlock
from pync.transports.memory import Discard


def as_it_is(source: Source) -> Source:
    return source


class Session:
    """A task: `local` and `remote`, which it closes, joined until that is over.

    inward is from local to remote, outward the way back; received wraps the source
    of what goes to local.  changed: notified when a flow has drained or is over, and when
    all is.  advance raises the error that ended it, if one did.
    """

    def __init__(
        self,
        loop: Loop,
        local: Ends,
        remote: Endpoint,
        terms: Terms,
        received: Callable[[Source], Source] = as_it_is,
    ) -> None:
        self.terms = terms
        self.remote = remote
        self.clock = loop.clock
        self._loop = loop
        self._local = local
        self.changed = Condition()
        if terms.keeps_unsent:
            remote.sink.keep_unsent()  # before a mover is chosen for it
        self.inward = self._flow(local.source, remote.sink, self._pass_end_on)
        self.outward = self._flow(received(remote.source), local.sink, self._end_local)
        self.closing: Closing | None = None
        self._unacknowledged = 0
        self._acknowledged_at = AT_ONCE

    def _flow(self, source: Source, sink: Sink, end: Callable[[], None] | None = None) -> Flow:
        flow = Flow(source, sink, self.clock, self.changed, end)
        self._loop.spawn(flow)
        return flow

    def advance(self) -> bool:
        now = self.clock()  # before the rows look at it: what they put off is due later
        earliest = NEVER
        try:
            for rule in CLOSINGS if self.closing else ENDINGS:
                due = rule.due(self)
                if due <= now:
                    return rule.act(self)
                earliest = min(earliest, due)
        except PyncError as error:
            self.break_off(error)
            raise
        raise WouldBlock(until=earliest, condition=self.changed)

    def _pass_end_on(self) -> None:
        """What happens at stdin's end in the place of remote.sink.end."""
        if self.inward.error or self._hides_failure(self.outward) or self._is_cut:
            raise WouldBlock  # it broke off, and that is not to look like an end
        if not (self.outward.over or self.closing):
            self._keep_end_back()
        if self.terms.sends_end:
            self.remote.sink.end()

    def _keep_end_back(self) -> None:
        """Raise WouldBlock as long as our end would be too early."""
        if self.terms.keeps_end_back and not self.inward.moved:
            raise WouldBlock(condition=self.changed)
        if self.terms.end_after_silence is not None:
            last = max(self.inward.drained_at, quiet_since(self, self.outward))
            due = last + self.terms.end_after_silence
            if self.clock() < due:
                raise WouldBlock(until=due, condition=self.changed)

    def _end_local(self) -> None:
        """End the local sink, which may close a descriptor that the loop watches.

        epoll goes on watching what is closed here as long as somebody else, such
        as the shell, has it open; then nothing could stop it any more.
        """
        if self._hides_failure(self.inward) or (self.terms.passes_failure and self._is_cut):
            return  # now the session breaks off
        for fd in self._local.sink.descriptors:
            self._loop.forget(fd)
        self._local.sink.end()

    def _hides_failure(self, other: Flow) -> bool:
        """Whether an end may be what a failure left: a socket tells that to one flow alone."""
        return self.terms.passes_failure and other.error is not None

    @property
    def _is_cut(self) -> bool:
        return self.closing is not None and self.closing.abrupt

    @property
    def undelivered(self) -> int:
        """Bytes taken from local that the peer's kernel has not acknowledged."""
        held = 0 if self.terms.keeps_unsent else self.inward.held
        return held + self.remote.sink.unacknowledged()

    @property
    def unsent(self) -> bytes:
        """Bytes taken from local that the system has not got, once all is over."""
        return self.remote.sink.take_back() + self.inward.left

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
        if closing.keeps_unsent:
            self._cancel(self.inward)
        else:
            self._stop(self.inward)
        if closing.drain_until > self.clock():
            self._cancel(self.outward)
            closing.drain = self._flow(self.remote.source, Discard())
        else:
            self._stop(self.outward)
        self.changed.notify()
        return True

    def _stop(self, flow: Flow) -> None:
        """Take in no more; what has been taken still comes out, and then the end."""
        flow.stop()
        self._loop.wake(flow)

    def _cancel(self, flow: Flow) -> None:
        """Stop moving, and leave things as they are."""
        self._loop.cancel(flow)
        flow.close()

    def finish(self, abrupt: bool) -> None:
        """Stop everything and let go of remote."""
        self._cancel(self.inward)
        self._cancel(self.outward)
        if self.closing and self.closing.drain:
            self._cancel(self.closing.drain)
        for fd in self.remote.descriptors:
            self._loop.forget(fd)
        if abrupt:
            self.remote.abort()
        else:
            self.remote.close()
        self.changed.notify()  # whoever advances this may be told why not to go on

    def break_off(self, error: PyncError) -> None:
        """End at once; `error` is told what was not delivered."""
        undelivered = self.undelivered
        if isinstance(error, NetworkError):
            error.undelivered = max(0, undelivered - len(self.remote.sink.take_back()))
        self.outward.flush()
        self.finish(abrupt=self.terms.passes_failure or undelivered > 0)
