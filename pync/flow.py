"""One direction: bytes from a source to a sink, and then the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pync.bypass import GiveUp
from pync.errors import PyncError
from pync.movers import Copy, Mover, choose_mover
from pync.stream import NEVER, Condition, EndOfStream, Sink, Source, WouldBlock

BUDGET = 8  # pieces moved before others get their turn


class Flow:
    """A task that moves everything from `source` to `sink`, then ends the sink.

    changed is notified when the source has ended, and when the flow is over.
    end replaces sink.end where the end is not simply passed on; like it, it may
    raise WouldBlock.

    moved: bytes.  drained_at, over_at: when, by `clock`, the source gave its last,
    and when there was nothing left to do; over: whether it is so.  error: why, if
    not because of the end.  left: what the source has given and the sink not got, once
    that is sure.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        clock: Callable[[], float],
        changed: Condition,
        end: Callable[[], None] | None = None,
    ) -> None:
        self.source = source
        self.sink = sink
        self.moved = 0
        self.drained_at = NEVER
        self.over = False
        self.over_at = NEVER
        self.error: PyncError | None = None
        self.left = b""
        self._clock = clock
        self._moved_at = clock()
        self._changed = changed
        self._end = end or sink.end
        self._stopping = False
        self._mover: Mover = choose_mover(source, sink)

    @property
    def moved_at(self) -> float:
        """When a byte last moved, here or further up or down."""
        return max(self._moved_at, self.source.moved_at, self.sink.moved_at)

    @property
    def held(self) -> int:
        """Bytes taken from the source, or waiting inside it, that the sink has not got."""
        return self._mover.held + self.source.backlog

    @property
    def stuck(self) -> bool:
        """Whether there is something to move that the sink does not take."""
        return self._mover.stuck or self.source.backlog > 0

    def stop(self) -> None:
        """Read no more: what is held is still written, then the end follows."""
        self._stopping = True
        self.source.stop()

    def flush(self) -> None:
        """Stop, and write what is held as far as that is taken at once."""
        self.stop()
        with suppress(WouldBlock, EndOfStream, GiveUp, PyncError):
            while self.held and not self.over:
                self.moved += self._mover.move()

    def close(self) -> None:
        """Move no more: let go of what that needed, and of whoever was to hear of the end."""
        self.left = self.left or self._mover.take_back()
        self._mover.close()
        self._end = self.sink.end

    def advance(self) -> bool:
        try:
            if self.drained_at == NEVER and self._move():
                return True
            self._end()
        except PyncError as error:
            self.error = error
        self.close()
        self.over = True
        self.over_at = self._clock()
        self._changed.notify()
        return False

    def _move(self) -> bool:
        """Move a few pieces; whether there may be more."""
        try:
            for _ in range(BUDGET):
                if self._stopping and not self.held:
                    self._take_what_is_stuck()
                else:
                    self.moved += self._mover.move()
                self._moved_at = self._clock()
        except GiveUp as refused:
            self._copy_from_here(refused.held)
        except EndOfStream:
            self.drained_at = self._clock()
            self._changed.notify()
            return False
        return True

    def _take_what_is_stuck(self) -> None:
        """What waits for the sink counts as held, a piece of it, also where none has been taken.

        Raises EndOfStream where there is nothing.
        """
        if not self._mover.stuck:
            raise EndOfStream
        self._copy_from_here()
        try:
            self.moved += self._mover.move()
        except WouldBlock:
            if not self.held:  # somebody else has taken it
                raise EndOfStream from None
            raise

    def _copy_from_here(self, held: bytes = b"") -> None:
        self._mover.close()
        self._mover = Copy(self.source, self.sink, held)
