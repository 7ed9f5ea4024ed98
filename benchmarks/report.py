"""The results as Markdown."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.goals import GOALS, judge
from benchmarks.netcats import PYNC, ROOMY_SOCAT, Netcat
from benchmarks.trials import Measured, Results, Row, Table, ratio


def report(results: Results, netcats: Sequence[Netcat], remarks: Sequence[str]) -> str:
    lines = ["# pync beside other netcats", "", *machine(netcats)]
    lines += [f"- {remark}" for remark in remarks]
    for table in tables(results):
        lines += section(table, results)
    return "\n".join([*lines, *goals(results), ""])


def machine(netcats: Sequence[Netcat]) -> Iterator[str]:
    programs = [netcat for netcat in netcats if netcat != ROOMY_SOCAT]
    versions = ", ".join(f"{netcat.name} {netcat.tell_version()}" for netcat in programs)
    yield f"- {time.strftime('%Y-%m-%d')}, {machine_in_short()}"
    yield f"- Python {platform.python_version()}; {versions}"


def machine_in_short() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    processor = found[1].strip() if found else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def tables(results: Results) -> list[Table]:
    return list(dict.fromkeys(row.table for row in results))


def rows_of(table: Table, results: Results) -> list[Row]:
    return [row for row in results if row.table == table]


def columns_of(table: Table, results: Results) -> list[str]:
    return list(dict.fromkeys(name for row in rows_of(table, results) for name in results[row]))


def section(table: Table, results: Results) -> Iterator[str]:
    names = columns_of(table, results)
    others = [name for name in names if name != PYNC.name]
    good = "More" if table.more_is_better else "Less"
    intro = f"{good} is better, in all columns. {table.remark}".strip()
    yield from ("", f"## {table.title}", "", intro, "")
    yield from grid_head(["", *names, *(f"pync / {name}" for name in others)])
    for row in rows_of(table, results):
        cells = results[row]
        numbers = [cell(cells[name]) if name in cells else "" for name in names]
        ratios = [shown(ratio(cells, PYNC.name, name)) for name in others]
        yield grid_row([f"{row.label}, {row.unit}", *numbers, *ratios])


def goals(results: Results) -> Iterator[str]:
    yield from ("", "## Goals", "")
    yield from grid_head(["", "goal", "measured", ""])
    words = {True: "met", False: "**not met**", None: "not measured"}
    for goal in GOALS:
        bound = f"{'at least' if goal.table.more_is_better else 'at most'} {goal.bound:g}"
        verdict = judge(goal, results)
        yield grid_row([goal.what, bound, shown(verdict.measured), words[verdict.met]])


def grid_head(cells: Sequence[str]) -> Iterator[str]:
    yield grid_row(cells)
    yield grid_row(["---", *["---:"] * (len(cells) - 1)])


def grid_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in cells) + " |"


def cell(measured: Measured) -> str:
    return measured.failure or shown(measured.median)


def shown(number: float | None) -> str:
    """Three digits are more than there is to know."""
    if number is None:
        return ""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"
