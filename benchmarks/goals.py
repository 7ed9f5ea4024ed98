"""What pync is to reach, and whether it does."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks import (
    brokers,
    clients,
    datagrams,
    latency,
    proxies,
    relays,
    startup,
    throughput,
    tls,
)
from benchmarks.netcats import (
    BARE_PYTHON,
    MICROSOCKS,
    NCAT,
    OPENBSD,
    PYNC,
    ROOMY_SOCAT,
    SOCAT,
    Netcat,
)
from benchmarks.trials import Measured, Results, Table, ratio


class Goal(NamedTuple):
    """A bound for pync's number, or for its ratio to that of another."""

    table: Table
    label: str
    bound: float
    beside: Netcat | None = None

    @property
    def what(self) -> str:
        beside = f", beside {self.beside.name}" if self.beside else ""
        return f"{self.table.title}: {self.label}{beside}"


FILE_TO_NULL, PIPES, FILES = "file to /dev/null", "pipe to pipe", "file to file"
UNIX = "unix socket, file to /dev/null"

GOALS = (
    Goal(throughput.SPEED, FILE_TO_NULL, 2.0, OPENBSD),
    Goal(throughput.SPEED, FILE_TO_NULL, 2.0, NCAT),
    Goal(throughput.SPEED, FILE_TO_NULL, 1.2, ROOMY_SOCAT),
    Goal(throughput.SPEED, PIPES, 1.2, OPENBSD),
    Goal(throughput.SPEED, PIPES, 1.5, NCAT),
    Goal(throughput.SPEED, PIPES, 1.5, ROOMY_SOCAT),
    Goal(throughput.SPEED, FILES, 1.2, OPENBSD),
    Goal(throughput.SPEED, FILES, 1.5, NCAT),
    Goal(throughput.SPEED, FILES, 1.0, ROOMY_SOCAT),
    Goal(throughput.COST, FILE_TO_NULL, 0.6, OPENBSD),
    Goal(throughput.COST, PIPES, 0.8, OPENBSD),
    Goal(throughput.COST, FILES, 0.8, OPENBSD),
    Goal(throughput.COST, UNIX, 0.8, OPENBSD),
    Goal(tls.SPEED, tls.THERE, 1.0, NCAT),
    Goal(tls.SPEED, tls.BACK, 1.0, NCAT),
    Goal(tls.SPEED, tls.TO_SERVER, 1.0, SOCAT),
    Goal(tls.SPEED, tls.TO_SERVER, 1.0, ROOMY_SOCAT),
    Goal(tls.SPEED, tls.FROM_SERVER, 1.0, SOCAT),
    Goal(tls.SPEED, tls.FROM_SERVER, 1.0, ROOMY_SOCAT),
    Goal(proxies.TABLE, proxies.SOCKS5, 0.9, MICROSOCKS),
    Goal(proxies.TABLE, proxies.HTTP, 0.9, NCAT),
    Goal(relays.SPEED, "one connection", 1.2, SOCAT),
    Goal(relays.DELAY, "with 1,000 connections open", 1.15, SOCAT),
    Goal(latency.TABLE, "64 bytes there and back", 1.15, OPENBSD),
    Goal(startup.TABLE, "connect, close, end (-z)", 2.0, BARE_PYTHON),
    Goal(clients.TABLE, "10,000 clients: memory for each", 20),
    Goal(clients.TABLE, "10,000 clients: among all / alone", 1.2),
    Goal(brokers.TABLE, "1,000 clients (ncat: 100)", 3.0, NCAT),
    Goal(datagrams.TABLE, "received, 64 bytes each", 0.8, OPENBSD),
    Goal(datagrams.TABLE, "received, 1,400 bytes each", 0.8, OPENBSD),
)


class Verdict(NamedTuple):
    measured: float | None
    met: bool | None  # None: there is nothing to judge by


def judge(goal: Goal, results: Results) -> Verdict:
    cells = cells_of(goal, results)
    if PYNC.name in cells and cells[PYNC.name].failure:
        return Verdict(None, met=False)
    number = ratio(cells, PYNC.name, goal.beside.name) if goal.beside else own_number(cells)
    if number is None:
        return Verdict(None, met=None)
    enough = number >= goal.bound if goal.table.more_is_better else number <= goal.bound
    return Verdict(number, enough)


def cells_of(goal: Goal, results: Results) -> dict[str, Measured]:
    for row, cells in results.items():
        if (row.table, row.label) == (goal.table, goal.label):
            return cells
    return {}


def own_number(cells: dict[str, Measured]) -> float | None:
    return cells[PYNC.name].median if PYNC.name in cells else None
