"""One direction: budget, backpressure, the end, failing; and the taps on its source."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
from pairs import move
from test_loop import Clock

from pync.errors import LocalError
from pync.flow import BUDGET, Flow
from pync.stream import Condition, EndOfStream, Sink, Source, WouldBlock
from pync.taps import Limit, Pace, Translated, Unread
from pync.transports.memory import Discard, Given, MemoryPipe
from pync.wire.crlf import Crlf
from pync.wire.safe_text import SafeText


class Record(Sink):
    """Keeps what it is given, `most` bytes of each write."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.data = b""
        self.writes: list[bytes] = []
        self.ends = 0
        self._most = most

    def write(self, data: bytes | memoryview) -> int:
        taken = bytes(data[: self._most])
        self.data += taken
        self.writes.append(taken)
        return len(taken)

    def end(self) -> None:
        self.ends += 1


class Endless(Source):
    """Counts how often it is read."""

    reads = 0

    def read(self, limit: int) -> bytes:
        self.reads += 1
        return b"x" * min(limit, 10)


class Broken(Source):
    def read(self, limit: int) -> bytes:
        raise LocalError("broken")


def flow(source: Source, sink: Sink, clock: Callable[[], float] | None = None) -> Flow:
    return Flow(source, sink, clock or Clock(), Condition())


def test_everything_is_moved_and_then_the_end_is_passed_on() -> None:
    sink = Record()
    (moved,) = move((Given(b"abc", b"", b"def"), sink))
    assert (sink.data, sink.ends, moved.moved, moved.held) == (b"abcdef", 1, 6, 0)


def test_a_source_that_never_blocks_does_not_starve_the_others() -> None:
    source = Endless()
    assert flow(source, Discard()).advance()
    assert source.reads == BUDGET


def test_nothing_is_read_while_something_is_held() -> None:
    source, sink = Endless(), MemoryPipe(15 + MemoryPipe.PIECE_COST)
    moving = flow(source, sink)
    for _ in range(3):
        with pytest.raises(WouldBlock):
            moving.advance()
    assert (source.reads, moving.held, sink.backlog) == (2, 5, 15)


def test_what_was_taken_too_early_comes_first() -> None:
    sink = Record(most=3)
    move((Unread(Given(*[b"later"] * BUDGET), b"early"), sink))
    assert sink.data == b"early" + b"later" * BUDGET


def test_what_is_put_back_comes_before_what_was_put_back_earlier() -> None:
    source = Unread(Given(b"late"), b"")
    for data in (b"c", b"ab", b""):
        source.put_back(data)
    assert source.held == 3
    assert [source.read(2), source.read(2), source.held, source.read(9)] == [
        b"ab",
        b"c",
        0,
        b"late",
    ]


def test_a_write_that_takes_less_is_continued_where_it_stopped() -> None:
    sink = Record(most=3)
    move((Given(b"abcdefgh", b"ijk"), sink))
    assert sink.data == b"abcdefghijk"


def test_no_write_is_given_more_than_the_sinks_limit() -> None:
    sink = Record()
    sink.limit = 4
    move((Endless4(), sink))
    assert max(map(len, sink.writes)) == 4


class Endless4(Source):
    """Three reads, each as long as it may be."""

    left = 3

    def read(self, limit: int) -> bytes:
        if not self.left:
            raise EndOfStream
        self.left -= 1
        return bytes(limit)


def test_an_end_that_is_not_possible_yet_is_tried_again() -> None:
    attempts: list[int] = []

    def end() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise WouldBlock(after=0)

    moving = Flow(Given(b"x"), Discard(), Clock(), Condition(), end)
    for _ in range(2):
        with pytest.raises(WouldBlock):
            moving.advance()
    assert not moving.over
    moving.advance()
    assert moving.over


def test_a_failure_is_kept_for_whoever_asks_and_is_not_passed_on_as_an_end() -> None:
    sink = Record()
    moving = flow(Broken(), sink)
    assert not moving.advance()
    assert isinstance(moving.error, LocalError)
    assert (moving.over, sink.ends) == (True, 0)


def test_stop_writes_what_is_held_and_ends() -> None:
    source, sink = Endless(), MemoryPipe(15 + MemoryPipe.PIECE_COST)
    moving = flow(source, sink)
    with pytest.raises(WouldBlock):
        moving.advance()
    moving.stop()
    assert sink.read(100) == b"x" * 15
    assert not moving.advance()
    assert sink.read(100) == b"xxxxx"
    with pytest.raises(EndOfStream):
        sink.read(1)


