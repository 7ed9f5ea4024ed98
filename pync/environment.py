"""The process around pync: its three descriptors, clock and variables.

cli makes the real one; a test makes its own, of pipes and a clock that it
turns.  Nothing below cli touches sys.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pync.address import printable
from pync.errors import LocalError, OutputClosed, UsageError

FIRST = 3  # the first descriptor that systemd hands in
USUAL_COLUMNS = 80  # of a terminal that does not say


def tells_of_sockets(variables: Mapping[str, str]) -> bool:
    """Whether systemd has handed some in, and to this very process (sd_listen_fds(3))."""
    return variables.get("LISTEN_PID") == str(os.getpid())


class Environment(NamedTuple):
    """stdin, stdout, stderr: descriptors.  clock: seconds, never running backwards."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2
    clock: Callable[[], float] = time.monotonic
    variables: Mapping[str, str] = os.environ

    @property
    def interactive(self) -> bool:
        """Whether a person types into standard input."""
        return os.isatty(self.stdin)

    @property
    def shows(self) -> bool:
        """Whether standard output is a terminal."""
        return os.isatty(self.stdout)

    @property
    def handed_in(self) -> dict[str, str]:
        """The socket that systemd listens with for us, as an option (sd_listen_fds(3)).

        Raises UsageError if there are several.
        """
        if not tells_of_sockets(self.variables):
            return {}
        count = self.variables.get("LISTEN_FDS", "")
        if count != "1":
            raise UsageError(f"LISTEN_FDS says {count!r}, and --fd which of them, from {FIRST} on")
        return {"fd": str(FIRST)}

    @property
    def watched(self) -> bool:
        """Whether a person sees standard error at once."""
        return os.isatty(self.stderr)

    @property
    def columns(self) -> int:
        """How wide the terminal behind standard error is."""
        try:
            return os.get_terminal_size(self.stderr).columns or USUAL_COLUMNS
        except OSError:
            return USUAL_COLUMNS

    def say(self, line: str) -> None:
        """Write one line to stderr, escaped; a stderr that has gone is nobody's to tell."""
        self.show(printable(line) + "\n")

    def show(self, text: str) -> None:
        """Write to stderr what is known to be fit for a terminal."""
        data = text.encode()
        while data:
            try:
                data = data[os.write(self.stderr, data) :]
            except BlockingIOError:  # somebody else has set O_NONBLOCK
                select.select([], [self.stderr], [])
            except OSError:
                return

    def secret(self, variable: str, question: str) -> bytes:
        """What `variable` holds, or else what is typed into the terminal, unseen."""
        value = self.variables.get(variable)
        return os.fsencode(ask(question) if value is None else value)

    def answer(self, text: str) -> None:
        """Write `text` to stdout.  Raises OutputClosed or LocalError."""
        data = text.encode()
        try:
            while data:
                data = data[os.write(self.stdout, data) :]
        except BrokenPipeError:
            raise OutputClosed("the reader of standard output has gone") from None
        except OSError as error:
            raise LocalError(f"cannot write standard output: {error.strerror}") from None

    def complain(self, message: str) -> None:
        """Tell what went wrong: each line of `message` behind "pync: "."""
        for line in message.split("\n"):
            self.say(f"pync: {line}")


def ask(question: str) -> str:
    """The answer typed into the terminal, unseen; empty if there is no terminal to ask."""
    import getpass

    try:
        os.close(os.open("/dev/tty", os.O_RDWR))  # getpass would go on and read standard input
        return getpass.getpass(question)
    except (EOFError, OSError):
        return ""
