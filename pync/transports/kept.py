"""Standard input kept, so that it can be read again from its start, by any number of readers.

A regular file is kept by itself, and read from where its offset stood at first.  All
else is copied into a temporary file without a name while it comes in.  Each reader
has a position of its own in the one descriptor, which costs no more of them.
"""

from __future__ import annotations

import os
import stat
import tempfile

from pync.errors import LocalError, PyncError
from pync.stream import Condition, EndOfStream, Sink, Source, WouldBlock
from pync.transports.sockets import reason

PIECE = 1 << 16  # bytes read at a time; so much may be held for each reader


class KeptFile:
    """A regular file.  It may change, and what has not been read yet changes with it.

    It may grow, but not become smaller than it was for who has begun to read it.
    """

    def __init__(self, fd: int, start: int) -> None:
        self.fd = fd
        self._start = start

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def wait(self) -> None:
        """Nothing more will come."""
        raise EndOfStream

    def reading(self) -> Source:
        return Reading(self, self._start)


class Spool(Sink):
    """Keeps what it is given.  Raises LocalError where there is no place, or no more room.

    size: bytes.
    """

    def __init__(self) -> None:
        self.size = 0
        self._grew = Condition()
        self._ended = False
        try:
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())  # for as long as the process lasts
        except OSError as error:
            raise self.failure(error) from None

    def failure(self, error: OSError) -> PyncError:
        try:
            place = tempfile.gettempdir()
        except OSError:
            place = "any usual place"
        told = f"cannot keep standard input in {place}: {reason(error)}"
        return LocalError(f"{told}; TMPDIR names another place")

    def write(self, data: bytes | memoryview) -> int:
        try:
            count = write_at(self.fd, data, self.size)
        except OSError as error:
            raise self.failure(error) from None
        self.size += count
        self._grew.notify()
        return count

    def end(self) -> None:
        self._ended = True
        self._grew.notify()

    def wait(self) -> None:
        """Raises WouldBlock while more may come, else EndOfStream."""
        if self._ended:
            raise EndOfStream
        raise WouldBlock(condition=self._grew)

    def reading(self) -> Source:
        return Reading(self, 0)


class Reading(Source):
    """One reader's way through what is kept."""

    position: int

    def __init__(self, kept: KeptFile | Spool, position: int) -> None:
        self.raw_fd = kept.fd
        self.position = position
        self._kept = kept
        self._promised = kept.size

    @property
    def backlog(self) -> int:
        return max(0, self._kept.size - self.position)

    def read(self, limit: int) -> bytes:
        try:
            data = read_at(self._kept.fd, min(limit, PIECE), self.position)
        except OSError as error:
            raise self.failure(error) from None
        if not data:
            if self.position < self._promised:
                raise LocalError(f"standard input was cut short to {self._kept.size} bytes")
            self._kept.wait()
        self.position += len(data)
        return data

    def failure(self, error: OSError) -> PyncError:
        return LocalError(f"cannot read standard input: {reason(error)}")


def read_at(fd: int, size: int, position: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, size, position)
    os.lseek(fd, position, os.SEEK_SET)  # Windows
    return os.read(fd, size)


def write_at(fd: int, data: bytes | memoryview, position: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data, position)
    os.lseek(fd, position, os.SEEK_SET)  # Windows
    return os.write(fd, data)


def kept_file(fd: int) -> KeptFile | None:
    """`fd` from where it stands, if that is a regular file and can be read from there again."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return None
    try:
        return KeptFile(fd, os.lseek(fd, 0, os.SEEK_CUR))
    except OSError:
        return None
