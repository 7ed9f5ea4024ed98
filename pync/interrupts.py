"""Signals that ask the process to end, or for something else."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from types import FrameType

from pync.errors import Interrupted
from pync.stream import READ, WouldBlock

# Each ends a process by default, without a chance to remove a socket's path.
NAMES = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTERM", "SIGXCPU")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]

Instead = Mapping[str, Callable[[], None]]  # by a signal's name, what it asks for but our end


def let_interrupts_end_us() -> None:
    """Let SIGINT do what the other signals do while there is nothing to clean up.

    Python's own handler runs only between two of its instructions, which a slow
    name server may keep apart for long.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class Interrupts:
    """A task that raises Interrupted when a signal has come, or does what it asks for instead.

    A signal that would end us and that the parent has ignored (nohup, a shell's
    background job) stays so.  From the first one that ends us on, all that would have
    their default effect again, so that a second ends the process whatever it is busy with.
    """

    def __init__(self, instead: Instead) -> None:
        self._came: deque[int] = deque()
        self._calls = {getattr(signal, name): call for name, call in instead.items()}
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        usual = (signal.SIG_DFL, signal.default_int_handler)
        ending = [number for number in SIGNALS if number not in self._calls]
        self._ending = [number for number in ending if signal.getsignal(number) in usual]
        for number in (*self._ending, *self._calls):
            signal.signal(number, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._came.append(signum)
        if signum not in self._calls:
            for number in self._ending:
                signal.signal(number, signal.SIG_DFL)

    def advance(self) -> bool:
        while self._came:
            signum = self._came.popleft()
            if signum not in self._calls:
                raise Interrupted(signum)
            self._calls[signum]()
        try:
            os.read(self._reader, 64)  # a signal that is none of ours, such as SIGCHLD
        except BlockingIOError:
            raise WouldBlock(self._reader, READ) from None
        return True


def die_by(interrupt: Interrupted | KeyboardInterrupt) -> Interrupted:
    """End as the signal would have ended us, so that the parent sees it.

    Returns only where the signal is blocked.
    """
    signum = interrupt.signum if isinstance(interrupt, Interrupted) else signal.SIGINT
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
    return Interrupted(signum)
