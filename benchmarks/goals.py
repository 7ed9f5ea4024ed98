"""What pync is to reach, and whether it does."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks import clients, datagrams, latency, startup, throughput
from benchmarks.netcats import BARE_PYTHON, NCAT, OPENBSD, PYNC, ROOMY_SOCAT, Netcat
from benchmarks.trials import Results, Table, ratio


class Goal(NamedTuple):
    """A bound for pync's number, or for its ratio to that of another."""

    table: Table
    label: str
    bound: float
    beside: Netcat | None = None

    def met_by(self, number: float | None) -> bool | None:
        """None for a number that there is not."""
        if number is None:
            return None
        return number >= self.bound if self.table.more_is_better else number <= self.bound

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
    Goal(latency.TABLE, "64 bytes there and back", 1.15, OPENBSD),
    Goal(startup.TABLE, "connect, close, end (-z)", 2.0, BARE_PYTHON),
    Goal(clients.TABLE, "10,000 clients: memory for each", 20),
    Goal(clients.TABLE, "10,000 clients: among all / alone", 1.2),
    Goal(datagrams.TABLE, "received, 64 bytes each", 0.8, OPENBSD),
    Goal(datagrams.TABLE, "received, 1,400 bytes each", 0.8, OPENBSD),
)


def judge(results: Results) -> list[tuple[Goal, float | None]]:
    return [(goal, measured(goal, results)) for goal in GOALS]


def measured(goal: Goal, results: Results) -> float | None:
    """The number that the goal bounds; None if there is none."""
    for row, cells in results.items():
        if (row.table, row.label) == (goal.table, goal.label) and PYNC.name in cells:
            if goal.beside:
                return ratio(cells, PYNC.name, goal.beside.name)
            return cells[PYNC.name].median
    return None
