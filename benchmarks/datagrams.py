"""How many datagrams a second, none of which is lost.

The driver has at most WINDOW of them under way, so that what is measured is the
netcat and not the size of the kernel's buffers.  Those that a netcat sends are
messages of a socket of packets on its standard input, one read each.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable
from functools import partial

from benchmarks.netcats import HERE, Netcat
from benchmarks.processes import PIPE, Failure, Hung, Process, udp_place
from benchmarks.trials import Row, Table, Tools, Trial

TABLE = Table(
    "Datagrams",
    more_is_better=True,
    remark="At most 64 are under way, and none may be lost. To a receiver the kernel sends 32 "
    "at a time (UDP_SEGMENT), so that none waits for the driver.",
)
SIZES = (64, 1400)
WINDOW = 64
BURST = WINDOW // 2
UDP_SEGMENT = 103  # linux/udp.h: the size of the datagrams that a send is divided into
ROOM = 1 << 20  # bytes in the pipe from a receiver, so that it need not wait for the driver


def trials(tools: Tools) -> list[Trial]:
    return [
        Trial(
            (Row(TABLE, f"{verb}, {size:,} bytes each", "1/s"),),
            tools.fit_for("datagrams"),
            partial(run, size, tools.scale.datagrams),
        )
        for verb, run in (("received", receive), ("sent", send))
        for size in SIZES
    ]


def receive(size: int, count: int, netcat: Netcat) -> tuple[float]:
    place = udp_place()
    with (
        Process(netcat.listener("datagrams", place.name), stdout=PIPE) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as driver,
    ):
        fcntl.fcntl(receiver.stdout, fcntl.F_SETPIPE_SZ, ROOM)
        place.wait(receiver)
        driver.connect((HERE, int(place.name)))
        driver.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)

        def put(burst: int) -> None:
            driver.send(bytes(size * burst))

        def take() -> int:
            data = os.read(receiver.stdout, 1 << 16)
            if not data:
                raise Failure("ended early")
            return len(data)

        return (rate(size, count, put, take),)


def send(size: int, count: int, netcat: Netcat) -> tuple[float]:
    driver, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with driver, given, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((HERE, 0))
        port = str(peer.getsockname()[1])
        with Process(netcat.client("datagrams", port), stdin=given.fileno()):
            given.close()

            def put(burst: int) -> None:
                for _ in range(burst):
                    driver.send(bytes(size))

            def take() -> int:
                if len(peer.recv(size + 1)) != size:
                    raise Failure("other sizes")
                return size

            return (rate(size, count, put, take),)


def rate(size: int, count: int, put: Callable[[int], None], take: Callable[[], int]) -> float:
    """Datagrams per second, once a first few have got through."""
    try:
        exchange(size, WINDOW, put, take)
        begin = time.monotonic()
        exchange(size, count, put, take)
    except Hung:
        raise Failure("lost bytes") from None
    return count / (time.monotonic() - begin)


def exchange(size: int, count: int, put: Callable[[int], None], take: Callable[[], int]) -> None:
    """put sends so many datagrams; take waits for some, and returns how many bytes came."""
    sent = came = 0
    while came < count * size:
        while sent < count and sent - came // size <= WINDOW - BURST:
            burst = min(BURST, count - sent)
            put(burst)
            sent += burst
        came += take()
