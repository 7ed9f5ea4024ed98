"""What is measured, and in which order.

A trial runs one netcat once and gives a number for each of its rows.  All
netcats take their turns in one round before the next one begins, so that a slow
minute of the machine is a slow minute for all.  Each round begins with another
one, since the first may find less in the caches.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.netcats import Netcat
from benchmarks.processes import Failure, time_limit


class Scale(NamedTuple):
    """How much of everything there is."""

    size: int  # bytes of a transfer
    round_trips: int
    starts: int  # in each round
    clients: tuple[int, ...]
    heard: int  # lines, by all clients of a broker together
    relayed: int  # connections that stand in a relay
    datagrams: int
    patience: float  # seconds that one run may take before it counts as hung


class Table(NamedTuple):
    title: str
    more_is_better: bool
    remark: str = ""


class Row(NamedTuple):
    table: Table
    label: str
    unit: str


class Trial(NamedTuple):
    rows: tuple[Row, ...]
    netcats: Sequence[Netcat]
    run: Callable[[Netcat], Sequence[float]]
    check: Callable[[Netcat], Sequence[float]] | None = None  # run once, before, for its failure
    repeats: int = 1


class Measured:
    """What came of one row with one netcat."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.failure = ""

    @property
    def median(self) -> float | None:
        return None if self.failure or not self.numbers else statistics.median(self.numbers)


Results = dict[Row, dict[str, Measured]]  # by the netcat's name


def ratio(cells: dict[str, Measured], name: str, other: str) -> float | None:
    if name not in cells or other not in cells:
        return None
    one, two = cells[name].median, cells[other].median
    return one / two if one is not None and two else None


class Tools(NamedTuple):
    """What makers of trials get."""

    netcats: Sequence[Netcat]
    scale: Scale
    directory: Path

    def fit_for(self, use: str) -> list[Netcat]:
        return [netcat for netcat in self.netcats if use in netcat.uses]


def measure(trials: Sequence[Trial], rounds: int, patience: float) -> Results:
    runner = Runner(trials, patience)
    for trial in trials:
        runner.check(trial)
    for number in range(1, rounds + 1):
        for trial in trials:
            tell(f"round {number} of {rounds}: {trial.rows[0].label}")
            runner.run(trial, first=number % len(trial.netcats))
    return runner.results


class Runner:
    """Gives the netcats their turns, and keeps what comes of it."""

    def __init__(self, trials: Sequence[Trial], patience: float) -> None:
        self._patience = patience
        self.results: Results = {
            row: {netcat.name: Measured() for netcat in trial.netcats}
            for trial in trials
            for row in trial.rows
        }

    def check(self, trial: Trial) -> None:
        if trial.check:
            tell(f"checking: {trial.rows[0].label}")
            for netcat in trial.netcats:
                self._attempt(trial, netcat, trial.check)

    def run(self, trial: Trial, first: int) -> None:
        order = [*trial.netcats[first:], *trial.netcats[:first]]
        for netcat in order * trial.repeats:
            numbers = self._attempt(trial, netcat, trial.run)
            for row, number in zip(trial.rows, numbers, strict=False):
                self.results[row][netcat.name].numbers.append(number)

    def _attempt(
        self, trial: Trial, netcat: Netcat, run: Callable[[Netcat], Sequence[float]]
    ) -> Sequence[float]:
        """The numbers; none once it has failed, which is noted in their place."""
        measured = [self.results[row][netcat.name] for row in trial.rows]
        if any(one.failure for one in measured):
            return ()
        try:
            with time_limit(self._patience):
                return run(netcat)
        except (Failure, OSError) as failure:
            tell(f"{trial.rows[0].label}, {netcat.name}: {failure}")
            for one in measured:
                one.failure = str(failure)
            return ()


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
