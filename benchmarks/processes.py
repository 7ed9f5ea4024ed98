"""Programs that are measured: started, awaited, and never left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.netcats import HERE

NULL = subprocess.DEVNULL
PIPE = subprocess.PIPE


class Failure(Exception):
    """There is no number, and this is why."""


class Hung(Failure):
    """It took too long."""


class Ended(NamedTuple):
    """How a program ended.  status is negative for a signal, as subprocess has it."""

    status: int
    cpu_seconds: float
    complaint: str

    def check(self) -> None:
        if self.status:
            raise Failure(f"exit status {self.status} ({self.complaint or 'no word'})")


class Process:
    """A program that runs until its `with` block ends, at the latest."""

    def __init__(
        self,
        command: Sequence[str],
        stdin: int = NULL,
        stdout: int = NULL,
        core: int | None = None,
        directory: Path | None = None,
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self.started = time.monotonic()
        self._popen = subprocess.Popen(
            command, bufsize=0, stdin=stdin, stdout=stdout, stderr=self._stderr, cwd=directory
        )
        self.pid = self._popen.pid
        if core is not None:
            os.sched_setaffinity(self.pid, {core})

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._popen.returncode is None:
            self._popen.kill()
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout, self._stderr):
            if stream:
                stream.close()

    @property
    def stdin(self) -> int:
        assert self._popen.stdin
        return self._popen.stdin.fileno()

    @property
    def stdout(self) -> int:
        assert self._popen.stdout
        return self._popen.stdout.fileno()

    @property
    def memory(self) -> int:
        """The bytes of memory that it has now."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) << 10

    def check_running(self) -> None:
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            self.finish().check()
            raise Failure("ended early")

    def finish(self) -> Ended:
        _, status, usage = os.wait4(self.pid, 0)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        self._stderr.seek(0)
        complaint = self._stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
        return Ended(self._popen.returncode, usage.ru_utime + usage.ru_stime, complaint)


def read_exactly(fd: int, size: int) -> bytes:
    """The next `size` bytes of a program's output."""
    data = os.read(fd, size)
    while len(data) < size:
        more = os.read(fd, size - len(data))
        if not more:
            raise Failure("ended early")
        data += more
    return data


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt whatever blocks in the block, after so long."""

    def interrupt(*_signal: object) -> None:
        raise Hung("hung")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextmanager
def two_cores() -> Iterator[tuple[int, int]]:
    """Keep the driver on the first of two cores; they are one where there is only one."""
    cores = os.sched_getaffinity(0)
    near, far = min(cores), max(cores)
    os.sched_setaffinity(0, {near})
    try:
        yield near, far
    finally:
        os.sched_setaffinity(0, cores)


class Place(NamedTuple):
    """Where two netcats meet, and how the kernel's tables show that the listener is there."""

    name: str
    table: str
    row: str

    def wait(self, listener: Process) -> None:
        table = Path("/proc/net") / self.table
        while not re.search(self.row, table.read_text(encoding="ascii", errors="replace")):
            listener.check_running()
            time.sleep(0.002)


def tcp_place() -> Place:
    port = free_port(socket.SOCK_STREAM)
    return Place(str(port), "tcp", f":{port:04X} [0-9A-F]+:0000 0A ")


def udp_place() -> Place:
    port = free_port(socket.SOCK_DGRAM)
    return Place(str(port), "udp", f":{port:04X} [0-9A-F]+:")


def unix_place(directory: Path) -> Place:
    path = directory / "socket"
    path.unlink(missing_ok=True)  # not every listener does at its end
    return Place(str(path), "unix", f" 00010000 .* {re.escape(str(path))}\n")


def free_port(kind: socket.SocketKind) -> int:
    """A port that was free a moment ago: not every netcat can tell which it got."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])
