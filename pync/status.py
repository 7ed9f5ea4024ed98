"""Which exit status each error gives."""

from enum import IntEnum

from pync.errors import Interrupted, NetworkError, OutputClosed, ProgramFailed, PyncError


class ExitStatus(IntEnum):
    """What the process tells its parent."""

    DONE = 0
    NETWORK = 1
    LOCAL = 2
    OUTPUT_CLOSED = 141


def status_of(error: PyncError) -> int:
    """The exit status for `error`; usage and local errors are LOCAL."""
    if isinstance(error, Interrupted):
        return 128 + error.signum
    if isinstance(error, ProgramFailed):
        return error.status
    if isinstance(error, NetworkError):
        return ExitStatus.NETWORK
    if isinstance(error, OutputClosed):
        return ExitStatus.OUTPUT_CLOSED
    return ExitStatus.LOCAL
