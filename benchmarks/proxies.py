"""How fast a proxy passes on what goes through one tunnel.

The driver is the client and the target.  It costs as little as it can, the same for
all: sendfile on one side, and on the other the kernel throws away what has come.  An
earlier run is compared byte by byte.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path

from benchmarks.netcats import HERE, Netcat
from benchmarks.processes import Failure, Process, tcp_place
from benchmarks.throughput import GIB, original_file
from benchmarks.trials import Row, Table, Tools, Trial

TABLE = Table(
    "Throughput of a proxy",
    more_is_better=True,
    remark="One tunnel, in one direction, between two sockets of the driver.",
)
SOCKS5, HTTP = "SOCKS5", "HTTP CONNECT"
ROOM = 1 << 20  # bytes taken at a time

Take = Callable[[socket.socket], int]  # all that there is, and returns how many bytes
Ask = Callable[[socket.socket, int], None]  # for a tunnel to that port


def trials(tools: Tools) -> list[Trial]:
    original = original_file(tools)
    return [
        Trial(
            (Row(TABLE, label, "GiB/s"),),
            tools.fit_for(use),
            run=partial(run, use, ask, original, discard),
            check=partial(run, use, ask, original, partial(compare, original)),
        )
        for label, use, ask in (
            (SOCKS5, "socks5 proxy", ask_socks5),
            (HTTP, "http proxy", ask_http),
        )
    ]


def run(use: str, ask: Ask, original: Path, take: Take, netcat: Netcat) -> tuple[float]:
    place = tcp_place()
    with (
        Process(netcat.listener(use, place.name)) as proxy,
        socket.create_server((HERE, 0)) as target,
    ):
        place.wait(proxy)
        with tunnel(int(place.name), ask, target) as (client, server):
            begin = time.monotonic()
            sender = threading.Thread(target=send, args=(client, original), daemon=True)
            sender.start()
            taken = take(server)
            seconds = time.monotonic() - begin
            sender.join()
    if taken != original.stat().st_size:
        raise Failure("lost bytes")
    return (taken / GIB / seconds,)


@contextmanager
def tunnel(
    proxy: int, ask: Ask, target: socket.socket
) -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_connection((HERE, proxy)) as client:
        ask(client, target.getsockname()[1])
        server, _ = target.accept()
        with server:
            yield client, server


def ask_socks5(client: socket.socket, port: int) -> None:
    client.sendall(b"\5\1\0")
    expect(client.recv(2) == b"\5\0")
    client.sendall(b"\5\1\0\1" + socket.inet_aton(HERE) + port.to_bytes(2, "big"))
    expect(client.recv(10)[:2] == b"\5\0")


def ask_http(client: socket.socket, port: int) -> None:
    client.sendall(b"CONNECT %b:%d HTTP/1.1\r\nHost: here\r\n\r\n" % (HERE.encode(), port))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += client.recv(1)
    expect(b" 200 " in answer)


def expect(granted: bool) -> None:
    if not granted:
        raise Failure("no tunnel")


def send(client: socket.socket, original: Path) -> None:
    with original.open("rb") as file:
        client.sendfile(file)
    client.shutdown(socket.SHUT_WR)


def discard(server: socket.socket) -> int:
    room, taken = bytearray(ROOM), 0
    while count := server.recv_into(room, 0, socket.MSG_TRUNC):  # tcp(7): it is not copied
        taken += count
    return taken


def compare(original: Path, server: socket.socket) -> int:
    digest, room, taken = hashlib.blake2b(), bytearray(ROOM), 0
    while count := server.recv_into(room):
        digest.update(memoryview(room)[:count])
        taken += count
    with original.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as sent:
        if hashlib.blake2b(sent).digest() != digest.digest():
            raise Failure("other bytes")
    return taken
