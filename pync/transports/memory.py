"""A pipe inside the process."""

from __future__ import annotations

from pync.stream import Condition, EndOfStream, Sink, Source, WouldBlock


class MemoryPipe(Source, Sink):
    """Holds at most `capacity` bytes on their way from write to read.

    backlog counts them.  changed is notified when either side may go on.
    """

    def __init__(self, capacity: int) -> None:
        self.changed = Condition()
        self._capacity = capacity
        self._buffer = bytearray()
        self._ended = False

    @property
    def backlog(self) -> int:
        return len(self._buffer)

    @property
    def room(self) -> int:
        return self._capacity - len(self._buffer)

    def read(self, limit: int) -> bytes:
        if not self._buffer:
            if self._ended:
                raise EndOfStream
            raise WouldBlock(condition=self.changed)
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        self.changed.notify()
        return data

    def write(self, data: bytes | memoryview) -> int:
        if not self.room:
            raise WouldBlock(condition=self.changed)
        taken = data[: self.room]
        self._buffer += taken
        self.changed.notify()
        return len(taken)

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
    """Gives these pieces, one for each read, and ends."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def read(self, limit: int) -> bytes:  # noqa: ARG002
        if not self._pieces:
            raise EndOfStream
        return self._pieces.pop(0)
