"""Signals that ask the process to end."""

from __future__ import annotations

import os
import signal
from types import FrameType

from pync.errors import Interrupted
from pync.stream import READ, WouldBlock

# Each ends a process by default, without a chance to remove a socket's path.
NAMES = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTERM", "SIGXCPU")
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


def let_interrupts_end_us() -> None:
    """Let SIGINT do what the other signals do while there is nothing to clean up.

    Python's own handler runs only between two of its instructions, which a slow
    name server may keep apart for long.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


class Interrupts:
    """A task that raises Interrupted when a signal has come.

    A signal that the parent has ignored (nohup, a shell's background job) stays
    so.  From the first one on they have their default effect again, so that a
    second ends the process whatever it is busy with.
    """

    def __init__(self) -> None:
        self._signum = 0
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        usual = (signal.SIG_DFL, signal.default_int_handler)
        self._caught = [number for number in SIGNALS if signal.getsignal(number) in usual]
        for number in self._caught:
            signal.signal(number, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._signum = signum
        for number in self._caught:
            signal.signal(number, signal.SIG_DFL)

    def advance(self) -> bool:
        if self._signum:
            raise Interrupted(self._signum)
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
