"""Stages: engines between two faces, alone, stacked, and over every transport."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairs import PAIRS, move_in
from test_flow import Record

from pync.errors import NetworkError
from pync.loop import Loop
from pync.stage import HIGH_WATER, Stage
from pync.staged import MARKS, Ledger, Staged
from pync.stream import EndOfStream, Endpoint, Ends, WouldBlock
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


@pytest.mark.parametrize("transport", PAIRS)
@pytest.mark.parametrize("depth", [1, 3])
def test_stages_stack_over_any_transport_and_lose_nothing(
    transport: str, depth: int, tmp_path: Path
) -> None:
    chance = random.Random(depth)
    there, back = chance.randbytes(1_000_000), chance.randbytes(700_000)
    at_near, at_far = Record(), Record()
    with PAIRS[transport](tmp_path) as pair, Loop() as loop:
        near, far = (staged(loop, ends, depth) for ends in pair)
        move_in(
            loop,
            (Given(there), near.sink),
            (far.source, at_far),
            (Given(back), far.sink),
            (near.source, at_near),
        )
    assert at_far.data == there
    assert at_near.data == back


def test_one_side_of_a_stack_may_end_while_the_other_goes_on() -> None:
    there, back = MemoryPipe(1000), MemoryPipe(1000)
    late = [b"late"] * 1000
    at_near, at_far = Record(), Record()
    with Loop() as loop:
        near, far = staged(loop, Ends(back, there), 2), staged(loop, Ends(there, back), 2)
        move_in(
            loop,
            (Given(), near.sink),
            (far.source, at_far),
            (Given(*late), far.sink),
            (near.source, at_near),
        )
    assert (at_far.data, at_near.data) == (b"", b"".join(late))


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
