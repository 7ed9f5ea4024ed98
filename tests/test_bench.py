"""The benchmark runs, and says something about everything that it is to measure."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from harness import Program, Result

TOP = Path(__file__).parent.parent
HEADINGS = [
    "Throughput", "Processor time of both netcats", "Throughput under TLS",
    "Processor time of both under TLS", "Throughput of a proxy", "Throughput of a relay",
    "Round trip through a relay", "Round trip", "Start-up", "Many clients of one listener",
    "A broker", "Datagrams", "Goals",
]  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


def bench(into: Path, *arguments: str) -> Result:
    """Run it in a directory of its own, whose name is then in the commands of all it starts."""
    with Program(
        sys.executable, "-m", "benchmarks", "--into", str(into), *arguments,
        env={"PYTHONPATH": str(TOP), "TMPDIR": str(into.parent)},
    ) as program:  # fmt: skip
        return program.finish(within=50)


def sections(text: str) -> dict[str, list[list[str]]]:
    """The cells of each table's rows, below its heading."""
    found = {}
    for part in text.split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        rows = [line.strip("| ").split("|") for line in body.splitlines() if line.startswith("|")]
        found[heading] = [[cell.strip() for cell in row] for row in rows[2:]]
    return found


def started_by(directory: Path) -> list[str]:
    """The commands of running processes that were told of `directory`."""
    mark = os.fsencode(f"TMPDIR={directory}")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # it has gone, or is none of ours
    return found


def test_the_benchmark_measures_everything(tmp_path: Path) -> None:
    into = tmp_path / "results"
    result = bench(into, "--smoke")
    assert result.status == 0, result.err
    text = (into / "results.md").read_text(encoding="utf-8")
    assert result.out.decode() == text + "\n"
    assert started_by(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]

    missing = re.findall(r"not installed: (.*)", text)
    absent = ["10,000 clients", "1,000 clients", "1,000 connections", *missing]
    absent += ["under TLS"] if "openssl" in missing else []
    headings = [heading for heading in HEADINGS if not any(name in heading for name in absent)]
    found = sections(text)
    assert list(found) == headings
    for heading, rows in found.items():
        assert rows, heading
        if heading != "Goals":
            for label, ours, *_ in rows:
                assert re.fullmatch(r"[\d,.]+", ours), f"{label}: {ours}"
    for goal, bound, _, verdict in found["Goals"]:
        assert re.fullmatch(r"at (least|most) [\d.]+", bound)
        measured = not any(name in goal for name in absent)
        assert verdict in ({"met", "**not met**"} if measured else {"not measured"}), goal

    drawn = ElementTree.parse(into / "chart.svg").getroot()
    assert drawn.tag == f"{SVG}svg"
    texts = [element.text for element in drawn.iter(f"{SVG}text")]
    assert set(headings) - {"Goals"} <= set(texts)
    assert texts.count("pync") == sum(len(rows) for name, rows in found.items() if name != "Goals")


def test_some_of_it_can_be_measured(tmp_path: Path) -> None:
    result = bench(tmp_path / "results", "--smoke", "startup")
    assert result.status == 0, result.err
    assert list(sections(result.out.decode())) == ["Start-up", "Goals"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["nonsense"], "nonsense"), (["--size", "big"], "big"), (["--rounds", "0"], "0")],
)
def test_what_it_cannot_do_it_says(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    result = bench(tmp_path / "results", *arguments)
    assert result.status != 0
    assert complaint in result.err
    assert "Traceback" not in result.err
