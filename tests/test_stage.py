"""Stages: engines between two faces, alone, stacked, and over every transport."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PAIRS, move_in
from test_flow import Record

from pync.errors import NetworkError
from pync.flow import Flow
from pync.loop import Loop
from pync.stage import HIGH_WATER, RECORD, Stage
from pync.staged import AHEAD, MARKS, Ledger, Staged
from pync.stream import Condition, EndOfStream, Endpoint, Ends, Sink, WouldBlock
from pync.transports.memory import Discard, Given, MemoryPipe
from pync.transports.unix import UnixAddress
from pync.wire.safe_text import SafeText
from pync.wire.telnet import DO, DONT, IAC, SB, SE, WILL, WONT, Telnet

ANY = st.binary(max_size=300)
CUTS = st.lists(st.integers(min_value=0, max_value=300))
# Bytes in which commands are likely.
TELNET_ISH = st.lists(
    st.sampled_from([IAC, IAC, IAC, DO, DONT, WILL, WONT, SB, SE, 0, 1, 65, 66]), max_size=100
).map(bytes)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place for place in cuts if place < len(data))})
    return [data[a:b] for a, b in pairwise(places)]


def received(pieces: list[bytes]) -> tuple[bytes, bytes]:
    """What the user gets of these pieces from the peer, and what the peer is answered."""
    engine = Telnet()
    for piece in pieces:
        engine.receive(piece)
    return engine.data_received(1 << 20), engine.data_to_send(1 << 20)


@pytest.mark.parametrize(
    ("wire", "user", "answer"),
    [
        (b"plain", b"plain", b""),
        (bytes([65, IAC, IAC, 66]), bytes([65, IAC, 66]), b""),
        (bytes([IAC, DO, 1]), b"", bytes([IAC, WONT, 1])),
        (bytes([IAC, WILL, 3]), b"", bytes([IAC, DONT, 3])),
        (bytes([IAC, DO, 1, IAC, DO, 1]), b"", bytes([IAC, WONT, 1])),
        (bytes([IAC, WONT, 1, IAC, DONT, 1]), b"", b""),
        (bytes([65, IAC, SB, 24, 1, IAC, IAC, 9, IAC, SE, 66]), b"AB", b""),
        (bytes([65, IAC, 241, 66]), b"AB", b""),
    ],
)
def test_telnet_answers_and_strips_commands(wire: bytes, user: bytes, answer: bytes) -> None:
    assert received([wire]) == (user, answer)


@given(TELNET_ISH | ANY, CUTS)
def test_telnet_gives_the_same_however_its_input_is_cut(data: bytes, cuts: list[int]) -> None:
    assert received(cut(data, cuts)) == received([data])


@given(ANY)
def test_telnet_data_comes_back_from_the_wire_as_it_was(data: bytes) -> None:
    sender = Telnet()
    sender.send(data)
    assert received([sender.data_to_send(1 << 20)]) == (data, b"")


@given(st.lists(TELNET_ISH))
def test_telnet_answers_are_bounded(pieces: list[bytes]) -> None:
    assert len(received(pieces * 50)[1]) <= 2 * 256 * 3


@given(st.binary(max_size=60), CUTS)
def test_safe_text_lets_no_control_character_through(data: bytes, cuts: list[int]) -> None:
    translator = SafeText()
    out = b"".join(translator.translate(piece) for piece in cut(data, cuts)) + translator.finish()
    shown = out.decode()
    assert not [c for c in shown if (c < " " or "\x7f" <= c < "\xa0") and c not in "\n\r\t"]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60), CUTS)
def test_safe_text_leaves_text_alone_however_it_is_cut(text: str, cuts: list[int]) -> None:
    translator = SafeText()
    out = b"".join(translator.translate(piece) for piece in cut(text.encode(), cuts))
    assert (out + translator.finish()).decode() == text


@given(st.binary(max_size=60))
def test_safe_text_keeps_within_its_growth(data: bytes) -> None:
    translator = SafeText()
    assert len(translator.translate(data) + translator.finish()) <= len(data) * translator.growth


def test_a_face_ends_once_the_other_has_ended_and_all_is_read() -> None:
    stage = Stage(Telnet())
    stage.plain.sink.write(b"hello")
    stage.plain.sink.end()
    assert stage.wire.source.read(3) == b"hel"
    assert stage.wire.source.backlog == 2
    assert stage.wire.source.read(3) == b"lo"
    with pytest.raises(EndOfStream):
        stage.wire.source.read(3)


def test_an_engine_that_nobody_empties_takes_no_more() -> None:
    stage = Stage(Telnet())
    while True:
        try:
            stage.wire.sink.write(bytes(1 << 16))
        except WouldBlock:
            break
    assert stage.plain.source.backlog <= HIGH_WATER + (1 << 16)


def staged(loop: Loop, ends: Ends, depth: int) -> Endpoint:
    """`ends` seen through so many stages."""
    endpoint = Endpoint(*ends, UnixAddress("peer"))
    for _ in range(depth):
        endpoint = Staged(loop, endpoint, Telnet())
    return endpoint


def carried(loop: Loop, near: Endpoint, far: Endpoint, there: Given, back: Given) -> list[bytes]:
    """What arrives at each end, `there` from near to far and `back` the other way at once."""
    at_far, at_near = Record(), Record()
    move_in(
        loop,
        (there, near.sink),
        (far.source, at_far),
        (back, far.sink),
        (near.source, at_near),
    )
    return [at_far.data, at_near.data]


@pytest.mark.parametrize("transport", PAIRS)
@pytest.mark.parametrize("depth", [1, 3])
def test_stages_stack_over_any_transport_and_lose_nothing(
    transport: str, depth: int, tmp_path: Path
) -> None:
    chance = random.Random(depth)
    there, back = chance.randbytes(1_000_000), chance.randbytes(700_000)
    with PAIRS[transport](tmp_path) as pair, Loop() as loop:
        near, far = (staged(loop, ends, depth) for ends in pair)
        assert carried(loop, near, far, Given(there), Given(back)) == [there, back]


def test_one_side_of_a_stack_may_end_while_the_other_goes_on() -> None:
    there, back = MemoryPipe(1000), MemoryPipe(1000)
    late = [b"late"] * 1000
    with Loop() as loop:
        near, far = staged(loop, Ends(back, there), 2), staged(loop, Ends(there, back), 2)
        assert carried(loop, near, far, Given(), Given(*late)) == [b"", b"".join(late)]


class Dotted(Telnet):
    """Tells its end by a dot, as TLS does by close_notify."""

    def receive(self, data: bytes | memoryview) -> None:
        text, dot, _ = bytes(data).partition(b".")
        super().receive(text)
        if dot:
            self.receive_end()


class CutOff(Given):
    """Gives its pieces, and is broken then."""

    def read(self, limit: int) -> bytes:
        try:
            return super().read(limit)
        except EndOfStream:
            raise NetworkError("cut off") from None


@pytest.mark.parametrize(
    ("said", "error"), [(b"all that there is.", None), (b"all that the", "cut off")]
)
def test_nothing_is_missing_if_the_end_was_told_before_the_break(
    said: bytes, error: str | None
) -> None:
    """Whoever closes without reading our end resets the connection, having said it all."""
    got = Record()
    with Loop() as loop:
        wire = Endpoint(CutOff(said), Discard(), UnixAddress("peer"))
        (received,) = move_in(loop, (Staged(loop, wire, Dotted()).source, got))
    assert got.data == said.rstrip(b".")
    assert (received.error and str(received.error)) == error


class Dam(Sink):
    """Lets `room` more bytes through to `sink`, or all."""

    def __init__(self, sink: Sink) -> None:
        self.room = 1 << 30
        self._sink = sink

    def write(self, data: bytes | memoryview) -> int:
        if not self.room:
            raise WouldBlock
        taken = self._sink.write(data[: self.room])
        self.room -= taken
        return taken


class Turns:
    """A task: lets the others have so many turns."""

    def __init__(self, count: int) -> None:
        self._left = count

    def advance(self) -> bool:
        self._left -= 1
        return self._left > 0


def parted(
    loop: Loop, near: Endpoint, far: Endpoint, dam: Dam, pieces: Sequence[bytes], room: int
) -> tuple[bytes, bytes]:
    """What arrives at `far` of these pieces, and what `near` gives back, which so many bytes
    on the wire and no more have left."""
    near.sink.keep_unsent()
    got = Record()
    inward = Flow(Given(*pieces), near.sink, loop.clock, Condition())
    for flow in (inward, Flow(far.source, got, loop.clock, Condition())):
        loop.spawn(flow)
    dam.room = room
    loop.run(Turns(300))
    loop.cancel(inward)
    inward.close()
    near.abort()
    back = near.sink.take_back() + inward.left
    taken = inward.moved + len(inward.left)
    assert got.data + back == b"".join(pieces)[:taken]
    return got.data, back


@pytest.mark.parametrize("depth", [1, 3])
@given(
    pieces=st.lists(st.sampled_from([b"A", b"\xff", b"\xff\xff\xffB\xff"]), max_size=30),
    room=st.integers(min_value=0, max_value=100),
)
def test_what_has_not_left_is_given_back_to_the_byte(
    depth: int, pieces: list[bytes], room: int
) -> None:
    with Loop() as loop:
        there, back = MemoryPipe(1 << 20), MemoryPipe(1 << 20)
        dam = Dam(there)
        near, far = staged(loop, Ends(back, dam), depth), staged(loop, Ends(there, back), depth)
        arrived, _ = parted(loop, near, far, dam, pieces, room)
        assert len(arrived) <= room


def test_little_is_taken_in_advance_where_it_would_have_to_be_kept() -> None:
    with Loop() as loop:
        there, back = MemoryPipe(1 << 20), MemoryPipe(1 << 20)
        dam = Dam(there)
        near, far = staged(loop, Ends(back, dam), 1), staged(loop, Ends(there, back), 1)
        arrived, given_back = parted(loop, near, far, dam, [bytes(10 * HIGH_WATER)], 1000)
        assert len(arrived) == 1000
        assert len(given_back) <= (AHEAD + 2) * RECORD


def test_nothing_is_kept_that_nobody_will_want_back() -> None:
    with Loop() as loop:
        endpoint = staged(loop, Ends(Given(), MemoryPipe(1)), 1)
        endpoint.sink.write(b"hello")
        assert endpoint.sink.take_back() == b""


def test_what_is_confirmed_on_the_wire_tells_what_is_confirmed_of_the_users_bytes() -> None:
    ledger = Ledger()
    ledger.add(100, 120)  # 100 of the user's are in the first 120 on the wire
    ledger.add(100, 240)
    seen = [(sent, ledger.unconfirmed(sent)) for sent in (-5, 0, 60, 119, 120, 239, 240, 264)]
    assert seen == [
        (-5, 200), (0, 200), (60, 150), (119, 101), (120, 100), (239, 1), (240, 0), (264, 0),
    ]  # fmt: skip


def test_a_ledger_of_many_small_writes_stays_small_and_never_tells_too_little() -> None:
    ledger = Ledger()
    for n in range(10 * MARKS):
        ledger.add(1, 23 * (n + 1))
    assert ledger.unconfirmed(0) == 10 * MARKS
    for confirmed in range(0, 23 * 10 * MARKS, 999):
        assert ledger.unconfirmed(confirmed) >= 10 * MARKS - confirmed // 23
    assert ledger.unconfirmed(23 * 10 * MARKS) == 0
