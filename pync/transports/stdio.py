"""The descriptors that pync was started with, as a source and a sink.

Theory.  O_NONBLOCK belongs to the open file, not to the descriptor: set on our
stdin it would be set for the user's shell too, so it is never touched, and each
operation must be one that cannot block.  Reading: poll says that there is
something (or the end), and a read then returns what there is.  Writing is
harder, since poll calls a pipe writable when PIPE_BUF bytes fit, and a larger
write still blocks:

    a pipe      pwritev2 with RWF_NOWAIT where the kernel knows it (Linux 6.4),
                else at most PIPE_BUF bytes after poll
    a terminal  opened anew, with O_NONBLOCK, else small pieces after poll
    a socket    MSG_DONTWAIT
    a file, /dev/null and the rest: they do not block in that sense

Somebody else may have set O_NONBLOCK; then EAGAIN means what it says.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from typing import NoReturn

from pync.errors import LocalError, OutputClosed, PyncError
from pync.stream import READ, WRITE, EndOfStream, Sink, Source, WouldBlock
from pync.transports.descriptors import Readiness, has_packets, put_null_in_place_of
from pync.transports.sockets import reason

TERMINAL_PIECE = 256  # bytes that a terminal takes without a wait worth the name
PIPE_PIECE = getattr(select, "PIPE_BUF", 512)
RWF_NOWAIT = getattr(os, "RWF_NOWAIT", None)
NO_NOWAIT = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ESPIPE}
HANGUP_CHECK = 0.5  # seconds between looks at a socket that readiness says nothing about


class DescriptorSource(Source):
    """An inherited descriptor to read from."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._readable = Readiness(fd, select.POLLIN)
        mode = os.fstat(fd).st_mode
        self._is_file = stat.S_ISREG(mode)
        self.framed = stat.S_ISSOCK(mode) and has_messages(fd)
        if self._is_file or stat.S_ISFIFO(mode):
            self.raw_fd = fd  # of a quiet terminal or blocking socket, splice would wait

    def read_into(self, buffer: memoryview) -> int:
        if not self._is_file and not self._readable:
            raise WouldBlock(self._fd, READ)
        try:
            count = os.readv(self._fd, [buffer])
        except BlockingIOError:
            raise WouldBlock(self._fd, READ) from None
        except OSError as error:
            if error.errno == errno.EIO and os.isatty(self._fd):
                raise EndOfStream from None  # the terminal has gone
            raise self.failure(error) from None
        if not count:
            raise EndOfStream
        return count

    def failure(self, error: OSError) -> PyncError:
        return LocalError(f"cannot read standard input: {reason(error)}")


class DescriptorSink(Sink):
    """An inherited descriptor to write to: a file, or a device that never blocks for long."""

    def __init__(self, fd: int) -> None:
        self.raw_fd: int | None = fd
        self._fd = fd
        self._writable = Readiness(fd, select.POLLOUT)

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._write(data)
        except BlockingIOError:
            raise WouldBlock(self._fd, WRITE) from None
        except OSError as error:
            raise self.failure(error) from None

    def failure(self, error: OSError) -> Exception:
        if error.errno == errno.EPIPE:
            return OutputClosed("the reader of standard output has gone")
        return LocalError(f"cannot write standard output: {reason(error)}")

    def _write(self, data: bytes | memoryview) -> int:
        return os.write(self._fd, data)

    def _write_after_poll(self, data: bytes | memoryview, piece: int) -> int:
        if not self._writable:
            raise WouldBlock(self._fd, WRITE)
        return os.write(self._fd, data[:piece])


class FileSink(DescriptorSink):
    """A regular file."""

    def end(self) -> None:
        """Let a file system that writes later (NFS) say what went wrong with it."""
        try:
            os.close(os.dup(self._fd))
        except OSError as error:
            raise self.failure(error) from None


class TerminalSink(DescriptorSink):
    """A terminal, opened anew so that O_NONBLOCK is ours alone; its end is nobody's news.

    Where it cannot be opened: small pieces after poll.
    """

    def __init__(self, fd: int) -> None:
        try:
            fd = os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            self._piece = None
        except OSError:
            self._piece = TERMINAL_PIECE
        super().__init__(fd)
        self.raw_fd = None

    def _write(self, data: bytes | memoryview) -> int:
        if self._piece is None:
            return os.write(self._fd, data)
        return self._write_after_poll(data, self._piece)


class ClosingSink(DescriptorSink):
    """A pipe or a socket: its reader sees our end when we close it."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.descriptors = (fd,)
        self._ended = False
        self._hung_up = Readiness(fd, 0)
        self._readable = Readiness(fd, select.POLLIN)

    def end(self) -> None:
        if not self._ended:
            put_null_in_place_of(self._fd)
            self._ended = True

    def watch(self) -> NoReturn:
        """The writing end of a pipe becomes readable when its reader goes, and only then.

        A socket also does for unread input; then time tells what readiness cannot.
        """
        if self._ended:
            raise WouldBlock
        if self._hung_up:
            raise OutputClosed("the reader of standard output has gone")
        if self._readable:
            raise WouldBlock(after=HANGUP_CHECK)
        raise WouldBlock(self._fd, READ)


class PipeSink(ClosingSink):
    """A pipe."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.framed = has_packets(fd)
        self._nowait = RWF_NOWAIT is not None

    def _write(self, data: bytes | memoryview) -> int:
        if not self._nowait or RWF_NOWAIT is None:
            return self._write_after_poll(data, PIPE_PIECE)
        try:
            return os.pwritev(self._fd, [data], -1, RWF_NOWAIT)
        except OSError as error:
            if error.errno not in NO_NOWAIT:
                raise
            self._nowait = False
            return self._write(data)


class InheritedSocketSink(ClosingSink):
    """A socket, such as inetd gives."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.raw_fd = None  # it may be a blocking one
        self._socket = socket.socket(fileno=os.dup(fd))
        self.framed = has_messages(fd)

    def _write(self, data: bytes | memoryview) -> int:
        return self._socket.send(data, getattr(socket, "MSG_DONTWAIT", 0))

    def end(self) -> None:
        self._socket.close()
        super().end()


def has_messages(fd: int) -> bool:
    """Whether what goes through a socket are packets."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        return sock.type != socket.SOCK_STREAM


def standard_input(fd: int) -> Source:
    return DescriptorSource(fd)


def standard_output(fd: int) -> Sink:
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return PipeSink(fd)
    if stat.S_ISSOCK(mode):
        return InheritedSocketSink(fd)
    if stat.S_ISREG(mode):
        return FileSink(fd)
    return TerminalSink(fd) if os.isatty(fd) else DescriptorSink(fd)


def hand_over(fd: int, descriptor: int) -> None:
    """Pass `descriptor` to whoever is behind the unix socket `fd` (ssh's ProxyUseFdpass).

    Raises LocalError.
    """
    if not hasattr(socket, "send_fds"):
        raise LocalError("--fd-pass: this system cannot pass descriptors")
    try:
        with socket.socket(fileno=os.dup(fd)) as channel:
            os.set_blocking(descriptor, True)  # as one that has just been opened
            socket.send_fds(channel, [b"\0"], [descriptor])
    except OSError as error:
        told = f"--fd-pass needs a unix socket as standard output: {reason(error)}"
        raise LocalError(told) from None
