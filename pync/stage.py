"""A protocol between two faces: plain towards the user, wire towards the peer.

    user  <--flows-->  plain | engine | wire  <--flows-->  peer

The engine (wire/) is bytes in, bytes out.  The faces are ordinary sources and
sinks, so stages stack, and run over anything that has a source and a sink.
Whatever happens at one face may let another go on: all four wait for, and
notify, one condition.

Each way in is stopped by the backlog of its own way alone.  If what is to be
sent stopped the receiving as well, two engines with much to send would each
wait for the other to read.  So an engine must bound what it answers by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from pync.stream import Condition, EndOfStream, Ends, Sink, Source, WouldBlock

HIGH_WATER = 256 * 1024  # bytes in an engine, one way, that stop more from coming in
# Bytes at a time, in and out.  From 128 KiB on, malloc asks the kernel for memory each time.
PIECE = 112 * 1024
RECORD = 16 * 1024  # bytes of the user's that any engine makes one thing of


class Dialogue(Protocol):
    """What two programs say to each other before the user's bytes pass."""

    @property
    def established(self) -> bool:
        """Whether that is over."""

    def receive(self, data: bytes | memoryview) -> None:
        """These bytes came from the peer.  Raises ProtocolError if they make no sense."""

    def receive_end(self) -> None:
        """The peer's bytes have ended.  Raises ProtocolError if that is too early."""

    def data_to_send(self, limit: int) -> bytes:
        """Up to `limit` bytes for the wire; empty if there is nothing now."""


class Engine(Dialogue, Protocol):
    """A protocol's state, in one role."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What -v says of it once it is established, a line each."""

    def send(self, data: bytes | memoryview) -> int:
        """The user wants these bytes to get to the peer; how many have been taken.

        0 is for now: they are offered again when something has come from the peer.
        """

    def send_end(self) -> None:
        """The user's bytes have ended."""

    def data_received(self, limit: int) -> bytes:
        """Up to `limit` bytes for the user; empty if there is nothing now."""

    @property
    def send_backlog(self) -> int:
        """Bytes for the wire that data_to_send has not given."""

    @property
    def receive_backlog(self) -> int:
        """Bytes for the user that data_received has not given."""

    @property
    def send_over(self) -> bool:
        """Whether the wire will get nothing beyond the backlog."""

    @property
    def receive_over(self) -> bool:
        """Whether the user will get nothing beyond the backlog."""


class Transparent(Engine, Protocol):
    """One for bytes that come to the peer's user as they are."""

    def legible(self, data: bytes, sent: int) -> int:
        """How many bytes of `data`, which send has taken at once, up to a record's worth of
        them, can be told from the first `sent` bytes of what became of them."""


class Outlet(NamedTuple):
    """One of an engine's two outputs."""

    take: Callable[[int], bytes]
    backlog: Callable[[], int]
    over: Callable[[], bool]


class FaceSource(Source):
    """What comes out of an engine at one face."""

    def __init__(self, outlet: Outlet, changed: Condition) -> None:
        self._outlet = outlet
        self._changed = changed

    @property
    def backlog(self) -> int:
        return self._outlet.backlog()

    def read(self, limit: int) -> bytes:
        data = self._outlet.take(min(limit, PIECE))
        over = not data and self._outlet.over()
        if not (data or over):
            raise WouldBlock(condition=self._changed)
        self._changed.notify()
        if over:
            raise EndOfStream
        return data


class FaceSink(Sink):
    """What goes into an engine at one face."""

    limit = PIECE

    def __init__(
        self,
        put: Callable[[bytes | memoryview], int],
        put_end: Callable[[], None],
        backlog: Callable[[], int],
        changed: Condition,
    ) -> None:
        self._put = put
        self._put_end = put_end
        self._backlog = backlog
        self._changed = changed

    def write(self, data: bytes | memoryview) -> int:
        taken = self._put(data) if self._backlog() < HIGH_WATER else 0
        if not taken:
            raise WouldBlock(condition=self._changed)
        self._changed.notify()
        return taken

    def end(self) -> None:
        try:
            self._put_end()
        finally:
            self._changed.notify()


class Stage:
    """An engine with its two faces.  changed: notified of whatever happens at either."""

    def __init__(self, engine: Engine) -> None:
        self.changed = changed = Condition()
        self._engine = engine
        to_user = Outlet(
            self._take_received, lambda: engine.receive_backlog, lambda: engine.receive_over
        )
        to_wire = Outlet(engine.data_to_send, lambda: engine.send_backlog, lambda: engine.send_over)
        self.plain = Ends(
            FaceSource(to_user, changed),
            FaceSink(engine.send, engine.send_end, lambda: engine.send_backlog, changed),
        )
        self.wire = Ends(
            FaceSource(to_wire, changed),
            FaceSink(
                self._put_received, engine.receive_end, lambda: engine.receive_backlog, changed
            ),
        )

    def _put_received(self, data: bytes | memoryview) -> int:
        self._engine.receive(data)
        return len(data)

    def _take_received(self, limit: int) -> bytes:
        """To receive may be to answer, with nothing for the user in it."""
        before = self._engine.send_backlog
        data = self._engine.data_received(limit)
        if self._engine.send_backlog != before:
            self.changed.notify()
        return data
