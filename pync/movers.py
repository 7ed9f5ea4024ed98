"""How the bytes of one direction are moved.

A flow takes the first mover that accepts its source and sink.  A mover holds at
most one chunk and reads nothing while it holds one; that is all the
backpressure there is, and it is enough.
"""

from __future__ import annotations

from typing import Protocol

from pync.stream import Sink, Source

CHUNK = 256 * 1024  # bytes; smaller costs system calls, larger costs cache


class Mover(Protocol):
    """One way of moving."""

    @property
    def held(self) -> int:
        """Bytes taken from the source that the sink has not got."""

    def move(self) -> int:
        """Move a chunk, or a part, and return how many bytes the sink took.

        Raises WouldBlock, EndOfStream once all is moved, or what source and
        sink raise.
        """


class Copy:
    """Read a chunk, write it.  Works between any two ends."""

    def __init__(self, source: Source, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        self._limit = min(CHUNK, sink.limit)
        self._chunk: memoryview | None = None

    @classmethod
    def accepts(cls, source: Source, sink: Sink) -> bool:  # noqa: ARG003
        return True

    @property
    def held(self) -> int:
        return len(self._chunk) if self._chunk else 0

    def move(self) -> int:
        if self._chunk is None:
            self._chunk = memoryview(self._source.read(self._limit))
        taken = self._sink.write(self._chunk)
        self._chunk = self._chunk[taken:] if taken < len(self._chunk) else None
        return taken


MOVERS = (Copy,)


def choose_mover(source: Source, sink: Sink) -> Mover:
    """The first mover for these two ends."""
    return next(mover(source, sink) for mover in MOVERS if mover.accepts(source, sink))
