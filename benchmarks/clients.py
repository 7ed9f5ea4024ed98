"""What many clients of one listener cost, and what they cost each other."""

from __future__ import annotations

import resource
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from benchmarks.netcats import HERE, NCAT, Netcat
from benchmarks.processes import PIPE, Place, Process, read_exactly, tcp_place, two_cores
from benchmarks.trials import Row, Table, Tools, Trial

TABLE = Table(
    "Many clients of one listener",
    more_is_better=False,
    remark="The latency is from a client to the listener's standard output; "
    "a second listener is there for the client that is alone.",
)
MESSAGE = bytes(64)
MESSAGES = 300
WARM_UP = 100
TOGETHER = 8
OTHER_DESCRIPTORS = 100  # that the driver and the listener may need besides
NCAT_CLIENTS = 1000  # its listener waits with select


def trials(tools: Tools) -> list[Trial]:
    most = allowed_descriptors(max(tools.scale.clients) + OTHER_DESCRIPTORS) - OTHER_DESCRIPTORS
    return [trial(min(wanted, most), wanted, tools) for wanted in tools.scale.clients]


def allowed_descriptors(wanted: int) -> int:
    """So many, or fewer, are what this process and those that it starts may have from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    return allowed


def trial(count: int, wanted: int, tools: Tools) -> Trial:
    who = f"{count:,} clients"
    if count < wanted:
        who += f" (no more descriptors for {wanted:,})"
    rows = (
        Row(TABLE, f"{who}: until all are heard", "ms"),
        Row(TABLE, f"{who}: memory for each", "KiB"),
        Row(TABLE, f"{who}: 64 bytes of one, alone", "µs"),
        Row(TABLE, f"{who}: 64 bytes of one, among all", "µs"),
        Row(TABLE, f"{who}: among all / alone", "times"),
    )
    netcats = tools.fit_for("many")
    if count > NCAT_CLIENTS and NCAT in netcats:
        netcats.remove(NCAT)
    return Trial(rows, netcats, partial(crowd, count))


def crowd(count: int, netcat: Netcat) -> tuple[float, ...]:
    with (
        two_cores() as (_, far),
        ExitStack() as clients,  # they go last: a listener that is gone tells nothing of it
        listening(netcat, far) as (quiet_place, quiet),
        listening(netcat, far) as (place, listener),
    ):
        single = clients.enter_context(join(quiet_place))
        active = clients.enter_context(join(place))
        memory = listener.memory
        begin = time.monotonic()
        for together in groups(count - 1):
            for _ in range(together):
                clients.enter_context(join(place)).send(b"x")
            read_exactly(listener.stdout, together)
        heard = time.monotonic() - begin
        memory = listener.memory - memory
        alone, among = latencies((single, quiet), (active, listener))
    return heard * 1e3, memory / 1024 / count, alone * 1e6, among * 1e6, among / alone


@contextmanager
def listening(netcat: Netcat, core: int) -> Iterator[tuple[Place, Process]]:
    place = tcp_place()
    with Process(netcat.listener("many", place.name), stdout=PIPE, core=core) as listener:
        place.wait(listener)
        yield place, listener


def groups(count: int) -> Iterator[int]:
    """How many come at the same time: no more than every listener's queue has room for."""
    for begin in range(0, count, TOGETHER):
        yield min(TOGETHER, count - begin)


def join(place: Place) -> socket.socket:
    return socket.create_connection((HERE, int(place.name)))


def latencies(*pairs: tuple[socket.socket, Process]) -> list[float]:
    """Seconds until a message has come out of each listener.  They take turns."""
    times = [[time_once(*pair) for pair in pairs] for _ in range(WARM_UP + MESSAGES)]
    return [statistics.median(column) for column in zip(*times[WARM_UP:], strict=True)]


def time_once(client: socket.socket, listener: Process) -> float:
    begin = time.perf_counter()
    client.send(MESSAGE)
    read_exactly(listener.stdout, len(MESSAGE))
    return time.perf_counter() - begin
