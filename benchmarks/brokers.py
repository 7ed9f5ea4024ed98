"""What one client of a broker says, delivered to all the others."""

from __future__ import annotations

import selectors
import socket
import sys
import time
from contextlib import ExitStack
from functools import partial

from benchmarks.clients import OTHER_DESCRIPTORS, allowed_descriptors, join
from benchmarks.netcats import HERE, NCAT, Netcat
from benchmarks.processes import Failure, Process, tcp_place, two_cores
from benchmarks.trials import Row, Table, Tools, Trial

USE = "broker"
TABLE = Table(
    "A broker",
    more_is_better=True,
    remark="One client sends lines of 100 bytes, each with one call, as fast as it may; each that "
    "another one gets counts. ncat has as many clients as it takes without being told, and what "
    "it does not deliver is lost bytes.",
)
LINE = b"x" * 99 + b"\n"
NCAT_CLIENTS = 100
PIECE = 1 << 20
# Arguments: host, port, lines.  It waits for the end, lest the broker should forget somebody.
SPEAKER = f"""
import socket, sys
host, port, count = sys.argv[1:]
speaker = socket.create_connection((host, int(port)))
for _ in range(int(count)):
    speaker.sendall({LINE!r})
speaker.recv(1)
"""


def trials(tools: Tools) -> list[Trial]:
    wanted = tools.scale.clients[0]
    many = min(wanted, allowed_descriptors(wanted + OTHER_DESCRIPTORS) - OTHER_DESCRIPTORS)
    few = min(many, NCAT_CLIENTS)
    netcats = tools.fit_for(USE)
    return [
        Trial((Row(TABLE, label, "million/s"),), netcats, partial(rate, *counts, tools.scale.heard))
        for label, counts in (
            (f"{few:,} clients", (few, few)),
            (f"{many:,} clients (ncat: {few:,})", (many, few)),
        )
    ]


def rate(count: int, ncats: int, heard: int, netcat: Netcat) -> tuple[float]:
    """Lines delivered per second, in millions, if about so many are."""
    listeners = (ncats if netcat == NCAT else count) - 1
    place = tcp_place()
    with (
        two_cores() as (_, far),
        ExitStack() as stack,
        Process(netcat.listener(USE, place.name), core=far) as broker,
    ):
        place.wait(broker)
        clients = [stack.enter_context(join(place)) for _ in range(listeners)]
        lines = heard // listeners
        # It comes last, so that it is heard by those who came before.
        speaker = [sys.executable, "-c", SPEAKER, HERE, place.name, str(lines)]
        with Process(speaker):
            seconds = hear(clients, lines * len(LINE))
    return (lines * listeners / seconds / 1e6,)


def hear(clients: list[socket.socket], size: int) -> float:
    """Seconds from the first byte that one of them gets until each has so many."""
    buffer = bytearray(PIECE)
    missing = dict.fromkeys(clients, size)
    begin = None
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ, client)
        while missing:
            ready = selector.select()
            begin = begin or time.monotonic()
            for key, _ in ready:
                got = key.data.recv_into(buffer, 0, socket.MSG_TRUNC)  # not copied: tcp(7)
                missing[key.data] -= got
                if not got or missing[key.data] < 0:
                    raise Failure("lost bytes")
                if not missing[key.data]:
                    del missing[key.data]
                    selector.unregister(key.data)
    assert begin
    return time.monotonic() - begin
