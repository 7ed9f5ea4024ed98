"""What a program is given to read from and to write to: two pipes, or a terminal.

Our ends are non-blocking; that is ours alone, since the two ends of a pipe, or of a
terminal, are different open files.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from io import FileIO
from typing import Any, NamedTuple

from pync.errors import LocalError
from pync.stream import Condition, EndOfStream, Ends, WouldBlock
from pync.transports.descriptors import Readiness, put_null_in_place_of, readable
from pync.transports.sockets import reason
from pync.transports.stdio import DescriptorSink, DescriptorSource

USUAL_SIZE = 80, 24  # columns and lines of a terminal, as a person's, if nothing tells
NO_KEY = b"\0"  # stands in a terminal's settings for a key that it does not have
LOOK = 0.1  # seconds between looks at who reads from a terminal


class Given(NamedTuple):
    """Our ends, the files behind them, and how the program comes by its own (posix_spawn).

    above: each descriptor that stands there is below that.  exited: to be called when it has.
    """

    ends: Ends
    files: tuple[FileIO, ...]
    actions: Sequence[tuple[Any, ...]]
    above: int = 3
    exited: Callable[[], None] = lambda: None


class ProgramSource(DescriptorSource):
    """What a program writes."""

    def failure(self, error: OSError) -> LocalError:
        return LocalError(f"cannot read what the program writes: {reason(error)}")


class ProgramSink(DescriptorSink):
    """The pipe that a program reads.

    One that reads no more, as head, is no failure: what still comes for it is taken and
    goes nowhere.
    """

    def __init__(self, file: FileIO) -> None:
        super().__init__(file.fileno())
        self._file = file

    @property
    def descriptors(self) -> tuple[int, ...]:  # type: ignore[override]
        return () if self._file.closed else (self._fd,)

    def failure(self, error: OSError) -> Exception:
        if error.errno != errno.EPIPE:
            return LocalError(f"cannot write to the program: {reason(error)}")
        put_null_in_place_of(self._fd)
        return WouldBlock(after=0)  # once more, and it is gone

    def end(self) -> None:
        self._file.close()


class Screen(ProgramSource):
    """What a program writes to its terminal.

    What it leaves running may have that open for as long as it likes, as the jobs of a
    shell do.  So once the program has exited this ends where there is no more for now.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._exited = False
        self._changed = Condition()

    def read_into(self, buffer: memoryview) -> int:
        try:
            return super().read_into(buffer)
        except WouldBlock as blocked:
            if self._exited:
                raise EndOfStream from None
            blocked.condition = self._changed
            raise

    def set_exited(self) -> None:
        self._exited = True
        self._changed.notify()


class Keyboard(DescriptorSink):
    """Our side of a terminal: what is written is what a person types.

    A terminal has no end, only a key that says so, and that means what whoever reads
    makes of it: a line editor takes the key itself, and finds a NUL in its place if it
    was pressed before the editor began.  So it is pressed again, each time that all before
    it has been read: in canonical mode, where nothing else comes of it, as often as
    somebody reads; else ever more seldom, as long as the same program is in the foreground.
    """

    def __init__(self, fd: int, path: str) -> None:
        super().__init__(fd)
        self.raw_fd = None
        self._path = path
        self._unused = Readiness(fd, 0)  # nobody has the terminal open any more
        self._reader: tuple[bool, int] | None = None
        self._looks = 0  # at this reader

    def write(self, data: bytes | memoryview) -> int:
        return len(data) if self._unused else super().write(data)

    def failure(self, error: OSError) -> Exception:
        if error.errno == errno.EIO:  # given up just now
            return WouldBlock(after=0)
        return LocalError(f"cannot write to the program's terminal: {reason(error)}")

    def end(self) -> None:
        if self._unused:
            return
        _, _, _, modes, _, _, keys = termios.tcgetattr(self._fd)
        canonical = bool(modes & termios.ICANON)
        reader = canonical, os.tcgetpgrp(self._fd)
        self._looks = self._looks + 1 if reader == self._reader else 1
        self._reader = reader
        if (canonical or self._looks.bit_count() == 1) and not self._waits():
            self._press(keys[termios.VEOF])
        raise WouldBlock(after=LOOK)

    def _press(self, key: bytes) -> None:
        if key != NO_KEY:
            self.write(key)

    def _waits(self) -> bool:
        """Whether something that has been typed is still to be read."""
        try:
            terminal = os.open(self._path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:
            return True  # no descriptor is left, or it has gone: nothing is typed for now
        try:
            return readable(terminal)
        finally:
            os.close(terminal)


def give_pipes(theirs: ExitStack, ours: ExitStack, *, errors_too: bool) -> Given:
    """Two pipes.  theirs, ours: close the ends; the program's once it has been started.

    errors_too: its stderr goes where its output goes.  Raises OSError.
    """
    stdin, to_program = open_pipe(theirs, ours)
    from_program, stdout = open_pipe(ours, theirs)
    for file in (to_program, from_program):
        os.set_blocking(file.fileno(), False)
    actions = [
        (os.POSIX_SPAWN_DUP2, stdin.fileno(), 0),
        (os.POSIX_SPAWN_DUP2, stdout.fileno(), 1),
    ]
    if errors_too:
        actions.append((os.POSIX_SPAWN_DUP2, stdout.fileno(), 2))
    ends = Ends(ProgramSource(from_program.fileno()), ProgramSink(to_program))
    above = 1 + max(stdin.fileno(), stdout.fileno())
    return Given(ends, (to_program, from_program), actions, above)


def open_pipe(reader: ExitStack, writer: ExitStack) -> tuple[FileIO, FileIO]:
    reading, writing = os.pipe()
    return (
        reader.enter_context(FileIO(reading, "r")),
        writer.enter_context(FileIO(writing, "w")),
    )


def give_terminal(theirs: ExitStack, ours: ExitStack) -> Given:
    """A terminal for all three.  theirs, ours: as for pipes.  Raises OSError.

    The first terminal that the leader of a new session opens is the one that controls it.
    """
    master, terminal = (FileIO(fd, "r+") for fd in os.openpty())
    ours.enter_context(master)
    theirs.enter_context(terminal)
    path = os.ttyname(terminal.fileno())
    columns, lines = terminal_size()
    size = struct.pack("HHHH", lines, columns, 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
    os.set_blocking(master.fileno(), False)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, path, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
    screen = Screen(master.fileno())
    ends = Ends(screen, Keyboard(master.fileno(), path))
    return Given(ends, (master,), actions, exited=screen.set_exited)


def terminal_size() -> tuple[int, int]:
    """Columns and lines of the terminal that pync runs in, or the usual ones."""
    for fd in range(3):
        with contextlib.suppress(OSError):
            columns, lines = os.get_terminal_size(fd)
            if columns and lines:
                return columns, lines
    return USUAL_SIZE