def test_a_flow_that_is_over_keeps_nobody_who_was_to_hear_of_the_end() -> None:
    class Listening:
        def end(self) -> None:
            pass

    listening = Listening()
    moving = Flow(Given(b"x"), Discard(), Clock(), Condition(), listening.end)
    assert not moving.advance()
    gone = weakref.ref(listening)
    del listening
    assert gone() is None


# Taps.


def everything(source: Source) -> list[bytes]:
    sink = Record()
    move((source, sink))
    return sink.writes


def test_limit_ends_after_so_many_reads_empty_ones_included() -> None:
    source = Given(b"a", b"", b"c", b"d")
    assert everything(Limit(source, 3)) == [b"a", b"", b"c"]
    assert source.read(1) == b"d"


def test_pace_gives_a_line_at_a_time_and_pauses_after_each() -> None:
    clock = Clock()
    paced = Pace(Given(b"one\ntwo\nthr", b"ee\n"), 2.0, clock)
    given: list[tuple[float, bytes]] = []

    def take() -> None:
        try:
            given.append((clock.now, paced.read(100)))
        except WouldBlock as blocked:
            clock.now = blocked.until

    with pytest.raises(EndOfStream):
        call_for_ever(take)
    assert clock.now == 4, "the end waits for no pause"
    assert given == [(0, b"one\n"), (2, b"two\n"), (4, b"thr"), (4, b"ee\n")]


def call_for_ever(step: Callable[[], None]) -> None:
    while True:
        step()


def test_pace_tells_what_it_holds() -> None:
    paced = Pace(Given(b"one\ntwo\n"), 2.0, Clock())
    paced.read(100)
    assert paced.backlog == 4


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"a\nb\n"], b"a\r\nb\r\n"),
        ([b"a\r\nb"], b"a\r\nb"),
        ([b"a\r", b"\nb"], b"a\r\nb"),
        ([b"a\r", b"\n\n"], b"a\r\n\r\n"),
        ([b"\n", b"\n"], b"\r\n\r\n"),
        ([b"\r", b"", b"\n"], b"\r\n"),
        ([b"\r\r\n"], b"\r\r\n"),
        ([b"a\r", b"b\n"], b"a\rb\r\n"),
    ],
)
def test_crlf_turns_each_bare_lf_into_cr_lf(pieces: list[bytes], expected: bytes) -> None:
    assert b"".join(everything(Translated(Given(*pieces), Crlf()))) == expected


def test_a_translation_that_grows_keeps_within_the_limit() -> None:
    sink = Record()
    sink.limit = 10
    move((Translated(Lines(), Crlf()), sink))
    assert max(map(len, sink.writes)) == 10


def test_a_translation_that_held_something_back_keeps_within_the_limit_too() -> None:
    translated = Translated(Given("\u20ac".encode()[:2], b"\1" * 10), SafeText())
    assert translated.read(100) == b""
    given = [translated.read(8) for _ in range(6)]
    assert translated.backlog == 0
    assert given == [b"\\xe2\\x82", *[b"\\x01\\x01"] * 5]
    with pytest.raises(EndOfStream):
        translated.read(8)


class Lines(Endless4):
    def read(self, limit: int) -> bytes:
        return super().read(limit).replace(b"\0", b"\n")


@pytest.mark.parametrize("framed", [False, True])
def test_a_memory_pipe_keeps_pieces_apart_where_they_are_packets(framed: bool) -> None:
    large = bytes(MemoryPipe.JOINED)
    pipe = MemoryPipe(1 << 20, framed=framed)
    for piece in (b"one", b"", b"two", large, b"three"):
        pipe.put(piece)
    pipe.end()
    read = [pipe.read(1 << 20) for _ in range(5 if framed else 3)]
    assert read == (
        [b"one", b"", b"two", large, b"three"] if framed else [b"onetwo", large, b"three"]
    )
    with pytest.raises(EndOfStream):
        pipe.read(1)


def test_a_memory_pipe_is_bounded_in_small_pieces_too() -> None:
    pipe = MemoryPipe(1 << 16)
    pieces = 0
    while pipe.room:
        pieces += pipe.write(b"x")
    assert pieces < (1 << 16) / MemoryPipe.PIECE_COST + 1
