"""Two ends joined by flows, both ways, with any stages in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pync.errors import PyncError
from pync.flow import Flow
from pync.loop import Loop
from pync.stream import NEVER, Condition, Ends, Source

if TYPE_CHECKING:
    from pync.stage import Stage


class Direction:
    """The flows that bytes pass one way, in their order."""

    def __init__(self, flows: Sequence[Flow]) -> None:
        self.flows = flows

    @property
    def over(self) -> bool:
        return self.flows[-1].over

    @property
    def error(self) -> PyncError | None:
        return next((flow.error for flow in self.flows if flow.error), None)

    @property
    def held(self) -> int:
        """Bytes that came in at the beginning and have not come out at the end."""
        return sum(flow.held for flow in self.flows)

    @property
    def stuck(self) -> bool:
        """Whether there is something to move that does not come out at the end."""
        return any(flow.stuck for flow in self.flows)

    @property
    def taken(self) -> int:
        """Bytes that came in at the beginning and went on from there."""
        return self.flows[0].moved

    @property
    def given(self) -> int:
        """Bytes that came out at the end."""
        return self.flows[-1].moved

    @property
    def failed_at(self) -> float:
        """When one of the flows failed; NEVER: none has."""
        return min((flow.over_at for flow in self.flows if flow.error), default=NEVER)

    @property
    def moved_at(self) -> float:
        return max(flow.moved_at for flow in self.flows)

    @property
    def drained_at(self) -> float:
        """When the source at the beginning ended; NEVER: it has not."""
        at = self.flows[0].drained_at
        return NEVER if at is None else at


class Relay:
    """`local` and `remote` joined through `stages`.

    inward is from local to remote, outward the way back.  changed is notified
    when a flow has drained or is over.  end_remote takes the place of
    remote.sink.end, to decide whether and when the end is passed on; received
    wraps the source of what goes to local.
    """

    def __init__(
        self,
        loop: Loop,
        local: Ends,
        stages: Sequence[Stage],
        remote: Ends,
        end_remote: Callable[[], None],
        received: Callable[[Source], Source],
    ) -> None:
        self.changed = Condition()
        self._loop = loop
        self._local = local
        joints = chain(local, stages, remote)
        ends = [*(None for _ in stages), end_remote]
        back_ends = [self._end_local, *(None for _ in stages)]
        taps = [received, *(as_it_is for _ in stages)]
        clock, changed = loop.clock, self.changed
        self.inward = Direction(
            [
                Flow(near.source, far.sink, clock, changed, end)
                for (near, far), end in zip(joints, ends, strict=True)
            ]
        )
        self.outward = Direction(
            [
                Flow(tap(far.source), near.sink, clock, changed, end)
                for (near, far), tap, end in reversed(
                    list(zip(joints, taps, back_ends, strict=True))
                )
            ]
        )

    def _end_local(self) -> None:
        """End the local sink, which may close a descriptor that the loop watches.

        epoll goes on watching what is closed here as long as somebody else, such
        as the shell, has it open; then nothing could stop it any more.
        """
        for fd in self._local.sink.descriptors:
            self._loop.forget(fd)
        self._local.sink.end()

    def start(self) -> None:
        for flow in (*self.inward.flows, *self.outward.flows):
            self._loop.spawn(flow)

    def stop(self, direction: Direction) -> None:
        """Take in no more; what has been taken still comes out, and then the end."""
        first = direction.flows[0]
        first.stop()
        self._loop.wake(first)

    def cancel(self, direction: Direction) -> None:
        """Stop moving, and leave things as they are."""
        for flow in direction.flows:
            self._loop.cancel(flow)
            flow.close()


def as_it_is(source: Source) -> Source:
    return source


def chain(local: Ends, stages: Sequence[Stage], remote: Ends) -> list[tuple[Ends, Ends]]:
    """The joints: local with the first stage, each stage with the next, the last with remote."""
    faces = [local, *(face for stage in stages for face in (stage.plain, stage.wire)), remote]
    return list(zip(faces[::2], faces[1::2], strict=True))
