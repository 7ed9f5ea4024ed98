"""HTTP exchanges on their way through a proxy."""

from __future__ import annotations

from collections.abc import Callable

from pync.errors import PyncError, TimedOut
from pync.flow import Flow
from pync.loop import Loop
from pync.stage import Stage
from pync.stream import Endpoint, Sink, Source, WouldBlock
from pync.wire.http.exchange import Exchange

REQUEST_TIMEOUT, BAD_GATEWAY, GATEWAY_TIMEOUT = 408, 502, 504


class Passage:
    """A task: leads `exchange` between `client` and `origin`, which it closes.

    limit: seconds without progress until the origin is given up.  It is over when the
    client has the response, or what is told in its place; exchange.failure says which.
    advance raises NetworkError if the client is lost.
    """

    def __init__(
        self, loop: Loop, client: Endpoint, origin: Endpoint, exchange: Exchange, limit: float
    ) -> None:
        stage = Stage(exchange)
        self._loop = loop
        self._changed = stage.changed
        self._client = client
        self._origin = origin
        self._exchange = exchange
        self._limit = limit
        self._since = loop.clock()
        self._end_answer = stage.plain.sink.end
        self._asking = self._flow(client.source, stage.wire.sink, stage.wire.sink.end)
        self._answering = self._flow(stage.wire.source, client.sink, lambda: None)
        self._answer = self._flow(origin.source, stage.plain.sink, self._pass_end_on)
        # This one the origin may refuse, and answer.
        self._question = self._flow(stage.plain.source, origin.sink, origin.sink.end)
        self._flows = (self._asking, self._answering, self._answer, self._question)

    def _flow(self, source: Source, sink: Sink, end: Callable[[], None]) -> Flow:
        flow = Flow(source, sink, self._loop.clock, self._changed, end)
        self._loop.spawn(flow)
        return flow

    def _pass_end_on(self) -> None:
        """Unless it is what a reset left: a socket tells that once, and the writing has met it."""
        if self._question.error:
            raise self._question.error
        self._end_answer()

    def advance(self) -> bool:
        if self._answering.error or not (self._asking.error is None or self._exchange.over):
            self._give_up(self._answering.error or self._asking.error)
        due = max(self._since, *(flow.moved_at for flow in self._flows)) + self._limit
        if self._exchange.over:
            self._stop_asking()
            if self._answering.over and self._asking.over:
                self._close()
                return False
            if due <= self._loop.clock():
                self._give_up(TimedOut("takes nothing"))
        elif self._answer.error:
            self._fail(BAD_GATEWAY, str(self._answer.error))
        elif due <= self._loop.clock():
            self._fail(*self._silence())
        raise WouldBlock(until=due, condition=self._changed)

    def _silence(self) -> tuple[int, str]:
        """Whose it is: the client may not have said all that it wants."""
        if self._exchange.asked or self._question.stuck:
            return GATEWAY_TIMEOUT, f"{self._origin.peer} does not answer"
        return REQUEST_TIMEOUT, "says only half of its request"

    def _stop_asking(self) -> None:
        """What has been read of the next request is kept; no more is."""
        self._asking.stop()
        self._loop.wake(self._asking)

    def _fail(self, status: int, why: str) -> None:
        self._since = self._loop.clock()
        self._exchange.fail(status, why)
        self._changed.notify()

    def _give_up(self, error: PyncError | None) -> None:
        assert error
        self._close()
        raise error

    def _close(self) -> None:
        for flow in self._flows:
            self._loop.cancel(flow)
            flow.close()
        for fd in self._origin.descriptors:
            self._loop.forget(fd)
        self._origin.close()
