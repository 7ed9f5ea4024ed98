"""What many clients of one listener cost, and what they cost each other."""

from __future__ import annotations

import resource
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.netcats import HERE, NCAT, Netcat
from benchmarks.processes import PIPE, Process, read_exactly, tcp_place, two_cores
from benchmarks.trials import Row, Table, Tools, Trial

TABLE = Table(
    "Many clients of one listener",
    more_is_better=False,
    remark="The latency is from a client to the listener's standard output.",
)
MESSAGE = bytes(64)
MESSAGES = 300
WARM_UP = 100
TOGETHER = 8
OTHER_DESCRIPTORS = 100  # that the driver and the listener may need besides
NCAT_CLIENTS = 1000  # its listener waits with select


def trials(tools: Tools) -> list[Trial]:
    limit = raised_descriptor_limit() - OTHER_DESCRIPTORS
    return [trial(min(wanted, limit), wanted, tools) for wanted in tools.scale.clients]


def raised_descriptor_limit() -> int:
    """The most descriptors that this process, and each that it starts, may now have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


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
    place = tcp_place()
    with (
        two_cores() as (_, far),
        ExitStack() as clients,  # they go last: a listener that is gone tells nothing of it
        Process(netcat.listener("many", place.name), stdout=PIPE, core=far) as listener,
    ):
        place.wait(listener)
        memory = listener.memory
        active = clients.enter_context(join(place.name))
        alone = latency(active, listener)
        begin = time.monotonic()
        for together in groups(count - 1):
            for _ in range(together):
                clients.enter_context(join(place.name)).send(b"x")
            read_exactly(listener.stdout, together)
        heard = time.monotonic() - begin
        memory = listener.memory - memory
        among = latency(active, listener)
    return heard * 1e3, memory / 1024 / count, alone * 1e6, among * 1e6, among / alone


def groups(count: int) -> Iterator[int]:
    """How many come at the same time: no more than every listener's queue has room for."""
    for begin in range(0, count, TOGETHER):
        yield min(TOGETHER, count - begin)


def join(port: str) -> socket.socket:
    return socket.create_connection((HERE, int(port)))


def latency(client: socket.socket, listener: Process) -> float:
    """Seconds until a message has come out of the listener."""
    return statistics.median([time_once(client, listener) for _ in range(WARM_UP + MESSAGES)])


def time_once(client: socket.socket, listener: Process) -> float:
    begin = time.perf_counter()
    client.send(MESSAGE)
    read_exactly(listener.stdout, len(MESSAGE))
    return time.perf_counter() - begin
