"""How the bytes of one direction are moved.

Theory.  Copy works between any two ends: it reads a piece into memory, and
writes it.  Where both ends are descriptors whose bytes are the stream's bytes
(raw_fd), the kernel can do with fewer copies:

    SendFile  a file to a socket
    Splice    a pipe to a socket, a socket to a pipe
    Conduit   a socket to a device or a socket: Splice through a pipe of ours

A flow takes the first mover of MOVERS that accepts its two ends.  What the
kernel refuses, at the first try or at any later one, and what may be the end,
is met with GiveUp, and the flow goes on with Copy and what the mover had taken
and not passed on; so no byte is lost or moved twice, and only Copy says where a
source ends.

Copy holds at most one piece and reads nothing while it holds one, Conduit reads
nothing while there is something in its pipe, and the others take from the
source only what the sink takes; that is all the backpressure there is.
"""

from __future__ import annotations

from typing import Protocol

from pync.bypass import Conduit, SendFile, Splice
from pync.errors import PyncError
from pync.stream import LARGEST_PACKET, EndOfStream, Sink, Source, WouldBlock

CHUNK = 1 << 20  # bytes at a time; less costs system calls, and files are written more slowly
# For all of Copy: it is free again when move returns.  A packet fits in behind others.
BUFFER = memoryview(bytearray(CHUNK + LARGEST_PACKET))
PACKETS = 16  # that are written together at the most: with more, whoever reads them waits


class Mover(Protocol):
    """One way of moving."""

    @property
    def held(self) -> int:
        """Bytes taken from the source that the sink has not got."""

    @property
    def stuck(self) -> bool:
        """Whether the source has something that the sink does not take."""

    def move(self) -> int:
        """Move a piece, or a part, and return how many bytes the sink took.

        Raises WouldBlock, EndOfStream once all is moved, GiveUp, or what source
        and sink raise.
        """

    def take_back(self) -> bytes:
        """What is held, before it is closed."""

    def close(self) -> None:
        """Let go of what it needed for that.  May be repeated."""


class Copy:
    """Read a piece, write it.

    Packets that go where there are none are written together, as many as are there.
    """

    def __init__(self, source: Source, sink: Sink, held: bytes = b"") -> None:
        self._source = source
        self._sink = sink
        self._room = BUFFER if source.framed else BUFFER[: min(CHUNK, sink.limit)]
        self._gathers = source.framed and not sink.framed
        self._given = type(source).read is not Source.read  # it has bytes of its own
        self._instead: Exception | None = None  # what came in the place of one more packet
        self._piece: memoryview | None = memoryview(held) if held else None

    @classmethod
    def accepts(cls, source: Source, sink: Sink) -> bool:  # noqa: ARG003
        return True

    @property
    def held(self) -> int:
        return len(self._piece) if self._piece else 0

    @property
    def stuck(self) -> bool:
        return self.held > 0

    def move(self) -> int:
        piece = self._piece
        if piece is None:
            piece = self._gather() if self._gathers else self._read()
        try:
            taken = self._sink.write(piece)
        except BaseException:
            self._keep(piece)
            raise
        if taken < len(piece):
            self._keep(piece[taken:])
        else:
            self._piece = None
        return taken

    def _read(self) -> memoryview:
        if self._given:
            return memoryview(self._source.read(len(self._room)))
        return self._room[: self._source.read_into(self._room)]

    def _gather(self) -> memoryview:
        """The bytes of the packets that are there, up to about a chunk."""
        if self._instead:
            instead, self._instead = self._instead, None
            raise instead
        count = self._source.read_into(self._room)
        try:
            for _ in range(PACKETS - 1):
                if count >= CHUNK:
                    break
                count += self._source.read_into(self._room[count:])
        except WouldBlock:
            pass  # it is asked again: what it waited for may have come meanwhile
        except (EndOfStream, PyncError) as instead:
            self._instead = instead
        return self._room[:count]

    def _keep(self, piece: memoryview) -> None:
        """Hold on to it, with memory of its own if it has none yet."""
        self._piece = memoryview(bytes(piece)) if piece.obj is BUFFER.obj else piece

    def take_back(self) -> bytes:
        return bytes(self._piece or b"")

    def close(self) -> None:
        pass


MOVERS: list[type[SendFile | Splice | Conduit | Copy]] = [SendFile, Splice, Conduit, Copy]


def forbid(names: str) -> None:
    """Do without these movers, named as in "splice sendfile"; Copy is always there."""
    unwanted = names.lower().split()
    MOVERS[:-1] = [mover for mover in MOVERS[:-1] if mover.__name__.lower() not in unwanted]


def choose_mover(source: Source, sink: Sink) -> Mover:
    """The first mover for these two ends."""
    return next(mover(source, sink) for mover in MOVERS if mover.accepts(source, sink))
