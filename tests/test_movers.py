"""How bytes are moved: which way is taken, that each loses nothing, and what ends its use."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import pytest
from pairs import DATAGRAM_PAIRS, move
from test_flow import Record, flow

from pync import movers
from pync.bypass import Conduit, SendFile, Splice
from pync.errors import ConnectionLost, LocalError
from pync.flow import Flow
from pync.movers import Copy, choose_mover
from pync.stream import EndOfStream, Peer, Sink, Source, WouldBlock
from pync.taps import Limit
from pync.transports.datagram_listeners import Inbox
from pync.transports.datagrams import DatagramSink, DatagramSource
from pync.transports.descriptors import readable
from pync.transports.kept import KeptFile, Spool, kept_file
from pync.transports.memory import Given, MemoryPipe
from pync.transports.sockets import SocketSink, SocketSource
from pync.transports.stdio import standard_input, standard_output
from pync.transports.unix import UnixAddress

PEER: Peer = UnixAddress("the peer")
MIB = 1 << 20
MUCH = random.Random(1).randbytes(9 * MIB + 1234)  # more than the kernel takes at a time

pytestmark = pytest.mark.skipif(not hasattr(os, "splice"), reason="splice is for Linux")


class Ground(NamedTuple):
    """Where descriptors are made for one test, and closed at its end."""

    resources: ExitStack
    folder: Path

    def file(self, data: bytes = b"", mode: str = "r+b") -> FileIO:
        path = self.folder / os.urandom(4).hex()
        path.write_bytes(data)
        return self.resources.enter_context(path.open(mode, buffering=0))  # type: ignore[return-value]

    def device(self, path: str) -> FileIO:
        return self.resources.enter_context(Path(path).open("r+b", buffering=0))  # type: ignore[return-value]

    def pipe(self) -> tuple[FileIO, FileIO]:
        reading, writing = (FileIO(fd, mode) for fd, mode in zip(os.pipe(), "rw", strict=True))
        return self.resources.enter_context(reading), self.resources.enter_context(writing)

    def terminal(self) -> int:
        master, terminal = os.openpty()
        self.resources.callback(os.close, master)
        self.resources.callback(os.close, terminal)
        return terminal

    def sockets(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[socket.socket]:
        pair = socket.socketpair(socket.AF_UNIX, kind)
        for one in pair:
            one.setblocking(False)
            self.resources.enter_context(one)
        return list(pair)

    def tcp(self) -> list[socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            pair = [socket.create_connection(listener.getsockname()), listener.accept()[0]]
        for one in pair:
            one.setblocking(False)
            self.resources.enter_context(one)
        return pair


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with ExitStack() as resources:
        yield Ground(resources, tmp_path)


def from_socket(ground: Ground) -> Source:
    return SocketSource(ground.sockets()[0], PEER)


def from_file(ground: Ground) -> Source:
    return standard_input(ground.file(b"x").fileno())


def from_pipe(ground: Ground) -> Source:
    return standard_input(ground.pipe()[0].fileno())


def from_zero(ground: Ground) -> Source:
    return standard_input(ground.device("/dev/zero").fileno())


def from_terminal(ground: Ground) -> Source:
    return standard_input(ground.terminal())


def from_inherited_socket(ground: Ground) -> Source:
    return standard_input(ground.sockets()[0].fileno())


def from_datagrams(ground: Ground) -> Source:
    return DatagramSource(ground.sockets(socket.SOCK_DGRAM)[0], PEER)


def from_memory(ground: Ground) -> Source:
    return Given(b"x")


def from_a_tap(ground: Ground) -> Source:
    return Limit(from_socket(ground), 1)


def from_a_kept_file(ground: Ground) -> Source:
    return kept(ground.file().fileno()).reading()


def kept(fd: int) -> KeptFile:
    """The file, from where it stands."""
    file = kept_file(fd)
    assert file
    return file


def from_a_spool(ground: Ground) -> Source:
    spool = Spool()
    ground.resources.callback(os.close, spool.fd)
    return spool.reading()


def to_socket(ground: Ground) -> Sink:
    return SocketSink(ground.sockets()[0], PEER)


def to_file(ground: Ground) -> Sink:
    return standard_output(ground.file().fileno())


def to_pipe(ground: Ground) -> Sink:
    return standard_output(ground.pipe()[1].fileno())


def to_null(ground: Ground) -> Sink:
    return standard_output(ground.device(os.devnull).fileno())


def to_inherited_socket(ground: Ground) -> Sink:
    return standard_output(ground.sockets()[0].fileno())


def to_datagrams(ground: Ground) -> Sink:
    return DatagramSink(ground.sockets(socket.SOCK_DGRAM)[0], PEER)


@pytest.mark.parametrize(
    ("source", "sink", "expected"),
    [
        (from_file, to_socket, SendFile),
        (from_a_kept_file, to_socket, SendFile),
        (from_a_spool, to_socket, SendFile),
        (from_a_kept_file, to_pipe, Copy),
        (from_pipe, to_socket, Splice),
        (from_socket, to_pipe, Splice),
        (from_socket, to_file, Copy),
        (from_socket, to_null, Conduit),
        (from_socket, to_socket, Conduit),
        (from_zero, to_socket, Copy),
        (from_terminal, to_socket, Copy),
        (from_inherited_socket, to_socket, Copy),
        (from_memory, to_socket, Copy),
        (from_a_tap, to_pipe, Copy),
        (from_datagrams, to_pipe, Copy),
        (from_pipe, to_datagrams, Copy),
        (from_file, to_datagrams, Copy),
        (from_socket, to_inherited_socket, Copy),
    ],
)
def test_the_ends_decide_how_bytes_are_moved(
    ground: Ground,
    source: Callable[[Ground], Source],
    sink: Callable[[Ground], Sink],
    expected: type,
) -> None:
    made = sink(ground)
    assert type(choose_mover(source(ground), made)) is expected
    finish(made)


def finish(sink: Sink) -> None:
    """Let go of what standard output keeps until its end."""
    sink.end()


def test_some_can_be_forbidden_but_not_all(monkeypatch: pytest.MonkeyPatch, ground: Ground) -> None:
    monkeypatch.setattr(movers, "MOVERS", [*movers.MOVERS])
    movers.forbid("SendFile splice copy")
    assert [Conduit, Copy] == movers.MOVERS
    assert type(choose_mover(from_file(ground), to_socket(ground))) is Copy


# Nothing is lost, whatever the kernel takes at a time.


class Route(NamedTuple):
    """A way that MUCH takes: what brings it, what is tested, and what takes it away."""

    to_source: tuple[Source, Sink] | None
    source: Source
    sink: Sink
    from_sink: Source | None


def through_sendfile(ground: Ground) -> Route:
    ours, theirs = ground.tcp()
    source = standard_input(ground.file(MUCH).fileno())
    return Route(None, source, SocketSink(ours, PEER), SocketSource(theirs, PEER))


def through_sendfile_of_a_kept_file(ground: Ground) -> Route:
    """Which another one reads, too."""
    (ours, theirs), file = ground.tcp(), kept(ground.file(MUCH).fileno())
    file.reading().read(1000)
    return Route(None, file.reading(), SocketSink(ours, PEER), SocketSource(theirs, PEER))


def through_splice_from_a_pipe(ground: Ground) -> Route:
    (reading, writing), (ours, theirs) = ground.pipe(), ground.tcp()
    feed = Given(MUCH), standard_output(writing.fileno())
    return Route(
        feed,
        standard_input(reading.fileno()),
        SocketSink(ours, PEER),
        SocketSource(theirs, PEER),
    )


def through_splice_to_a_pipe(ground: Ground) -> Route:
    (reading, writing), (ours, theirs) = ground.pipe(), ground.tcp()
    return Route(
        (Given(MUCH), SocketSink(theirs, PEER)),
        SocketSource(ours, PEER),
        standard_output(writing.fileno()),
        standard_input(reading.fileno()),
    )


def through_conduit(ground: Ground) -> Route:
    (near, ours), (also_ours, far) = ground.tcp(), ground.sockets()
    return Route(
        (Given(MUCH), SocketSink(near, PEER)),
        SocketSource(ours, PEER),
        SocketSink(also_ours, PEER),
        SocketSource(far, PEER),
    )


ROUTES = {
    through_sendfile: SendFile,
    through_sendfile_of_a_kept_file: SendFile,
    through_splice_from_a_pipe: Splice,
    through_splice_to_a_pipe: Splice,
    through_conduit: Conduit,
}
every_route = pytest.mark.parametrize("route", ROUTES)


@every_route
def test_all_bytes_arrive_in_order_and_then_the_end(
    ground: Ground, route: Callable[[Ground], Route]
) -> None:
    way, arrived = route(ground), Record()
    assert way.from_sink
    ways = [(way.source, way.sink), (way.from_sink, arrived)]
    tested, *_ = move(*ways, *([way.to_source] if way.to_source else []))
    assert arrived.data == MUCH
    assert (tested.moved, tested.held, tested.stuck) == (len(MUCH), 0, False)


@every_route
def test_a_sink_that_takes_nothing_leaves_the_flow_stuck_until_it_does(
    ground: Ground, route: Callable[[Ground], Route]
) -> None:
    way, feeding, tested = filled(route(ground))
    assert tested.stuck
    assert not tested.over
    assert way.from_sink
    taken = b""
    while not tested.over:
        taken += read_what_is_there(way.from_sink)
        advance_until_blocked(feeding, tested)
    assert taken + to_the_end(way.from_sink) == MUCH


@pytest.mark.parametrize("route", [one for one in ROUTES if "kept" not in one.__name__])
def test_stopped_while_stuck_it_passes_one_more_piece_on_and_ends(
    ground: Ground, route: Callable[[Ground], Route]
) -> None:
    way, feeding, tested = filled(route(ground))
    before = tested.moved
    tested.stop()
    assert way.from_sink
    taken = b""
    while not tested.over:
        taken += read_what_is_there(way.from_sink)
        advance_until_blocked(tested)
    taken += to_the_end(way.from_sink)
    assert before < tested.moved == len(taken) < len(MUCH)
    assert MUCH.startswith(taken)
    if feeding:
        feeding.sink.end()
        feeding.close()


def test_stopped_it_still_passes_on_all_of_what_is_kept(ground: Ground) -> None:
    """Since all of it has been taken for this reader."""
    way, _, tested = filled(through_sendfile_of_a_kept_file(ground))
    assert tested.held == len(MUCH) - tested.moved
    tested.stop()
    assert way.from_sink
    taken = b""
    while not tested.over:
        taken += read_what_is_there(way.from_sink)
        advance_until_blocked(tested)
    assert taken + to_the_end(way.from_sink) == MUCH


def filled(way: Route) -> tuple[Route, Flow | None, Flow]:
    """The route, what feeds it and what is tested on it, once nothing moves any more."""
    tested = flow(way.source, way.sink)
    feeding = flow(*way.to_source) if way.to_source else None
    advance_until_blocked(feeding, tested)
    return way, feeding, tested


def advance_until_blocked(*flows: Flow | None) -> None:
    """Let each of them do what it can, in turn, until none can do more."""
    moved = -1
    while moved != (now := sum(one.moved for one in flows if one)):
        moved = now
        for one in flows:
            if one and not one.over:
                advance_one_until_blocked(one)


def advance_one_until_blocked(flow: Flow) -> None:
    try:
        while flow.advance():
            pass
    except WouldBlock:
        pass


def read_what_is_there(source: Source) -> bytes:
    """Twice told that there is nothing: the first may be what a short read has taught."""
    taken = b""
    for _ in range(2):
        try:
            while True:
                taken += source.read(MIB)
        except (WouldBlock, EndOfStream):
            pass
    return taken


def to_the_end(source: Source) -> bytes:
    sink = Record()
    move((source, sink))
    return sink.data


# What ends the use of a way.


def test_a_file_opened_for_append_is_written_all_the_same(ground: Ground) -> None:
    log = ground.file(b"earlier ", "ab")
    near, far = ground.tcp()
    tested, _ = move(
        (SocketSource(near, PEER), standard_output(log.fileno())),
        (Given(MUCH), SocketSink(far, PEER)),
    )
    assert Path(log.name).read_bytes() == b"earlier " + MUCH
    assert tested.moved == len(MUCH)


def test_a_file_is_sent_from_where_its_descriptor_stands_and_the_offset_follows(
    ground: Ground,
) -> None:
    file = ground.file(MUCH)
    file.seek(5000)
    near, far = ground.tcp()
    arrived = Record()
    move(
        (standard_input(file.fileno()), SocketSink(near, PEER)),
        (SocketSource(far, PEER), arrived),
    )
    assert arrived.data == MUCH[5000:]
    assert file.tell() == len(MUCH)


def test_a_file_that_grows_meanwhile_is_sent_to_its_new_end(ground: Ground) -> None:
    file = ground.file(MUCH)
    near, far = ground.tcp()
    sending = flow(standard_input(file.fileno()), SocketSink(near, PEER))
    advance_until_blocked(sending)
    with Path(file.name).open("ab") as other:
        other.write(b"more")
    assert taken_to_the_end(sending, SocketSource(far, PEER)) == MUCH + b"more"


@pytest.mark.parametrize("left", [0, 1000, 3 * MIB, len(MUCH) - 100])
def test_a_file_that_is_cut_meanwhile_is_sent_as_far_as_it_still_goes(
    ground: Ground, left: int
) -> None:
    file = ground.file(MUCH)
    near, far = ground.tcp()
    sending = flow(standard_input(file.fileno()), SocketSink(near, PEER))
    advance_until_blocked(sending)
    already = sending.moved
    os.truncate(file.name, left)
    taken = taken_to_the_end(sending, SocketSource(far, PEER))
    assert sending.error is None
    assert len(taken) == max(already, left)
    assert taken[:left] == MUCH[: min(left, len(taken))]
    # What was on its way and is cut off arrives as it was, or as the nothing that it now is.
    assert all(got in (sent, 0) for got, sent in zip(taken[left:], MUCH[left:], strict=False))


def taken_to_the_end(sending: Flow, source: Source) -> bytes:
    """All that comes out of `source` until `sending` is over."""
    taken = b""
    while not sending.over:
        taken += read_what_is_there(source)
        advance_until_blocked(sending)
    return taken + to_the_end(source)


def test_an_empty_file_in_the_proc_file_system_is_not_empty(ground: Ground) -> None:
    """Its size is said to be 0."""
    near, far = ground.tcp()
    arrived = Record()
    with Path("/proc/self/cmdline").open("rb") as odd:
        move(
            (standard_input(odd.fileno()), SocketSink(near, PEER)),
            (SocketSource(far, PEER), arrived),
        )
    assert arrived.data == Path("/proc/self/cmdline").read_bytes() != b""


# What the kernel does not say.


@pytest.mark.parametrize("route", [through_splice_to_a_pipe, through_conduit])
def test_a_byte_sent_as_urgent_stops_nothing(
    ground: Ground, route: Callable[[Ground], Route]
) -> None:
    """splice stops there, and calls that the end once the peer has ended."""
    way, arrived = route(ground), Record()
    assert way.to_source
    assert way.from_sink
    _, entry = way.to_source
    assert isinstance(entry, SocketSink)
    tested = flow(way.source, way.sink)
    entry.write(b"before ")
    advance_until_blocked(tested)
    with socket.socket(fileno=os.dup(entry.raw_fd or -1)) as peer:
        peer.send(b"!", socket.MSG_OOB)
        peer.send(b"after ")
    for _ in range(3):
        advance_until_blocked(tested)
    entry.write(b"and the end")
    move((Given(), entry), (way.source, way.sink), (way.from_sink, arrived))
    assert arrived.data == b"before after and the end"


def test_a_fifo_that_no_writer_has_opened_yet_is_not_at_its_end(ground: Ground) -> None:
    path = ground.folder / "fifo"
    os.mkfifo(path)
    reading = FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    with reading:
        ours, theirs = ground.sockets()
        sending = flow(standard_input(reading.fileno()), SocketSink(ours, PEER))
        advance_until_blocked(sending)
        assert not sending.over
        path.write_bytes(b"from the writer")
        advance_until_blocked(sending)
        assert sending.over
        assert theirs.recv(100) == b"from the writer"


@pytest.mark.parametrize(
    ("made", "sent", "left"),
    [(1 << 16, 1000, 1 << 16), (1 << 16, 1 << 17, 1 << 20), (1 << 12, 1 << 17, 1 << 12)],
    ids=["a conversation", "a transfer", "a pipe made small"],
)
def test_a_pipe_grows_for_a_transfer_alone(ground: Ground, made: int, sent: int, left: int) -> None:
    reading, writing = ground.pipe()
    near, far = ground.sockets()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, made)
    move(
        (Given(bytes(sent)), standard_output(writing.fileno())),
        (standard_input(reading.fileno()), SocketSink(near, PEER)),
        (SocketSource(far, PEER), Record()),
    )
    assert fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ) == left


def test_what_somebody_else_has_taken_is_not_waited_for_at_the_end(ground: Ground) -> None:
    (reading, writing), (ours, _) = ground.pipe(), ground.tcp()
    source, sink = standard_input(reading.fileno()), SocketSink(ours, PEER)
    sending = flow(source, sink)
    feeding = flow(Given(MUCH), standard_output(writing.fileno()))
    advance_until_blocked(feeding, sending)
    assert sending.stuck
    while readable(reading.fileno()):
        reading.read(MIB)
    sending.stop()
    advance_until_blocked(sending)
    assert sending.over
    feeding.sink.end()


# No system call that is not needed.


def test_after_a_short_read_there_is_no_second_one(ground: Ground) -> None:
    ours, theirs = ground.sockets()
    source = SocketSource(ours, PEER)
    theirs.send(b"short")
    assert source.read(100) == b"short"
    theirs.send(b"later")
    with pytest.raises(WouldBlock):
        source.read(100)
    assert source.read(100) == b"later"


def test_nor_after_a_short_splice(ground: Ground) -> None:
    (reading, writing), (ours, theirs) = ground.pipe(), ground.sockets()
    mover = choose_mover(standard_input(reading.fileno()), SocketSink(ours, PEER))
    writing.write(b"short")
    assert mover.move() == 5
    writing.write(b"later")
    with pytest.raises(WouldBlock):
        mover.move()
    assert mover.move() == 5
    assert theirs.recv(100) == b"shortlater"


# Packets.


def test_packets_that_are_there_are_written_together_where_there_are_none(
    ground: Ground,
) -> None:
    ours, theirs = ground.sockets(socket.SOCK_DGRAM)
    for piece in (b"one", b"", b"three"):
        theirs.send(piece)
    sink = Record()
    moving = flow(DatagramSource(ours, PEER), sink)
    advance_until_blocked(moving)
    assert (sink.writes, moving.moved) == ([b"onethree"], 8)
    theirs.send(b"more")
    advance_until_blocked(moving)
    assert sink.writes == [b"onethree", b"more"]


def test_packets_that_come_while_the_sink_is_full_need_no_other_to_wake_them() -> None:
    inbox, sink = Inbox(time.monotonic), MemoryPipe(200)
    moving = flow(inbox, sink)
    for packet in (b"1" * 150, b"2" * 50):
        inbox.put(packet)
        advance_one_until_blocked(moving)
    assert moving.stuck
    inbox.put(b"3" * 5)
    assert sink.read(1000) == b"1" * 150
    advance_one_until_blocked(moving)
    assert sink.read(1000) == b"2" * 50 + b"3" * 5


def make_packet_pipe(ground: Ground) -> tuple[int, Callable[[], bytes]]:
    reading, writing = os.pipe2(os.O_DIRECT)
    ground.resources.callback(os.close, reading)
    ground.resources.callback(os.close, writing)
    return writing, lambda: os.read(reading, 100)


def make_packet_socket(ground: Ground) -> tuple[int, Callable[[], bytes]]:
    ours, theirs = ground.sockets(socket.SOCK_SEQPACKET)
    return ours.fileno(), lambda: theirs.recv(100)


@pytest.mark.parametrize("make", [make_packet_pipe, make_packet_socket])
def test_packets_stay_packets_on_a_standard_output_that_has_some(
    ground: Ground, make: Callable[[Ground], tuple[int, Callable[[], bytes]]]
) -> None:
    fd, read = make(ground)
    near, far = ground.sockets(socket.SOCK_DGRAM)
    sink = standard_output(fd)
    for piece in (b"one", b"two"):
        far.send(piece)
    advance_until_blocked(flow(DatagramSource(near, PEER), sink))
    assert [read(), read()] == [b"one", b"two"]
    finish(sink)


def test_a_packet_without_room_is_an_error_not_a_piece(ground: Ground) -> None:
    ours, theirs = ground.sockets(socket.SOCK_DGRAM)
    theirs.send(bytes(101))
    with pytest.raises(LocalError, match="101 bytes"):
        DatagramSource(ours, PEER).read_into(memoryview(bytearray(100)))


@pytest.mark.parametrize("error", [None, ConnectionLost("the peer has gone")])
def test_what_ends_a_run_of_packets_does_not_cost_those_before_it(
    error: ConnectionLost | None,
) -> None:
    sink = Record()
    (moving,) = move((OnePacket(error or EndOfStream()), sink))
    assert (sink.writes, moving.error) == ([b"packet"], error)


class OnePacket(Source):
    """A packet, and then what is raised."""

    framed = True

    def __init__(self, then: Exception) -> None:
        self._pieces = [b"packet"]
        self._then = then

    def read(self, limit: int) -> bytes:
        if not self._pieces:
            raise self._then
        return self._pieces.pop()


@pytest.mark.parametrize("name", DATAGRAM_PAIRS)
def test_packets_stay_packets_where_there_are_some(name: str, tmp_path: Path) -> None:
    with DATAGRAM_PAIRS[name](tmp_path) as pair:
        assert pair.far.source.framed
        pair.near.sink.write(b"one")
        pair.near.sink.write(b"two")
        sink = Record()
        sink.framed = True
        moving = flow(pair.far.source, sink)
        while len(sink.writes) < 2:
            advance_until_blocked(moving)
        assert sink.writes == [b"one", b"two"]
