"""TLS without its network: two engines that give each other their bytes, and stacks of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from authority import Authority
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pairs import PAIRS
from plain_tls import VERSIONS
from test_stage import Dam, carried, parted

from pync.errors import ConnectionLost, ProtocolError
from pync.loop import Loop
from pync.opening import Layer, Opening
from pync.stage import RECORD
from pync.staged import Staged
from pync.stream import Endpoint, Ends, Peer, WouldBlock
from pync.transports.memory import Given, MemoryPipe
from pync.transports.unix import UnixAddress
from pync.wire.telnet import Telnet
from pync.wire.tls import contexts
from pync.wire.tls.engine import Tls

MUCH = random.Random(1).randbytes(100_000)
CUTS = {"whole": 1 << 20, "byte by byte": 1}

each_version = pytest.mark.parametrize("version", VERSIONS)
however_cut = pytest.mark.parametrize("size", CUTS.values(), ids=CUTS.keys())


@pytest.fixture
def engines(authority: Authority) -> Callable[..., tuple[Tls, Tls]]:
    """Makes a client and a server that have not met yet."""

    def make(version: str = "TLSv1.3") -> tuple[Tls, Tls]:
        server = contexts.for_server(None)
        leaf = authority.leaf["valid"]
        contexts.show(server, str(leaf.chain), str(leaf.key), lambda: b"")
        client = contexts.for_client()
        contexts.trust_authorities(client, str(authority.root))
        client.maximum_version = VERSIONS[version]
        return Tls(client, "the server", "localhost"), Tls(server, "the client")

    return make


def exchange(one: Tls, other: Tls, size: int = 1 << 20) -> None:
    """Give each what the other has to send, so many bytes at a time, until both are silent."""
    moved = True
    while moved:
        moved = False
        for sender, receiver in ((one, other), (other, one)):
            data = sender.data_to_send(1 << 20)
            for start in range(0, len(data), size):
                receiver.receive(data[start : start + size])
                moved = True


def everything(engine: Tls, limit: int = 1 << 20) -> bytes:
    return b"".join(iter(lambda: engine.data_received(limit), b""))


@each_version
@however_cut
def test_either_side_may_end_while_the_other_goes_on(
    engines: Callable[..., tuple[Tls, Tls]], version: str, size: int
) -> None:
    for ends_first in (0, 1):
        pair = engines(version)
        first, second = pair[ends_first], pair[1 - ends_first]
        exchange(first, second, size)
        second.send(MUCH)
        exchange(first, second, size)
        first.send_end()  # with all of that unread
        exchange(first, second, size)
        assert (everything(second), second.receive_over, second.send_over) == (b"", True, False)
        second.send(b"and more")
        second.send_end()
        exchange(first, second, size)
        assert everything(first, 1000) == MUCH + b"and more"
        assert first.receive_over
        assert first.receive_backlog == 0


@each_version
def test_an_end_without_close_notify_is_an_error_after_what_came_before(
    engines: Callable[..., tuple[Tls, Tls]], version: str
) -> None:
    client, server = engines(version)
    exchange(client, server)
    server.send(b"partly")
    exchange(client, server)
    client.receive_end()
    assert client.data_received(100) == b"partly"
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=r"something may be missing$"):
            client.data_received(100)
    assert not client.receive_over


def test_what_comes_after_close_notify_is_nobodys(
    engines: Callable[..., tuple[Tls, Tls]],
) -> None:
    client, server = engines()
    exchange(client, server)
    server.send_end()
    exchange(client, server)
    assert everything(client) == b""
    client.receive(b"injected")
    client.receive_end()
    assert (everything(client), client.receive_over, client.receive_backlog) == (b"", True, 0)


@pytest.mark.parametrize("bit", [0, 40, -1])
def test_a_record_that_was_changed_on_the_way_is_an_error(
    engines: Callable[..., tuple[Tls, Tls]], bit: int
) -> None:
    client, server = engines()
    exchange(client, server)
    server.send(b"good")
    exchange(client, server)
    server.send(bytes(100))
    record = bytearray(server.data_to_send(1 << 20))
    record[bit] ^= 1
    client.receive(record)
    assert client.data_received(100) == b"good"
    with pytest.raises(ProtocolError, match="TLS with the server failed: "):
        client.data_received(100)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(pieces=st.lists(st.binary(max_size=80), max_size=5), listens=st.booleans())
def test_any_bytes_in_the_place_of_a_handshake_are_waited_on_or_an_error(
    engines: Callable[..., tuple[Tls, Tls]], pieces: list[bytes], listens: bool
) -> None:
    engine = engines()[listens]
    with pytest.raises(ProtocolError):
        feed(engine, pieces)
    assert not engine.established


def feed(engine: Tls, pieces: list[bytes]) -> None:
    for piece in pieces:
        engine.receive(piece)
    engine.receive_end()


@pytest.mark.parametrize("transport", PAIRS)
@pytest.mark.parametrize("depth", [1, 2])
def test_tls_runs_over_any_transport_and_over_itself(
    engines: Callable[..., tuple[Tls, Tls]], transport: str, depth: int, tmp_path: Path
) -> None:
    chance = random.Random(depth)
    there, back = chance.randbytes(1_500_000), chance.randbytes(900_000)
    with PAIRS[transport](tmp_path) as pair, Loop() as loop:
        met = [engines() for _ in range(depth)]
        near, far = opened(loop, pair.near, pair.far, met)
        assert carried(loop, near, far, Given(there), Given(back)) == [there, back]


@pytest.mark.parametrize("outer", [[], ["TLSv1.2"], ["TLSv1.3"]], ids=str)
@pytest.mark.parametrize("inner", ["TLSv1.2", "TLSv1.3", "telnet"])
@pytest.mark.parametrize("room", [0, 1, 22, 16_000, 16_405, 16_407, 16_450, 50_000, 150_000])
def test_what_has_not_left_as_a_whole_record_is_given_back(
    engines: Callable[..., tuple[Tls, Tls]], outer: list[str], inner: str, room: int
) -> None:
    there, back = MemoryPipe(1 << 20), MemoryPipe(1 << 20)
    dam = Dam(there)
    met = [engines(version) for version in (*outer, inner) if version in VERSIONS]
    with Loop() as loop:
        near, far = opened(loop, Ends(back, dam), Ends(there, back), met)
        if inner == "telnet":
            near, far = Staged(loop, near, Telnet()), Staged(loop, far, Telnet())
        arrived, given_back = parted(loop, near, far, dam, [b"short", MUCH, b"end"], room)
    assert arrived or given_back
    assert len(arrived) == len(MUCH) + 8 or room - len(arrived) < 3 * RECORD


def opened(
    loop: Loop, near: Ends, far: Ends, engines: list[tuple[Tls, Tls]]
) -> tuple[Endpoint, Endpoint]:
    """Both ends, each seen through its engines once they have met."""
    openings = [
        Opening(
            loop,
            Endpoint(*ends, UnixAddress("peer")),
            [layer(loop, pair[side]) for pair in engines],
            deadline=loop.clock() + 20,
        )
        for side, ends in enumerate((near, far))
    ]
    both = Both(*openings)
    loop.run(both)
    return openings[0].endpoint, openings[1].endpoint


def layer(loop: Loop, engine: Tls) -> Callable[[Peer], Layer]:
    return lambda _: Layer("TLS", engine, lambda endpoint: Staged(loop, endpoint, engine))


class Both:
    """A task: two openings that need each other."""

    def __init__(self, *openings: Opening) -> None:
        self._openings = list(openings)

    def advance(self) -> bool:
        for opening in list(self._openings):
            with suppress(WouldBlock):
                if not opening.advance():
                    self._openings.remove(opening)
        if self._openings:
            raise WouldBlock(after=0)
        return False
