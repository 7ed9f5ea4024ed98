"""How long it takes to find out that a port is open."""

from __future__ import annotations

import socket
import time

from benchmarks.netcats import BARE_PYTHON, HERE, Netcat
from benchmarks.processes import Process
from benchmarks.trials import Row, Table, Tools, Trial

TABLE = Table(
    "Start-up",
    more_is_better=False,
    remark="Bare python is the same interpreter, which does the same in one line.",
)


def trials(tools: Tools) -> list[Trial]:
    row = Row(TABLE, "connect, close, end (-z)", "ms")
    netcats = [*tools.fit_for("probe"), BARE_PYTHON]
    return [Trial((row,), netcats, probe, repeats=tools.scale.starts)]


def probe(netcat: Netcat) -> tuple[float]:
    with socket.create_server((HERE, 0)) as server:
        port = str(server.getsockname()[1])
        with Process(netcat.client("probe", port)) as process:
            ended = process.finish()
            taken = time.monotonic() - process.started
        ended.check()
        server.accept()[0].close()  # it was there
    return (taken * 1e3,)
