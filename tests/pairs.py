"""Connected pairs, one maker for each transport: what the conformance suite runs over.

A new transport needs a row in PAIRS, nothing else.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pync.flow import Flow
from pync.loop import Loop
from pync.options import Options
from pync.stream import Attempt, Condition, Endpoint, Ends, Listener, Sink, Source, WouldBlock
from pync.transports import stdio, stdio_threads, transport
from pync.transports.memory import Discard, Given, MemoryPipe


class Done:
    """A task that is over once `condition` holds; it looks whenever it is notified."""

    def __init__(self, changed: Condition, condition: Callable[[], bool]) -> None:
        self._changed = changed
        self._condition = condition

    def advance(self) -> bool:
        if not self._condition():
            raise WouldBlock(condition=self._changed)
        return False


def move(*ways: tuple[Source, Sink]) -> list[Flow]:
    """Move everything along each of the ways, all in one loop, to their ends."""
    with Loop() as loop:
        return move_in(loop, *ways)


def move_in(loop: Loop, *ways: tuple[Source, Sink]) -> list[Flow]:
    changed = Condition()
    flows = [Flow(source, sink, loop.clock, changed) for source, sink in ways]
    for flow in flows:
        loop.spawn(flow)
    loop.run(Done(changed, lambda: all(flow.over for flow in flows)))
    return flows


class Pair(NamedTuple):
    """Two ends; what is written to one is read from the other."""

    near: Ends
    far: Ends


def met(listener: Listener, attempt: Attempt) -> tuple[Endpoint, Endpoint]:
    """Bring a connection about by trying both sides in turn."""
    near = far = None
    for _ in range(1000):
        near = near or tried(attempt.finish)
        if near and not near.has_end and not far:
            near.sink.write(b"first")  # a datagram peer is known by what it sends
        far = far or tried(listener.accept)
        if near and far:
            return near, far
    raise AssertionError("they did not meet")


def tried(operation: Callable[[], Endpoint]) -> Endpoint | None:
    try:
        return operation()
    except WouldBlock:
        return None


@contextmanager
def connected(name: str, listening: Options, connecting: Options) -> Iterator[Pair]:
    """A pair over the transport called `name`."""
    via = transport(name)
    listener = via.listen(listening)
    if not connecting.path:
        connecting = connecting._replace(port=listener.places[0].split()[-1])
    attempt = via.connect(via.addresses(connecting)[0], connecting)
    near, far = met(listener, attempt)
    if not far.has_end:
        assert far.source.read(100) == b"first"
    try:
        source = Pumped(far.source, listener) if listening.keep_open else far.source
        yield Pair(Ends(near.source, near.sink), Ends(source, far.sink))
    finally:
        for part in (near, far, listener):
            part.close()


class Pumped(Source):
    """A peer's source on a shared socket, with the listener that hands its datagrams out."""

    framed = True

    def __init__(self, source: Source, listener: Listener) -> None:
        self._source = source
        self._listener = listener

    def read(self, limit: int) -> bytes:
        with pytest.raises(WouldBlock) as nothing_more:
            self._listener.accept()
        try:
            return self._source.read(limit)
        except WouldBlock:
            raise nothing_more.value from None


def inet(name: str, host: str) -> AbstractContextManager[Pair]:
    options = Options(host=host, port="0", udp=name == "udp")
    return connected(name, options._replace(listen=True), options)


def many_peers() -> AbstractContextManager[Pair]:
    options = Options(host="127.0.0.1", port="0", udp=True)
    return connected("udp", options._replace(listen=True, keep_open=True), options)


def unix(tmp_path: Path, *, udp: bool) -> AbstractContextManager[Pair]:
    options = Options(path=str(tmp_path / "socket"), unixsock=True, udp=udp)
    return connected("unix", options._replace(listen=True), options)


@contextmanager
def memory() -> Iterator[Pair]:
    there, back = MemoryPipe(1 << 16), MemoryPipe(1 << 16)
    yield Pair(Ends(back, there), Ends(there, back))


@contextmanager
def inherited(streams: object, make: Callable[[], tuple[int, int]]) -> Iterator[Pair]:
    """Two pipes, or pairs of sockets, as a process finds them at its start."""
    with ExitStack() as descriptors:
        ends = []
        for reading, writing in (make(), make()):
            descriptors.callback(os.close, reading)
            descriptors.callback(os.close, writing)
            ends.append(
                (streams.standard_input(reading), streams.standard_output(writing))  # type: ignore[attr-defined]
            )
        (far_source, near_sink), (near_source, far_sink) = ends
        yield Pair(Ends(near_source, near_sink), Ends(far_source, far_sink))
        move((Given(), near_sink), (far_source, Discard()))
        move((Given(), far_sink), (near_source, Discard()))


def socket_pair() -> tuple[int, int]:
    reading, writing = socket.socketpair()
    return reading.detach(), writing.detach()


PAIRS: dict[str, Callable[[Path], AbstractContextManager[Pair]]] = {
    "tcp over IPv4": lambda _: inet("tcp", "127.0.0.1"),
    "tcp over IPv6": lambda _: inet("tcp", "::1"),
    "unix stream": lambda tmp_path: unix(tmp_path, udp=False),
    "memory": lambda _: memory(),
    "inherited pipes": lambda _: inherited(stdio, os.pipe),
    "inherited sockets": lambda _: inherited(stdio, socket_pair),
    "threads before pipes": lambda _: inherited(stdio_threads, os.pipe),
}

DATAGRAM_PAIRS: dict[str, Callable[[Path], AbstractContextManager[Pair]]] = {
    "udp over IPv4": lambda _: inet("udp", "127.0.0.1"),
    "udp over IPv6": lambda _: inet("udp", "::1"),
    "udp, many peers": lambda _: many_peers(),
    "unix datagrams": lambda tmp_path: unix(tmp_path, udp=True),
}
