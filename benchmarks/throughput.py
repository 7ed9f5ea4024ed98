"""How fast much data crosses, and what it costs.

The time is from the start of the client, which is the one that sends unless it is
said otherwise, to the end of both; the processor time is that of the two alone,
not of the `cat`s beside them.

Nothing can be counted at /dev/null.  So a run counts only if a netcat that is
given a file has read all of it, both end with exit status 0, and an earlier run
that differs only in where its output went was compared byte by byte.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.netcats import OPENSSL, Netcat
from benchmarks.processes import NULL, Failure, Place, Process, tcp_place, unix_place
from benchmarks.trials import Row, Table, Tools, Trial

SPEED = Table(
    "Throughput",
    more_is_better=True,
    remark="From the start of the sending netcat to the end of both. Pipes are from and to `cat`.",
)
COST = Table("Processor time of both netcats", more_is_better=False)
GIB = 1 << 30

# A descriptor for a netcat; at the end it is checked that all went through it.
Descriptor = Callable[[Path], AbstractContextManager[int]]


class Ends(NamedTuple):
    """Standard input and output of one netcat."""

    source: Descriptor
    sink: Descriptor

    @property
    def receives(self) -> bool:
        return self.sink is not nothing

    def compared(self) -> Ends:
        return self._replace(sink=into_comparison) if self.receives else self


class Case(NamedTuple):
    """server: the use that openssl is put to as the listener, instead of the netcat."""

    label: str
    use: str
    place: Callable[[], Place]
    listener: Ends
    client: Ends
    server: str | None = None

    @property
    def ways(self) -> int:
        return self.listener.receives + self.client.receives

    def compared(self) -> Case:
        return self._replace(listener=self.listener.compared(), client=self.client.compared())

    def listen(self, netcat: Netcat, place: Place) -> list[str]:
        if self.server:
            return OPENSSL.listener(self.server, place.name)
        return netcat.listener(self.use, place.name)

    def connect(self, netcat: Netcat, place: Place) -> list[str]:
        return netcat.client(self.use, place.name)


def trials(tools: Tools) -> list[Trial]:
    original = original_file(tools)
    return [
        trial(case, original, tools.fit_for(case.use), (SPEED, COST))
        for case in cases(tools.directory)
    ]


def original_file(tools: Tools) -> Path:
    """What is sent, the same for all."""
    path = tools.directory / "original"
    if not path.exists():
        write_file(path, tools.scale.size)
    return path


def write_file(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for begin in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - begin)))


def cases(directory: Path) -> list[Case]:
    unix = partial(unix_place, directory)
    receive, send = Ends(nothing, discarded), Ends(from_file, nothing)
    both = Ends(from_file, discarded)
    to_pipe, to_file = Ends(nothing, into_pipe), Ends(nothing, into_file)
    return [
        Case("file to /dev/null", "one way", tcp_place, receive, send),
        Case("pipe to pipe", "one way", tcp_place, to_pipe, send._replace(source=from_pipe)),
        Case("file to file", "one way", tcp_place, to_file, send),
        Case("unix socket, file to /dev/null", "unix", unix, receive, send),
        Case("both ways at once, file to /dev/null", "both ways", tcp_place, both, both),
    ]


def trial(
    case: Case, original: Path, netcats: Sequence[Netcat], tables: tuple[Table, Table]
) -> Trial:
    speed, cost = tables
    return Trial(
        (Row(speed, case.label, "GiB/s"), Row(cost, case.label, "s/GiB")),
        netcats,
        run=partial(run, case, original),
        check=partial(run, case.compared(), original),
    )


def run(case: Case, original: Path, netcat: Netcat) -> tuple[float, float]:
    place = case.place()
    with ExitStack() as stack:
        listener = start(case.listen(netcat, place), case.listener, original, stack)
        place.wait(listener)
        client = start(case.connect(netcat, place), case.client, original, stack)
        ended = [client.finish(), listener.finish()]
        seconds = time.monotonic() - client.started
    for process in ended:
        process.check()
    gibibytes = case.ways * original.stat().st_size / GIB
    return gibibytes / seconds, sum(process.cpu_seconds for process in ended) / gibibytes


def start(command: list[str], ends: Ends, original: Path, stack: ExitStack) -> Process:
    source = stack.enter_context(ends.source(original))
    sink = stack.enter_context(ends.sink(original))
    return stack.enter_context(Process(command, source, sink, directory=original.parent))


@contextmanager
def nothing(_original: Path) -> Iterator[int]:
    """Nothing passes here."""
    yield NULL


@contextmanager
def discarded(_original: Path) -> Iterator[int]:
    yield NULL


@contextmanager
def silence(_original: Path) -> Iterator[int]:
    """Nothing, and no end of it."""
    reader, writer = os.pipe()
    with closing(reader), closing(writer):
        yield reader


@contextmanager
def from_file(original: Path) -> Iterator[int]:
    with original.open("rb", buffering=0) as file:
        yield file.fileno()
        if file.tell() < original.stat().st_size:
            raise Failure("lost bytes")


@contextmanager
def from_pipe(original: Path) -> Iterator[int]:
    reader, writer = os.pipe()
    with closing(reader), Process(["cat", str(original)], stdout=writer) as cat:
        os.close(writer)
        yield reader
        settle(cat)


@contextmanager
def into_pipe(_original: Path) -> Iterator[int]:
    with fed(["cat"]) as sink:
        yield sink


@contextmanager
def into_comparison(original: Path) -> Iterator[int]:
    with fed(["cmp", "--silent", "-", str(original)]) as sink:
        yield sink


@contextmanager
def into_file(original: Path) -> Iterator[int]:
    copy = original.with_name("copy")
    shutil.copyfile(original, copy)
    with copy.open("wb") as file:  # so all write to memory that has just become free
        yield file.fileno()
    with Process(["cmp", "--silent", str(copy), str(original)]) as comparison:
        settle(comparison)
    copy.unlink()  # before the system writes it to its disk


@contextmanager
def fed(command: list[str]) -> Iterator[int]:
    """A pipe to a program beside the netcat."""
    reader, writer = os.pipe()
    with Process(command, stdin=reader) as process:
        os.close(reader)
        with closing(writer):
            yield writer
        settle(process)


@contextmanager
def closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


def settle(beside: Process) -> None:
    """See a program beside the netcat end well."""
    if beside.finish().status:
        raise Failure("lost bytes")
