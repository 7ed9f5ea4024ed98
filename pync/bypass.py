"""The ways of moving bytes that leave them to the kernel; see movers for when each is taken."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from pync.stream import READ, WRITE, Sink, Source, WouldBlock
from pync.transports.descriptors import PIPE_USUAL, grow_pipe, readable, writable

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 1 << 20  # bytes that the kernel moves at a time
NO_WAIT = getattr(os, "SPLICE_F_NONBLOCK", 0)
SHORT = 16 << 10  # bytes; after so few there is probably nothing more for now

# What the kernel says of descriptors that it cannot move bytes between in this way, and
# what it may say of either of them, which is told apart by reading and writing.
REFUSALS = {
    errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.EIO,
}  # fmt: skip


class GiveUp(Exception):
    """Copy is to go on: this way does not work here, or what it met may be the end.

    held: bytes taken from the source and not passed on.
    """

    def __init__(self, held: bytes = b"") -> None:
        super().__init__()
        self.held = held


class Bypass:
    """What the movers share that leave the bytes to the kernel.

    What the kernel says is not always the whole truth: splice from a socket stops at
    a byte that was sent as urgent, where reading goes on, and a pipe that no writer
    has opened yet looks like one that all have left.  So where nothing moved, and
    nothing explains it, Copy has a look.
    """

    held = 0
    stuck = False

    def __init__(self, source: Source, sink: Sink) -> None:
        assert source.raw_fd is not None
        assert sink.raw_fd is not None
        self._source, self._from = source, source.raw_fd
        self._sink, self._to = sink, sink.raw_fd
        self._empty = WouldBlock(self._from, READ)
        self._full = WouldBlock(self._to, WRITE)
        self._dry = False  # a short piece has said that there is no more for now
        self._puzzled = False  # nothing moved although something could

    def _wait(self, full: bool) -> Exception:
        """What to raise where splice would block.  full: the sink may be why."""
        self.stuck = readable(self._from)
        if not self.stuck:
            return self._empty
        if full:
            return self._full
        self._puzzled, before = True, self._puzzled  # once it may have come only just now
        return GiveUp() if before else self._empty

    def take_back(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


class Splice(Bypass):
    """From a pipe or into one.  What the sink does not take stays where it is.

    splice says that it would block, and not at which end; poll knows.
    """

    _grown = False

    @classmethod
    def accepts(cls, source: Source, sink: Sink) -> bool:
        suits = is_pipe(source.raw_fd) or (is_pipe(sink.raw_fd) and source.position is None)
        return can_splice(source, sink) and suits

    def move(self) -> int:
        if self._dry:
            self._dry = False
            raise self._empty
        try:
            moved = os.splice(self._from, self._to, PIECE, flags=NO_WAIT)
        except BlockingIOError:
            raise self._wait(full=not writable(self._to)) from None
        except OSError as error:
            raise meaning(error, self._to_blame(error)) from None
        if not moved:
            raise GiveUp
        self.stuck = self._puzzled = False
        self._dry = moved < SHORT
        if moved >= PIPE_USUAL and not self._grown:
            self._grow()
        return moved

    def _grow(self) -> None:
        """So much at once is no conversation: let the pipes hold more."""
        self._grown = True
        for fd in filter(is_pipe, (self._from, self._to)):
            grow_pipe(fd)

    def _to_blame(self, error: OSError) -> Source | Sink:
        """A pipe breaks at its other end alone, so it is the socket unless nobody reads."""
        writes = is_pipe(self._from) or error.errno == errno.EPIPE
        return self._sink if writes else self._source


class Conduit(Bypass):
    """From a socket to a device or a socket, through a pipe of ours.  held: what is in that.

    Not to a file: splice and those who share the file's offset with us, as in
    `{ make & pync -l 2389; } > log`, would write over each other's bytes.
    """

    def __init__(self, source: Source, sink: Sink) -> None:
        super().__init__(source, sink)
        self._pipe: tuple[int, int] | None = None

    @classmethod
    def accepts(cls, source: Source, sink: Sink) -> bool:
        suits = is_socket(source.raw_fd) and (is_socket(sink.raw_fd) or is_device(sink.raw_fd))
        return can_splice(source, sink) and suits

    def move(self) -> int:
        out, into = self._pipe or self._open()
        if not self.held:
            self.held = self._fill(into)
        self.stuck = True
        try:
            moved = os.splice(out, self._to, self.held, flags=NO_WAIT)
        except BlockingIOError:
            raise self._full from None
        except OSError as error:
            raise meaning(error, self._sink, self.take_back) from None
        self.held -= moved
        self.stuck = self.held > 0
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
            raise self._empty
        try:
            count = os.splice(self._from, into, PIECE, flags=NO_WAIT)
        except BlockingIOError:
            raise self._wait(full=False) from None
        except OSError as error:
            raise meaning(error, self._source) from None
        if not count:
            raise GiveUp
        self._puzzled = False
        self._dry = count < SHORT
        return count

    def take_back(self) -> bytes:
        return os.read(self._pipe[0], self.held) if self._pipe and self.held else b""

    def close(self) -> None:
        for fd in self._pipe or ():
            os.close(fd)
        self._pipe = None


class SendFile(Bypass):
    """From a regular file to a socket.

    How far it has been sent tells the source's position, or else the file's own offset.
    """

    @classmethod
    def accepts(cls, source: Source, sink: Sink) -> bool:
        return can_splice(source, sink) and is_file(source.raw_fd) and is_socket(sink.raw_fd)

    def move(self) -> int:
        try:
            moved = os.sendfile(self._to, self._from, self._source.position, PIECE)
        except BlockingIOError:
            self.stuck = True
            raise self._full from None
        except OSError as error:
            raise meaning(error, self._sink) from None
        self.stuck = False
        if not moved:
            raise GiveUp
        if self._source.position is not None:
            self._source.position += moved
        return moved


def meaning(
    error: OSError, to_blame: Source | Sink, held: Callable[[], bytes] = bytes
) -> Exception:
    """GiveUp with what is held if the kernel has refused, else what the end makes of it."""
    return GiveUp(held()) if error.errno in REFUSALS else to_blame.failure(error)


def is_file(fd: int | None) -> bool:
    return fd is not None and stat.S_ISREG(os.fstat(fd).st_mode)


def is_device(fd: int | None) -> bool:
    return fd is not None and stat.S_ISCHR(os.fstat(fd).st_mode)


def is_pipe(fd: int | None) -> bool:
    return fd is not None and stat.S_ISFIFO(os.fstat(fd).st_mode)


def is_socket(fd: int | None) -> bool:
    return fd is not None and stat.S_ISSOCK(os.fstat(fd).st_mode)


def can_splice(source: Source, sink: Sink) -> bool:
    return hasattr(os, "splice") and source.raw_fd is not None and sink.raw_fd is not None
