"""Measures pync beside other netcats, on the loopback interface of this machine (Linux).

Usage: bench [options] [<measurement>...]

  --rounds N   how many times all take their turns [default: 5]
  --size SIZE  bytes that a transfer moves; k, M and G are known [default: 1G]
  --into DIR   where results.md and chart.svg are put [default: benchmarks]
  --smoke      one round of next to nothing: it shows that all runs, and no more
  -h, --help   this text

The measurements are throughput, tls, proxies, relays, latency, startup, clients,
brokers and datagrams; without a name, all of them.
"""

from __future__ import annotations

import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from docopt import docopt

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
from benchmarks.chart import chart
from benchmarks.netcats import split_by_presence
from benchmarks.report import machine_in_short, report
from benchmarks.trials import Scale, Tools, measure

MEASUREMENTS = {
    "throughput": throughput.trials,
    "tls": tls.trials,
    "proxies": proxies.trials,
    "relays": relays.trials,
    "latency": latency.trials,
    "startup": startup.trials,
    "clients": clients.trials,
    "brokers": brokers.trials,
    "datagrams": datagrams.trials,
}
FULL = Scale(
    size=1 << 30,
    round_trips=3000,
    starts=5,
    clients=(1000, 10_000),
    heard=40_000_000,
    relayed=1000,
    datagrams=50_000,
    patience=60,
)
SMOKE = Scale(
    size=1 << 20,
    round_trips=20,
    starts=1,
    clients=(20,),
    heard=20_000,
    relayed=20,
    datagrams=500,
    patience=10,
)


def main() -> None:
    given = docopt(__doc__)
    names = given["<measurement>"] or list(MEASUREMENTS)
    if unknown := set(names) - set(MEASUREMENTS):
        sys.exit(f"bench: there is no {', '.join(sorted(unknown))}; see bench --help")
    signal.signal(signal.SIGTERM, leave)  # not without ending what was started
    smoke = given["--smoke"]
    rounds = 1 if smoke else parse_count(given["--rounds"])
    scale = SMOKE if smoke else FULL._replace(size=parse_size(given["--size"]))
    bench(names, rounds, scale, Path(given["--into"]))


def leave(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def parse_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        sys.exit(f"bench: no number of rounds: {text}")
    return int(text)


def parse_size(text: str) -> int:
    found = re.fullmatch(r"(\d+)([kMG]?)", text)
    if not found:
        sys.exit(f"bench: no size: {text}")
    return int(found[1]) << {"": 0, "k": 10, "M": 20, "G": 30}[found[2]]


def bench(names: list[str], rounds: int, scale: Scale, into: Path) -> None:
    netcats, missing = split_by_presence()
    command = " ".join(["scripts/bench", *sys.argv[1:]])
    remarks = [
        f"`{command}`; rounds: {rounds}, of which medians; bytes of a transfer: {scale.size:,}",
        *(f"left out, since it is not installed: {netcat.name}" for netcat in missing),
    ]
    with tempfile.TemporaryDirectory(prefix="pync-bench.") as directory:
        tools = Tools(netcats, scale, Path(directory))
        trials = [trial for name in names for trial in MEASUREMENTS[name](tools)]
        results = measure(trials, rounds, scale.patience)
    text = report(results, netcats, remarks)
    into.mkdir(parents=True, exist_ok=True)
    (into / "results.md").write_text(text, encoding="utf-8")
    (into / "chart.svg").write_text(chart(results, machine_in_short()), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
