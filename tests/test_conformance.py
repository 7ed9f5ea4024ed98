"""What every transport owes to the contract of pync.stream, tried over each of them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from pairs import DATAGRAM_PAIRS, PAIRS, Pair, move

from pync.loop import Loop
from pync.stream import EndOfStream, Sink, Source, WouldBlock
from pync.transports.memory import Discard, Given


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    with PAIRS[request.param](tmp_path) as made:
        yield made


@pytest.fixture(params=DATAGRAM_PAIRS)
def datagram_pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    with DATAGRAM_PAIRS[request.param](tmp_path) as made:
        yield made


class Digest(Sink):
    """Keeps a checksum of what it is given."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        self._digest.update(data)
        return len(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and self._digest.digest() == other._digest.digest()

    __hash__ = None  # type: ignore[assignment]


def read_one(source: Source, limit: int = 1 << 16) -> bytes:
    """One read, waited for."""
    taken: list[bytes] = []

    class Reading:
        def advance(self) -> bool:
            taken.append(source.read(limit))
            return False

    with Loop() as loop:
        loop.run(Reading())
    return taken[0]


def pieces(seed: int, count: int = 200, largest: int = 40_000) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(chance.randrange(1, largest)) for _ in range(count)]


def digest_of(data: list[bytes]) -> Digest:
    digest = Digest()
    for piece in data:
        digest.write(piece)
    return digest


def test_bytes_arrive_whole_and_in_order_and_then_the_end(pair: Pair) -> None:
    sent, arrived = pieces(1), Digest()
    move((Given(*sent), pair.near.sink), (pair.far.source, arrived))
    assert arrived == digest_of(sent)


def test_both_ways_at_once(pair: Pair) -> None:
    there, back = pieces(2), pieces(3)
    at_far, at_near = Digest(), Digest()
    move(
        (Given(*there), pair.near.sink),
        (pair.far.source, at_far),
        (Given(*back), pair.far.sink),
        (pair.near.source, at_near),
    )
    assert (at_far, at_near) == (digest_of(there), digest_of(back))


def test_one_way_goes_on_after_the_other_has_ended(pair: Pair) -> None:
    move((Given(), pair.near.sink), (pair.far.source, Discard()))
    back, at_near = pieces(4), Digest()
    move((Given(*back), pair.far.sink), (pair.near.source, at_near))
    assert at_near == digest_of(back)


def test_a_source_with_nothing_to_give_says_so_instead_of_blocking(pair: Pair) -> None:
    with pytest.raises(WouldBlock):
        pair.far.source.read(100)
    with pytest.raises(WouldBlock):
        pair.far.source.read(100)


def test_a_sink_that_nobody_reads_fills_up_instead_of_blocking(pair: Pair) -> None:
    def fill() -> None:
        for _ in range(1000):
            pair.near.sink.write(bytes(1 << 18))

    with pytest.raises(WouldBlock):
        fill()


def test_no_read_gives_more_than_its_limit(pair: Pair) -> None:
    pair.near.sink.write(b"abcdef")
    first = read_one(pair.far.source, limit=4)
    assert 1 <= len(first) <= 4
    assert b"abcdef".startswith(first)


def test_the_end_comes_again_for_whoever_asks_again(pair: Pair) -> None:
    move((Given(b"x"), pair.near.sink), (pair.far.source, Discard()))
    pair.near.sink.end()
    with pytest.raises(EndOfStream):
        pair.far.source.read(1)


def test_every_byte_value_passes(pair: Pair) -> None:
    every, arrived = bytes(range(256)), Digest()
    move((Given(every), pair.near.sink), (pair.far.source, arrived))
    assert arrived == digest_of([every])


@pytest.mark.parametrize("size", [0, 1, 8192, 8193, 16385, 65507])
def test_a_datagram_arrives_whole_whatever_its_size(datagram_pair: Pair, size: int) -> None:
    assert datagram_pair.near.sink.write(bytes(size)) == size
    assert datagram_pair.far.sink.write(bytes(size)) == size
    assert read_one(datagram_pair.far.source, limit=1) == bytes(size)
    assert read_one(datagram_pair.near.source, limit=1) == bytes(size)


def test_datagrams_keep_their_boundaries(datagram_pair: Pair) -> None:
    for text in (b"one", b"", b"three"):
        datagram_pair.near.sink.write(text)
    received = [read_one(datagram_pair.far.source) for _ in range(3)]
    assert received == [b"one", b"", b"three"]
