"""A pipe inside the process."""

from __future__ import annotations

from collections import deque

from pync.stream import Condition, EndOfStream, Sink, Source, WouldBlock


class MemoryPipe(Source, Sink):
    """Holds at most `capacity` bytes on their way from write to read, in the pieces they came in.

    A piece counts for more than its bytes, since small ones cost memory too.
    changed is notified when either side may go on.
    """

    PIECE_COST = 64  # bytes

    def __init__(self, capacity: int) -> None:
        self.changed = Condition()
        self._held = 0
        self._capacity = capacity
        self._pieces: deque[bytes] = deque()
        self._ended = False

    @property
    def backlog(self) -> int:
        return self._held

    @property
    def room(self) -> int:
        """Bytes that a write may give."""
        return max(0, self._capacity - self._held - self.PIECE_COST * len(self._pieces))

    def read(self, limit: int) -> bytes:
        if not self._pieces:
            if self._ended:
                raise EndOfStream
            raise WouldBlock(condition=self.changed)
        piece = self._pieces.popleft()
        if len(piece) > limit:
            self._pieces.appendleft(piece[limit:])
            piece = piece[:limit]
        self._held -= len(piece)
        self.changed.notify()
        return piece

    def write(self, data: bytes | memoryview) -> int:
        if not self.room:
            raise WouldBlock(condition=self.changed)
        piece = bytes(data[: self.room])
        self._pieces.append(piece)
        self._held += len(piece)
        self.changed.notify()
        return len(piece)

    def end(self) -> None:
        self._ended = True
        self.changed.notify()


class Silence(Source):
    """Gives nothing and never ends."""

    def read(self, limit: int) -> bytes:  # noqa: ARG002
        raise WouldBlock


class Discard(Sink):
    """Takes everything and keeps nothing."""

    def write(self, data: bytes | memoryview) -> int:
        return len(data)


class Given(Source):
    """Gives these pieces, one for each read as far as that may take it, and ends."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def read(self, limit: int) -> bytes:
        if not self._pieces:
            raise EndOfStream
        piece = self._pieces.pop(0)
        if len(piece) > limit:
            self._pieces.insert(0, piece[limit:])
        return piece[:limit]
