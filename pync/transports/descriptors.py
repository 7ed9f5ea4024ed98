"""What can be asked of descriptors, and done to them, whatever they are."""

from __future__ import annotations

import functools
import os
import select
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

try:
    import fcntl
except ImportError:  # Windows
    LINUX = False
else:
    LINUX = hasattr(fcntl, "F_SETPIPE_SZ")

# pipe(7), bytes: what a pipe holds on Linux, and what anybody may let it hold.
WINDOWS_LIMIT = 512  # sockets that select takes there
MANY = 1 << 20  # where there is no limit

# Descriptors that come and go: a program's own ends while it starts, those of look-ups.
SPARE = 4

PIPE_USUAL, PIPE_LARGE = 1 << 16, 1 << 20


class Readiness:
    """Asks poll what a descriptor is ready for, now."""

    def __init__(self, fd: int, events: int) -> None:
        self._poll = select.poll()
        self._poll.register(fd, events)

    def __bool__(self) -> bool:
        """Whether any of `events`, an error or a hang-up is there."""
        return bool(self._poll.poll(0))


def readable(fd: int) -> bool:
    """Whether a read of `fd` would not wait."""
    return bool(Readiness(fd, select.POLLIN))


def writable(fd: int) -> bool:
    """Whether a write of a little to `fd` would not wait."""
    return bool(Readiness(fd, select.POLLOUT))


def grow_pipe(fd: int) -> None:
    """Let a pipe hold more, where that is allowed: fewer wake-ups for the same bytes.

    One that somebody has made small stays so.
    """
    if not LINUX:
        return
    with suppress(OSError):  # a user may have only so many pages in pipes
        if PIPE_USUAL <= fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < PIPE_LARGE:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_LARGE)


def has_packets(pipe: int) -> bool:
    """Whether each write to a pipe is a packet (pipe(2), O_DIRECT)."""
    packets = getattr(os, "O_DIRECT", 0)
    return bool(LINUX and fcntl.fcntl(pipe, fcntl.F_GETFL) & packets)


def raise_limit() -> int:
    """Let this process have as many descriptors as it may, one for each peer; how many."""
    if os.name != "posix":
        return WINDOWS_LIMIT
    import resource

    _, most = limit_at_start()
    with suppress(OSError, ValueError):  # some systems allow less than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MANY if limit == resource.RLIM_INFINITY else limit


def available(count: int) -> bool:
    """Whether this process can have so many more descriptors now."""
    with ExitStack() as stack:
        try:
            for _ in range(count):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return False
        return True


def enough_for(cost: int) -> int:
    """For how many clients there are descriptors if each takes `cost`; one at the least."""
    return max(1, (raise_limit() - in_use() - SPARE) // cost)


def in_use() -> int:
    """How many descriptors are open, or where that cannot be told, how many are at the least."""
    try:
        return sum(1 for _ in os.scandir("/dev/fd"))
    except OSError:
        lowest_free = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest_free)
        return lowest_free


@functools.cache
def limit_at_start() -> tuple[int, int]:
    """How many descriptors this process might have, soft and hard, when it was first asked."""
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)


@contextmanager
def limit_of_start(least: int) -> Iterator[None]:
    """What is started meanwhile may have as many descriptors as we might in the beginning.

    More would not be good for all: some walk over what they may have, and select takes 1024.
    It is `least` of them at the least.
    """
    import resource

    raised = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = limit_at_start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, least), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, raised)


def keep_inherited() -> None:
    """Hand what we have inherited on to no program, but for the three standard descriptors.

    What Python opens it keeps by itself, also in the place of one of those.
    """
    for fd in open_descriptors():
        with suppress(OSError):  # that of the listing itself
            os.set_inheritable(fd, fd <= 2)


def open_descriptors() -> Iterable[int]:
    try:
        return [int(entry.name) for entry in os.scandir("/dev/fd")]
    except OSError:  # nobody has mounted /proc here
        return range(limit_at_start()[0])


def put_null_in_place_of(fd: int) -> None:
    """Close `fd` for its reader, and let no later descriptor take the number."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd, inheritable=os.get_inheritable(fd))
    os.close(null)
