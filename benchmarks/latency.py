"""How long a little takes to cross, and to come back.

The driver and the client share one core, the listener has another one.
"""

from __future__ import annotations

import os
import statistics
import time
from functools import partial

from benchmarks.netcats import Netcat
from benchmarks.processes import PIPE, Process, read_exactly, tcp_place, two_cores
from benchmarks.trials import Row, Table, Tools, Trial

TABLE = Table(
    "Round trip",
    more_is_better=False,
    remark="Through a client to a listener, and back. The driver shares the client's core.",
)
USE = "both ways"
MESSAGE = bytes(range(64))
WARM_UP = 200  # round trips


def trials(tools: Tools) -> list[Trial]:
    row = Row(TABLE, "64 bytes there and back", "µs")
    return [Trial((row,), tools.fit_for(USE), partial(round_trip, tools.scale.round_trips))]


def round_trip(count: int, netcat: Netcat) -> tuple[float]:
    place = tcp_place()
    with (
        two_cores() as (near, far),
        Process(netcat.listener(USE, place.name), PIPE, PIPE, far) as listener,
    ):
        place.wait(listener)
        with Process(netcat.client(USE, place.name), PIPE, PIPE, near) as client:
            times = [time_once(client, listener) for _ in range(WARM_UP + count)]
    return (statistics.median(times[WARM_UP:]) * 1e6,)


def time_once(client: Process, listener: Process) -> float:
    begin = time.perf_counter()
    os.write(client.stdin, MESSAGE)
    there = read_exactly(listener.stdout, len(MESSAGE))
    os.write(listener.stdin, there)
    back = read_exactly(client.stdout, len(MESSAGE))
    taken = time.perf_counter() - begin
    assert back == MESSAGE
    return taken
