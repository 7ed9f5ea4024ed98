"""A session on a machine that takes its time between two looks at the clock, and one between two
connections of which one breaks while the other still sends."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from harness import PATIENCE
from plain_peer import drain_until_reset, reset

from pync import movers
from pync.endings import Terms
from pync.errors import ConnectionLost
from pync.loop import Loop
from pync.session import Session
from pync.stream import READ, Endpoint, Ends, Sink, WouldBlock
from pync.transports.memory import Discard, Given
from pync.transports.sockets import SocketEndpoint, SocketSink
from pync.transports.unix import UnixAddress


class SlowClock:
    """It goes on by half a second whenever somebody looks."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


class Acknowledging(Sink):
    """Its peer acknowledges a byte whenever somebody asks."""

    waiting = 0

    def write(self, data: bytes | memoryview) -> int:
        self.waiting += len(data)
        return len(data)

    def unacknowledged(self) -> int:
        self.waiting = max(0, self.waiting - 1)
        return self.waiting


def test_the_next_look_at_what_is_unacknowledged_is_not_taken_for_its_end() -> None:
    waiting = []

    class Remote(Endpoint):
        def close(self) -> None:
            waiting.append(sink.waiting)

    sink = Acknowledging()
    with Loop(SlowClock()) as loop:
        remote = Remote(Given(), sink, UnixAddress("peer"))
        loop.run(Session(loop, Ends(Given(b"words"), Discard()), remote, Terms()))
    assert waiting == [0]


# A tunnel: what broke is told as such, whichever of the two flows meets it first.  The other one
# then finds an end, as a socket gives its error once.


class Until:
    """A task that is over once there is something to read."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def advance(self) -> bool:
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            raise WouldBlock(self._sock.fileno(), READ) from None
        return False


def tcp_pair() -> tuple[socket.socket, Endpoint]:
    """A socket, and the endpoint at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), PATIENCE)
        theirs, _ = listener.accept()
    return ours, SocketEndpoint(theirs, UnixAddress("peer"), SocketSink)


@pytest.mark.parametrize("ways", [movers.MOVERS, [movers.Copy]], ids=["all movers", "copying"])
@pytest.mark.parametrize("broken", ["client", "target"])
def test_a_reset_met_by_a_write_does_not_look_like_an_end_to_the_other_side(
    broken: str, ways: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movers, "MOVERS", ways)
    (client, local), (target, remote) = tcp_pair(), tcp_pair()
    breaks, other = (client, target) if broken == "client" else (target, client)
    with client, target, Loop() as loop:
        session = Session(loop, Ends(local.source, local.sink), remote, Terms(passes_failure=True))
        other.sendall(b"hello")
        breaks.setblocking(False)
        loop.run(Until(breaks))  # both directions are under way, and wait
        other.sendall(b"more")
        reset(breaks)
        with pytest.raises(ConnectionLost):
            loop.run(session)
        local.abort()
        assert drain_until_reset(other) == b""
