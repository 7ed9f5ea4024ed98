"""How the bytes of one direction are moved.

Theory.  Copy works between any two ends: it reads a piece into memory, and
writes it.  Where both ends are descriptors whose bytes are the stream's bytes
(raw_fd), the kernel can do with fewer copies:

    Mapped    a file to a socket: the file's pages, mapped into memory, are sent
    Splice    a pipe to a socket, a socket to a pipe: pages change hands
    Conduit   a socket to a file, a device, a socket: Splice through a pipe of ours

A flow takes the first mover of MOVERS that accepts its two ends.  What the
kernel refuses at the first try or at any later one (another file system, a file
opened for append, one that was cut short) ends in GiveUp, and the flow goes on
with Copy and what the mover had taken and not passed on; so no byte is lost or
moved twice.

Copy holds at most one piece and reads nothing while it holds one, Conduit reads
nothing while there is something in its pipe, and the others take from the
source only what the sink takes; that is all the backpressure there is.

The other choices are here because they were slower: sendfile gives a reader
pages of 4 KiB to copy from, where a send copies into pieces of 32 KiB, and so
wins only where nobody reads the bytes; larger windows and mapping them with
MAP_POPULATE cost memory and gain nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Protocol

from pync.errors import PyncError
from pync.stream import CHUNK, READ, ROOM, WRITE, EndOfStream, Sink, Source, WouldBlock
from pync.transports.descriptors import grow_pipe, readable

if TYPE_CHECKING:
    from mmap import mmap

WINDOW = 4 << 20  # bytes of a file mapped at a time: they count as our memory
PIECE = 1 << 20  # bytes that the kernel moves at a time
PACKETS = 64  # that are written together at the most
SHORT = 16 << 10  # bytes; after so few there is probably nothing more for now

# What the kernel says of descriptors that it cannot move bytes between in this way.
REFUSALS = {
    errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ENODEV, errno.EFAULT,
}  # fmt: skip


class GiveUp(Exception):
    """This way does not work here.  held: bytes taken from the source and not passed on."""

    def __init__(self, held: bytes = b"") -> None:
        super().__init__()
        self.held = held


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

    def close(self) -> None:
        """Let go of what it needed for that.  May be repeated."""


class Copy:
    """Read a piece, write it.

    Packets that go where there are none are written together, as many as are there.
    """

    def __init__(self, source: Source, sink: Sink, held: bytes = b"") -> None:
        self._source = source
        self._sink = sink
        self._room = ROOM if source.framed else ROOM[: min(CHUNK, sink.limit)]
        self._gathers = source.framed and not sink.framed
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
        return self._piece is not None

    def move(self) -> int:
        piece = self._piece
        if piece is None:
            piece = self._room[: self._gather() if self._gathers else self._read()]
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

    def _read(self) -> int:
        return self._source.read_into(self._room)

    def _gather(self) -> int:
        """The bytes of the packets that are there, up to about a chunk."""
        if self._instead:
            instead, self._instead = self._instead, None
            raise instead
        count = self._read()
        try:
            for _ in range(PACKETS - 1):
                if count >= CHUNK:
                    break
                count += self._source.read_into(self._room[count:])
        except (WouldBlock, EndOfStream, PyncError) as instead:
            self._instead = instead
        return count

    def _keep(self, piece: memoryview) -> None:
        """Hold on to it, with memory of its own if it has none yet."""
        self._piece = memoryview(bytes(piece)) if self._piece is None else piece

    def close(self) -> None:
        pass


class Splice:
    """Between a pipe and a socket.  Nothing is held: what the sink does not take stays where it is.

    splice says only that it would block, not at which end; the source knows.
    """

    held = 0

    def __init__(self, source: Source, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        assert source.raw_fd is not None
        assert sink.raw_fd is not None
        self._from, self._to = source.raw_fd, sink.raw_fd
        self._from_pipe = is_pipe(self._from)
        self._empty = WouldBlock(self._from, READ)
        self._full = WouldBlock(self._to, WRITE)
        self._dry = False
        self.stuck = False

    @classmethod
    def accepts(cls, source: Source, sink: Sink) -> bool:
        return can_splice(source, sink) and (is_pipe(source.raw_fd) or is_pipe(sink.raw_fd))

    def move(self) -> int:
        if self._dry:
            self._dry = False
            raise self._empty
        try:
            moved = os.splice(self._from, self._to, PIECE, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            self.stuck = readable(self._from)
            raise (self._full if self.stuck else self._empty) from None
        except OSError as error:
            raise self._meaning(error) from None
        self.stuck = False
        if not moved:
            raise EndOfStream
        self._dry = moved < SHORT
        return moved

    def _meaning(self, error: OSError) -> Exception:
        if error.errno in REFUSALS:
            return GiveUp()
        to_blame = self._sink if self._from_pipe or error.errno == errno.EPIPE else self._source
        return to_blame.failure(error)

    def close(self) -> None:
        pass


class Conduit:
    """From a socket to anything but a pipe, through a pipe of ours.  held: what is in that."""

    def __init__(self, source: Source, sink: Sink) -> None:
        self._source = source
        self._sink = sink
        assert source.raw_fd is not None
        assert sink.raw_fd is not None
        self._from, self._to = source.raw_fd, sink.raw_fd
        self._pipe: tuple[int, int] | None = None
        self._dry = False
        self.held = 0

    @classmethod
    def accepts(cls, source: Source, sink: Sink) -> bool:
        return can_splice(source, sink) and is_socket(source.raw_fd)

    @property
    def stuck(self) -> bool:
        return self.held > 0

    def move(self) -> int:
        out, into = self._pipe or self._open()
        if not self.held:
            self.held = self._fill(into)
        try:
            moved = os.splice(out, self._to, self.held, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            raise WouldBlock(self._to, WRITE) from None
        except OSError as error:
            if error.errno in REFUSALS:
                raise GiveUp(os.read(out, self.held)) from None
            raise self._sink.failure(error) from None
        self.held -= moved
        return moved

    def _open(self) -> tuple[int, int]:
        try:
            self._pipe = os.pipe()
        except OSError:
            raise GiveUp from None  # no descriptor is left
        grow_pipe(self._pipe[1])
        return self._pipe

    def _fill(self, into: int) -> int:
        if self._dry:
            self._dry = False
            raise WouldBlock(self._from, READ)
        try:
            count = os.splice(self._from, into, PIECE, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            raise WouldBlock(self._from, READ) from None
        except OSError as error:
            if error.errno in REFUSALS:
                raise GiveUp from None
            raise self._source.failure(error) from None
        if not count:
            raise EndOfStream
        self._dry = count < SHORT
        return count

    def close(self) -> None:
        for fd in self._pipe or ():
            os.close(fd)
        self._pipe = None


class Mapped:
    """From a regular file to a socket, a window of the file after the other.

    The file's offset follows what has been sent, so that Copy can go on from there
    at any time: at the end, since the file may have grown, and where it was cut.
    """

    held = 0

    def __init__(self, source: Source, sink: Sink) -> None:
        self._sink = sink
        assert source.raw_fd is not None
        assert sink.raw_fd is not None
        self._from, self._to = source.raw_fd, sink.raw_fd
        self._at = os.lseek(self._from, 0, os.SEEK_CUR)
        self._window: mmap | None = None
        self._start = 0  # where in the file the window begins
        self.stuck = False

    @classmethod
    def accepts(cls, source: Source, sink: Sink) -> bool:
        both = source.raw_fd is not None and sink.raw_fd is not None
        return both and is_file(source.raw_fd) and is_socket(sink.raw_fd)

    def move(self) -> int:
        size = os.fstat(self._from).st_size
        if self._at >= size:
            raise GiveUp
        window = self._window
        if window is None or self._at == self._start + len(window):
            window = self._map(size)
        first = self._at - self._start
        piece = memoryview(window)[first : min(first + PIECE, size - self._start)]
        self.stuck = True
        try:
            moved = os.write(self._to, piece)
        except BlockingIOError:
            raise WouldBlock(self._to, WRITE) from None
        except OSError as error:
            if error.errno in REFUSALS:
                raise GiveUp from None
            raise self._sink.failure(error) from None
        finally:
            piece.release()
        self.stuck = False
        self._at = os.lseek(self._from, self._at + moved, os.SEEK_SET)
        return moved

    def _map(self, size: int) -> mmap:
        from mmap import ACCESS_READ, ALLOCATIONGRANULARITY, mmap

        self.close()
        self._start = self._at - self._at % ALLOCATIONGRANULARITY
        length = min(WINDOW, size - self._start)
        try:
            window = mmap(self._from, length, access=ACCESS_READ, offset=self._start)
        except (OSError, ValueError):  # it cannot be mapped, or has just been cut
            raise GiveUp from None
        self._window = window
        return window

    def close(self) -> None:
        if self._window:
            self._window.close()
        self._window = None


MOVERS: list[type[Mapped | Splice | Conduit | Copy]] = [Mapped, Splice, Conduit, Copy]


def forbid(names: str) -> None:
    """Do without these movers, named as in "splice mapped"; Copy is always there."""
    unwanted = names.lower().split()
    MOVERS[:-1] = [mover for mover in MOVERS[:-1] if mover.__name__.lower() not in unwanted]


def is_file(fd: int | None) -> bool:
    return fd is not None and stat.S_ISREG(os.fstat(fd).st_mode)


def is_pipe(fd: int | None) -> bool:
    return fd is not None and stat.S_ISFIFO(os.fstat(fd).st_mode)


def is_socket(fd: int | None) -> bool:
    return fd is not None and stat.S_ISSOCK(os.fstat(fd).st_mode)


def can_splice(source: Source, sink: Sink) -> bool:
    return hasattr(os, "splice") and source.raw_fd is not None and sink.raw_fd is not None


def choose_mover(source: Source, sink: Sink) -> Mover:
    """The first mover for these two ends."""
    return next(mover(source, sink) for mover in MOVERS if mover.accepts(source, sink))
