"""A pipe inside the process."""

from __future__ import annotations

from collections import deque

from pync.stream import Condition, EndOfStream, Sink, Source, WouldBlock


class MemoryPipe(Source, Sink):
    """Holds at most `capacity` bytes on their way from write to read.

    A piece counts for more than its bytes, since small ones cost memory too.
    framed: each piece comes out as it went in; otherwise several may come out as one.
    changed is notified when either side may go on.  ended: whether no more is put in.
    """

    PIECE_COST = 64  # bytes
    JOINED = 1 << 16  # bytes of pieces that come out as one; more would be copied for nothing

    def __init__(self, capacity: int, *, framed: bool = False) -> None:
        self.changed = Condition()
        self.framed = framed
        self._held = 0
        self.capacity = capacity
        self._pieces: deque[bytes] = deque()
        self.ended = False

    @property
    def backlog(self) -> int:
        return self._held

    @property
    def filled(self) -> int:
        """How much of the capacity is in use; put may use more than there is."""
        return self._held + self.PIECE_COST * len(self._pieces)

    @property
    def room(self) -> int:
        """Bytes that a write may give."""
        return max(0, self.capacity - self.filled)

    def read(self, limit: int) -> bytes:
        pieces = self._pieces
        if not pieces:
            if self.ended:
                raise EndOfStream
            raise WouldBlock(condition=self.changed)
        piece = pieces.popleft()
        if pieces and not self.framed and len(piece) < self.JOINED:
            piece = self._joined(piece)
        if len(piece) > limit:
            pieces.appendleft(piece[limit:])
            piece = piece[:limit]
        self._held -= len(piece)
        self.changed.notify()
        return piece

    def _joined(self, first: bytes) -> bytes:
        """`first` and what comes next, as far as that is little."""
        pieces, joined, size = self._pieces, [first], len(first)
        while pieces and size + len(pieces[0]) <= self.JOINED:
            joined.append(pieces.popleft())
            size += len(joined[-1])
        return b"".join(joined)

    def write(self, data: bytes | memoryview) -> int:
        room = self.room
        if not room:
            raise WouldBlock(condition=self.changed)
        piece = bytes(data[:room])
        self.put(piece)
        return len(piece)

    def put(self, piece: bytes) -> None:
        """Take all of `piece`, whatever room there is."""
        self._pieces.append(piece)
        self._held += len(piece)
        self.changed.notify()

    def end(self) -> None:
        self.ended = True
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
