"""Programs: started, waited for, and hung up.

Theory.  A program is started by posix_spawn: that takes no copy of our memory,
runs nothing of ours in the child, and leads a new session there.  What it may
have is said with it:

    descriptors  its three; all others are closed on exec
    limit        of descriptors, what ours was at the start: it is lowered for as long
                 as the call takes, in which this process opens none; not below the
                 numbers of those that the call is about, which posix_spawn refuses
    signals      all with their default effect, also those that we ignore

It leads a process group of its own, which is hung up with it.  A group's number
belongs to nobody else as long as there is a process in it, or one that has exited and
is not reaped, so nothing is sent to a group whose leader is reaped unless it has been
hung up before, and then for the little while of the grace alone.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from pync.errors import LocalError, OutOfDescriptors
from pync.loop import Loop
from pync.stream import NEVER, READ, Condition, WouldBlock
from pync.transports.descriptors import keep_inherited, limit_of_start
from pync.transports.program_ends import Given, give_pipes, give_terminal
from pync.transports.sockets import NO_DESCRIPTOR, reason

HANGUP_GRACE = 2.0  # seconds that a program gets to end once it has been hung up
KILL_GRACE = 1.0  # seconds that the kernel gets to end it then
EVERY_SIGNAL = signal.valid_signals()
LOOK = 0.02  # seconds between looks at what no descriptor tells of


class Command:
    """What to run.

    argv: a program's name, looked for on the PATH of `variables`, and its arguments.
    in_terminal: it gets a terminal of its own.  errors_too: its stderr goes where its
    output goes; else it is ours.

    Raises LocalError if there is no such program.
    """

    def __init__(
        self,
        argv: Sequence[str],
        variables: Mapping[str, str],
        *,
        in_terminal: bool = False,
        errors_too: bool = False,
    ) -> None:
        if not hasattr(os, "posix_spawn"):
            raise LocalError("--exec: this system has no posix_spawn, and pync no other way")
        self._name = argv[0]
        self._argv = list(argv)
        try:
            self._path = found(argv[0], variables)
        except OSError as error:
            raise self._cannot_run(error) from None
        self._in_terminal = in_terminal
        self._errors_too = errors_too
        keep_inherited()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would hide how they exit

    def _cannot_run(self, error: OSError) -> LocalError:
        kind = OutOfDescriptors if error.errno in NO_DESCRIPTOR else LocalError
        return kind(f"--exec: cannot run {self._name!r}: {reason(error)}")

    def start(self, loop: Loop, variables: Mapping[str, str]) -> Process:
        """Run it, with these variables as its environment.  Raises LocalError."""
        try:
            with ExitStack() as theirs, ExitStack() as ours:
                given = self._give(theirs, ours)
                pid = self._spawn(given, variables)
                ours.pop_all()
        except OSError as error:
            raise self._cannot_run(error) from None
        process = Process(loop, pid, given)
        loop.spawn(process)
        return process

    def _give(self, theirs: ExitStack, ours: ExitStack) -> Given:
        if self._in_terminal:
            return give_terminal(theirs, ours)
        return give_pipes(theirs, ours, errors_too=self._errors_too)

    def _spawn(self, given: Given, variables: Mapping[str, str]) -> int:
        with limit_of_start(given.above):
            return os.posix_spawn(
                self._path,
                self._argv,
                variables,
                file_actions=given.actions,
                setsid=True,
                setsigmask=(),
                setsigdef=EVERY_SIGNAL,
            )


class Process:
    """A task: a program that runs, until it has exited; and when hung up, its group with it.

    ends: what it writes, and what it reads; close them once nobody uses them any more.
    status: as a shell tells it, None as long as it runs.  gone: whether the task is over.
    changed: notified when one of them changes.
    """

    def __init__(self, loop: Loop, pid: int, given: Given) -> None:
        self.pid = pid
        self.ends = given.ends
        self.status: int | None = None
        self.gone = False
        self.changed = Condition()
        self._loop = loop
        self._given = given
        self._exit = exit_descriptor(pid)
        self._deadline = NEVER  # of what was hung up, and again of what was killed
        self._killed = False

    def advance(self) -> bool:
        if self.status is None:
            self._reap()
        if not (self._seen_off() if self.hung_up else self.status is not None):
            if self.status is None and self._exit is not None:
                raise WouldBlock(self._exit, READ, until=self._deadline)
            raise WouldBlock(after=LOOK)
        self._forget_exit()
        self.gone = True
        self.changed.notify()
        return False

    def _reap(self) -> None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            self.status = code if code >= 0 else 128 - code
            self._forget_exit()
            self._given.exited()
            self.changed.notify()

    def _forget_exit(self) -> None:
        if self._exit is not None:
            self._loop.forget(self._exit)
            os.close(self._exit)
            self._exit = None

    @property
    def hung_up(self) -> bool:
        return self._deadline < NEVER

    def hang_up(self) -> None:
        """Let it and its group end, which are killed if they do not.  May be repeated.

        One that has exited by itself is past that, and what it has left running goes on.
        """
        if self.status is None and not self.hung_up:
            self._signal(signal.SIGHUP)
            self._signal(signal.SIGCONT)  # a stopped one would not notice
            self._deadline = self._loop.clock() + HANGUP_GRACE
            self._loop.wake(self)

    def kill(self) -> None:
        """Wait no longer for what has been hung up."""
        if self.hung_up and not self.gone:
            self._deadline = self._loop.clock()
            self._seen_off()
            self._loop.wake(self)

    def _seen_off(self) -> bool:
        """Whether what was hung up has ended, or as much as can be done for that is done."""
        exited, late = self.status is not None, self._loop.clock() >= self._deadline
        if late and not self._killed:
            self._signal(signal.SIGKILL)
            self._killed = True
            self._deadline += KILL_GRACE
            return exited
        # What is not gone by then waits for a disk, or is not ours any more.
        return late or (exited and (self._killed or not self._signal(0)))

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; whether there is one."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # it runs as somebody else by now
            return True
        return True

    def close(self) -> None:
        """Close its ends.  May be repeated."""
        for file in self._given.files:
            if not file.closed:
                self._loop.forget(file.fileno())
                file.close()


def exit_descriptor(pid: int) -> int | None:
    """What can be read once the process has exited; None where there is nothing of the kind."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or an old one, or no descriptor is left
        return None


def found(name: str, variables: Mapping[str, str]) -> str:
    """The path of a program.  Raises OSError."""
    folders = [""] if "/" in name else os.get_exec_path(variables)
    existing = [path for folder in folders if (path := Path(folder, name)).is_file()]
    runnable = [path for path in existing if os.access(path, os.X_OK)]
    if not runnable:
        number = errno.EACCES if existing else errno.ENOENT
        raise OSError(number, os.strerror(number))
    return str(runnable[0])
