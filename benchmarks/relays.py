"""How fast a relay passes on, and how soon, with many connections open.

The driver is the clients and the target, as it is with proxies.
"""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.clients import OTHER_DESCRIPTORS, allowed_descriptors
from benchmarks.netcats import HERE, Netcat
from benchmarks.processes import Failure, Process, tcp_place, two_cores
from benchmarks.proxies import Take, compare, discard, send
from benchmarks.throughput import GIB, original_file
from benchmarks.trials import Row, Table, Tools, Trial

USE = "relay"
SPEED = Table(
    "Throughput of a relay",
    more_is_better=True,
    remark="One connection, in one direction, between two sockets of the driver.",
)
DELAY = Table(
    "Round trip through a relay",
    more_is_better=False,
    remark="64 bytes there and back through one connection; the others are silent.",
)
MESSAGE = bytes(range(64))
WARM_UP = 100  # round trips
PATIENCE = 10.0  # seconds for a connection to get through

Pair = tuple[socket.socket, socket.socket]  # a client's, and what the target has of it


def trials(tools: Tools) -> list[Trial]:
    original = original_file(tools)
    netcats = tools.fit_for(USE)
    wanted = tools.scale.relayed
    others = min(wanted, allowed_descriptors(2 * wanted + OTHER_DESCRIPTORS) // 2)
    return [
        Trial(
            (Row(SPEED, "one connection", "GiB/s"),),
            netcats,
            run=partial(throughput, original, discard),
            check=partial(throughput, original, partial(compare, original)),
        ),
        Trial(
            (Row(DELAY, f"with {others:,} connections open", "µs"),),
            netcats,
            run=partial(delay, others, tools.scale.round_trips),
        ),
    ]


@contextmanager
def relaying(netcat: Netcat, core: int | None = None) -> Iterator[tuple[int, socket.socket]]:
    """A relay's port, and the listening socket that it leads to."""
    place = tcp_place()
    with socket.create_server((HERE, 0), backlog=128) as target:
        target.settimeout(PATIENCE)
        behind = str(target.getsockname()[1])
        with Process(netcat.listener(USE, place.name, behind), core=core) as relay:
            place.wait(relay)
            yield int(place.name), target


def connect(port: int, target: socket.socket, stack: ExitStack) -> Pair:
    client = stack.enter_context(socket.create_connection((HERE, port)))
    server, _ = target.accept()
    return client, stack.enter_context(server)


def throughput(original: Path, take: Take, netcat: Netcat) -> tuple[float]:
    with ExitStack() as stack, relaying(netcat) as (port, target):
        client, server = connect(port, target, stack)
        begin = time.monotonic()
        sender = threading.Thread(target=send, args=(client, original), daemon=True)
        sender.start()
        taken = take(server)
        seconds = time.monotonic() - begin
        sender.join()
    if taken != original.stat().st_size:
        raise Failure("lost bytes")
    return (taken / GIB / seconds,)


def delay(others: int, count: int, netcat: Netcat) -> tuple[float]:
    with (
        two_cores() as (_, far),
        ExitStack() as stack,
        relaying(netcat, far) as (port, target),
    ):
        for _ in range(others):
            connect(port, target, stack)
        pair = connect(port, target, stack)
        for sock in pair:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = [time_once(*pair) for _ in range(WARM_UP + count)]
    return (statistics.median(times[WARM_UP:]) * 1e6,)


def time_once(client: socket.socket, server: socket.socket) -> float:
    begin = time.perf_counter()
    client.sendall(MESSAGE)
    server.sendall(server.recv(len(MESSAGE), socket.MSG_WAITALL))
    back = client.recv(len(MESSAGE), socket.MSG_WAITALL)
    taken = time.perf_counter() - begin
    if back != MESSAGE:
        raise Failure("other bytes")
    return taken
