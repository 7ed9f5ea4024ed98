"""A session on a machine that takes its time between two looks at the clock."""

from __future__ import annotations

from pync.endings import Terms
from pync.loop import Loop
from pync.session import Session
from pync.stream import Endpoint, Ends, Sink
from pync.transports.memory import Discard, Given
from pync.transports.unix import UnixAddress


class SlowClock:
    """It goes on by half a second whenever somebody looks."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


class Acknowledging(Sink):
    """Its peer acknowledges a byte whenever somebody asks."""

    waiting = 0

    def write(self, data: bytes | memoryview) -> int:
        self.waiting += len(data)
        return len(data)

    def unacknowledged(self) -> int:
        self.waiting = max(0, self.waiting - 1)
        return self.waiting


def test_the_next_look_at_what_is_unacknowledged_is_not_taken_for_its_end() -> None:
    waiting = []

    class Remote(Endpoint):
        def close(self) -> None:
            waiting.append(sink.waiting)

    sink = Acknowledging()
    with Loop(SlowClock()) as loop:
        remote = Remote(Given(), sink, UnixAddress("peer"))
        loop.run(Session(loop, Ends(Given(b"words"), Discard()), remote, Terms()))
    assert waiting == [0]
