"""An endpoint seen through a stage: what passes here passes the protocol on its way.

    session  <--flows-->  plain | engine | wire  <--two flows of its own-->  endpoint

It is an endpoint like any other: it can be seen through one more stage, and
whoever uses it need not know.  What failed further down is raised here once
everything that came before it has been given out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from pync.errors import ConnectionLost, PyncError
from pync.flow import Flow
from pync.loop import Loop
from pync.stage import RECORD, Stage, Transparent
from pync.stream import Condition, Endpoint, LocalPlace, Sink, Source, WouldBlock

MARKS = 1024  # that a ledger keeps
AHEAD = 8  # pieces in a stage that stop more from coming in, where they have to be kept


class Ledger:
    """How many of the bytes that went into a stage are confirmed, from what came out of it.

    A mark says by which byte of the output so many bytes of the input have passed;
    between two marks they are taken to be spread evenly.  With too many marks every
    other one goes, which makes the answer coarser and never too small.
    """

    def __init__(self) -> None:
        self._taken = 0
        self._marks = deque([(0, 0)])

    def add(self, taken: int, produced: int) -> None:
        """So many more bytes are contained in the first `produced` of the output."""
        if len(self._marks) >= MARKS:
            self._marks = deque(list(self._marks)[::2])
        self._taken += taken
        self._marks.append((self._taken, produced))

    def unconfirmed(self, confirmed: int) -> int:
        """Bytes of the input that may not be in the first `confirmed` of the output."""
        marks = self._marks
        while len(marks) > 1 and marks[1][1] <= confirmed:
            marks.popleft()
        taken, produced = marks[0]
        if len(marks) > 1:
            next_taken, next_produced = marks[1]
            share = max(0, confirmed - produced) / (next_produced - produced)
            taken += int((next_taken - taken) * share)
        return self._taken - taken


class Kept(NamedTuple):
    """A piece that went into a stage, and which bytes of the output it became."""

    data: bytes
    begin: int
    end: int


class Unsent:
    """The pieces of which a part may not have left us."""

    def __init__(self, legible: Callable[[bytes, int], int]) -> None:
        self._legible = legible
        self._pieces: deque[Kept] = deque()

    def add(self, data: bytes, begin: int, end: int) -> None:
        self._pieces.append(Kept(data, begin, end))

    def __len__(self) -> int:
        return len(self._pieces)

    def forget(self, sent: int) -> None:
        """Let go of what is contained in the first `sent` bytes of the output."""
        while self._pieces and self._pieces[0].end <= sent:
            self._pieces.popleft()

    def rest(self, sent: int) -> bytes:
        """What cannot be told from the first `sent` bytes of the output."""
        self.forget(sent)
        if not self._pieces:
            return b""
        first = self._pieces[0]
        told = self._legible(first.data, max(0, sent - first.begin))
        return b"".join(piece.data for piece in self._pieces)[told:]


class StagedSource(Source):
    """The plain face's source, and then what went wrong in `below`, the flow to it.

    beside: the flow the other way, which may have met a broken connection before.

    Unless the protocol has its own end (close_notify) and that has come: a peer that then
    closes without reading ours resets the connection, and nothing is missing.
    """

    def __init__(self, face: Source, below: Flow, beside: Flow) -> None:
        self._face = face
        self._below = below
        self._beside = beside

    @property
    def backlog(self) -> int:
        return self._face.backlog + self._below.held

    @property
    def moved_at(self) -> float:
        return self._below.moved_at

    def read(self, limit: int) -> bytes:
        try:
            return self._face.read(limit)
        except WouldBlock as blocked:
            raise self._below.error or blocked from None
        except ConnectionLost as cut_short:  # that follows from what failed below
            raise self._below.error or self._beside.error or cut_short from None


class StagedSink(Sink):
    """The plain face's sink, over `below`, the flow from it to `sink`.

    beside: the flow the other way, which alone is told of a reset that it has read.
    legible: as an engine's.
    """

    def __init__(
        self,
        face: Sink,
        below: Flow,
        beside: Flow,
        sink: Sink,
        changed: Condition,
        legible: Callable[[bytes, int], int],
    ) -> None:
        self.limit = face.limit
        self._face = face
        self._below = below
        self._beside = beside
        self._sink = sink
        self._changed = changed
        self._ledger = Ledger()
        self._keeps = False
        self._unsent = Unsent(legible)

    @property
    def moved_at(self) -> float:
        return self._below.moved_at

    def write(self, data: bytes | memoryview) -> int:
        self._raise_error()
        taken = self._write_and_keep(data) if self._keeps else self._face.write(data)
        self._ledger.add(taken, self._produced)
        return taken

    @property
    def _produced(self) -> int:
        """Bytes that have come out of the engine, or will without more going in."""
        return self._below.moved + self._below.held

    def _write_and_keep(self, data: bytes | memoryview) -> int:
        """Take little in advance: so little has to be kept, in few pieces."""
        if len(self._unsent) >= AHEAD:
            self._unsent.forget(self._sent)
            if len(self._unsent) >= AHEAD and self._below.source.backlog:
                raise WouldBlock(condition=self._changed)
        begin = self._produced
        taken = self._face.write(data[: self.limit])
        self._unsent.add(bytes(data[:taken]), begin, self._produced)
        return taken

    def keep_unsent(self) -> None:
        self._sink.keep_unsent()
        self._keeps = True
        self.limit = RECORD

    def take_back(self) -> bytes:
        return self._unsent.rest(self._sent)

    @property
    def _sent(self) -> int:
        """Bytes of the output that the system has got."""
        return self._below.moved - len(self._sink.take_back())

    def end(self) -> None:
        if self._below.error and not self.unacknowledged():
            return  # the peer has gone, and has all that was for it but the end
        self._raise_error()
        self._face.end()
        if not self._below.over:
            raise WouldBlock(condition=self._changed)

    def _raise_error(self) -> None:
        if self._below.error:
            raise self._below.error

    def unacknowledged(self) -> int:
        return self._ledger.unconfirmed(self._below.moved - self._sink.unacknowledged())

    def check(self) -> None:
        self._raise_error()
        if self._beside.error:
            raise self._beside.error
        self._sink.check()

    def knock(self) -> None:
        self._raise_error()
        self._sink.knock()


class Staged(Endpoint):
    """`endpoint`, which it owns, seen through `engine`, which is established."""

    def __init__(self, loop: Loop, endpoint: Endpoint, engine: Transparent) -> None:
        stage = Stage(engine)
        self._loop = loop
        self._endpoint = endpoint
        self._engine = engine
        down = Flow(stage.wire.source, endpoint.sink, loop.clock, stage.changed)
        up = Flow(endpoint.source, stage.wire.sink, loop.clock, stage.changed)
        self._flows = down, up
        super().__init__(
            StagedSource(stage.plain.source, up, down),
            StagedSink(stage.plain.sink, down, up, endpoint.sink, stage.changed, engine.legible),
            endpoint.peer,
        )
        self.descriptors = endpoint.descriptors
        for flow in self._flows:
            loop.spawn(flow)

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self._endpoint.notes, *self._engine.notes)

    @property
    def local(self) -> LocalPlace | None:
        return self._endpoint.local

    def _stop(self) -> None:
        for flow in self._flows:
            self._loop.cancel(flow)
            flow.close()

    def close(self) -> None:
        self._say_end()
        self._stop()
        self._endpoint.close()

    def _say_end(self) -> None:
        """As far as it can be said at once: without it, this would look like a cut."""
        down = self._flows[0]
        with suppress(WouldBlock, PyncError):
            self.sink.end()
        with suppress(WouldBlock):
            while not down.over and down.advance():
                pass

    def abort(self) -> None:
        self._stop()
        self._endpoint.abort()
