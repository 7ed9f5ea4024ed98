"""Datagrams through a SOCKS5 proxy's relay, which plain sockets play."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from harness import PATIENCE, descriptors, needs_ipv6
from plain_peer import HERE, drain, reset
from socks_scripts import message

from pync.errors import ConnectionLost, NetworkError, ProtocolError
from pync.loop import Loop
from pync.opening import cut
from pync.options import Options
from pync.relayed import PASSAGE, relayed
from pync.staged import Staged
from pync.stream import Endpoint, Source, WouldBlock
from pync.transports import tcp
from pync.transports.inet import InetAddress, beyond
from pync.wire.socks import NOWHERE
from pync.wire.socks5 import Place
from pync.wire.telnet import Telnet

OPTIONS = Options()
PLAIN = message("00 00 00")
TARGET = beyond("192.0.2.1", 7, "udp")
FROM_TARGET = message("000000 01 c0000201 0007")
WAYS: dict[str, Callable[[Loop, Endpoint], Endpoint]] = {
    "plain": lambda loop, endpoint: endpoint,
    "staged": lambda loop, endpoint: Staged(loop, endpoint, Telnet()),
}


class Relay(NamedTuple):
    """endpoint: what is tested, in `loop`.  sock, control: the proxy's two sockets."""

    loop: Loop
    endpoint: Endpoint
    sock: socket.socket
    control: socket.socket

    def learn(self) -> bytes:
        """What comes next from the client, which is answered from now on."""
        data, client = self.sock.recvfrom(1 << 16)
        self.sock.connect(client)
        return data

    def meet(self) -> None:
        """Learn who the client is by its first datagram."""
        self.endpoint.sink.write(b"question")
        self.learn()

    def read(self, count: int = 1) -> list[bytes]:
        reading = Reading(self.endpoint.source, count)
        self.loop.run(reading)
        return reading.taken


class Reading:
    """A task: takes `count` datagrams."""

    def __init__(self, source: Source, count: int) -> None:
        self.taken: list[bytes] = []
        self._source = source
        self._count = count

    def advance(self) -> bool:
        self.taken.append(self._source.read(1 << 16))
        return len(self.taken) < self._count


@contextmanager
def connection(host: str = HERE) -> Iterator[tuple[Endpoint, InetAddress, socket.socket]]:
    """A connection to a proxy, the proxy's address, and its side."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        port = listener.getsockname()[1]
        (address,) = tcp.addresses(Options(host=host, port=f"{port}"))
        ours = socket.create_connection((host, port))
        control, _ = listener.accept()
    control.settimeout(PATIENCE)
    with control:
        yield tcp.endpoint(ours, address, OPTIONS), address, control


@contextmanager
def relaying(
    target: InetAddress = TARGET,
    host: str = HERE,
    bound: str = "",
    way: str = "plain",
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Relay]:
    """A relay at `host` for datagrams to `target`.  bound: how the proxy calls its own host."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_DGRAM) as sock,
        connection(host) as (control, proxy, theirs),
        Loop(clock) as loop,
    ):
        sock.bind((host, 0))
        sock.settimeout(PATIENCE)
        place = Place(bound or host, sock.getsockname()[1])
        endpoint = relayed(loop, WAYS[way](loop, control), place, proxy, target, OPTIONS)
        try:
            yield Relay(loop, endpoint, sock, theirs)
        finally:
            cut(loop, endpoint)


# What is sent, and what comes back.

HEADERS = {
    "IPv4": (beyond("192.0.2.1", 7, "udp"), FROM_TARGET),
    "IPv6": (beyond("2001:db8::1", 7, "udp"), message("000000 04 20010db8", bytes(11), "01 0007")),
    "a name": (beyond("host", 65535, "udp"), message("000000 03 04", b"host", "ffff")),
}


@pytest.mark.parametrize(("target", "header"), HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("size", [0, 1, 65_000])
def test_datagrams_carry_the_target(target: InetAddress, header: bytes, size: int) -> None:
    with relaying(target) as relay:
        assert relay.endpoint.sink.write(bytes(size)) == size
        assert relay.learn() == header + bytes(size)
        relay.sock.send(header + b"answer" + bytes(size))
        assert relay.read() == [b"answer" + bytes(size)]


def test_the_largest_datagrams_there_are() -> None:
    with relaying() as relay:
        limit = relay.endpoint.sink.limit
        assert limit == 65_507 - len(FROM_TARGET)
        assert relay.endpoint.sink.write(bytes(limit)) == limit
        assert relay.learn() == FROM_TARGET + bytes(limit)
        relay.sock.send(FROM_TARGET + bytes(limit))
        assert relay.read() == [bytes(limit)]


# Where somebody is known by a name, the relay tells the address.
ORIGINS = {
    "an address for a name": (beyond("host", 7, "udp"), FROM_TARGET),
    "an address of the other family for a name": (beyond("host", 7, "udp"), HEADERS["IPv6"][1]),
    "a name for a name": (beyond("host", 7, "udp"), message("000000 03 05", b"other", "0007")),
    "IPv4 written as IPv6": (
        TARGET, message("000000 04", bytes(10), "ffff c0000201 0007"),
    ),
    "IPv6 written in another way": (beyond("2001:DB8:0::1", 7, "udp"), HEADERS["IPv6"][1]),
    "reserved bytes in use": (TARGET, message("1234 00 01 c0000201 0007")),
}  # fmt: skip


@pytest.mark.parametrize(("target", "header"), ORIGINS.values(), ids=ORIGINS)
def test_it_is_the_target_that_answers(target: InetAddress, header: bytes) -> None:
    with relaying(target) as relay:
        relay.meet()
        for text in (b"one", b"", b"three"):
            relay.sock.send(header + text)
        assert relay.read(3) == [b"one", b"", b"three"]


STRANGE = {
    "nothing": b"",
    "cut short": FROM_TARGET[:-1],
    "a fragment": message("0000 01 01 c0000201 0007", b"part"),
    "an address of no kind": message("000000 02 c0000201 0007", b"what"),
    "a name that is none": message("000000 03 01 0a 0007", b"what"),
    "another host": message("000000 01 c0000202 0007", b"stranger"),
    "another port": message("000000 01 c0000201 0008", b"stranger"),
    "a name": message("000000 03 04", b"host", "0007", b"stranger"),
    "IPv6": HEADERS["IPv6"][1] + b"stranger",
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
def test_what_is_not_from_the_target_is_passed_over(strange: bytes) -> None:
    with relaying() as relay:
        relay.meet()
        relay.sock.send(strange)
        relay.sock.send(FROM_TARGET + b"answer")
        assert relay.read() == [b"answer"]


def test_a_name_that_answers_from_another_port_is_a_stranger() -> None:
    with relaying(beyond("host", 7, "udp")) as relay:
        relay.meet()
        relay.sock.send(STRANGE["another port"])
        relay.sock.send(FROM_TARGET + b"answer")
        assert relay.read() == [b"answer"]


# Where the relay is.

PLACES = [(HERE, NOWHERE), (HERE, "::"), (HERE, "localhost")]
IPV6_PLACES = [("::1", "::1"), ("::1", NOWHERE), ("::1", "::")]


@pytest.mark.parametrize(
    ("host", "bound"), [*PLACES, *(pytest.param(*row, marks=needs_ipv6) for row in IPV6_PLACES)]
)
def test_zeros_are_the_place_of_the_proxy(host: str, bound: str) -> None:
    with relaying(host=host, bound=bound) as relay:
        relay.endpoint.sink.write(b"question")
        assert relay.learn() == FROM_TARGET + b"question"


@pytest.mark.parametrize(
    ("bound", "error", "told"),
    [
        (Place(HERE, 0), ProtocolError, "its relay has no port"),
        (Place("a..b", 7), NetworkError, "cannot resolve a..b"),
        (Place("255.255.255.255", 7), NetworkError, "255.255.255.255 port 7 .*failed"),
    ],
)
def test_a_relay_that_cannot_be_used_is_told(
    bound: Place, error: type[Exception], told: str
) -> None:
    with connection() as (control, proxy, _), Loop() as loop:
        before = descriptors()
        with pytest.raises(error, match=told):
            relayed(loop, control, bound, proxy, TARGET, OPTIONS)
        assert descriptors() == before
        control.close()


def test_a_relay_that_refuses_is_lost() -> None:
    with relaying() as relay:
        relay.sock.close()
        relay.endpoint.sink.write(b"question")
        with pytest.raises(ConnectionLost, match="Connection refused"):
            relay.read()


# The control connection.


def test_our_end_waits_until_the_relay_has_passed_on_the_last_datagram() -> None:
    now = 100.0
    with relaying(clock=lambda: now) as relay:
        sink = relay.endpoint.sink
        sink.end()
        sink.write(b"question")
        with pytest.raises(WouldBlock) as not_yet:
            sink.end()
        assert not_yet.value.until == now + PASSAGE
        now += PASSAGE
        sink.end()


ENDS: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "in order": (socket.socket.close, "the proxy has stopped to relay"),
    "by a reset": (reset, "Connection reset by peer"),
}


@pytest.mark.parametrize(("end", "told"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("way", WAYS)
def test_its_end_is_the_end(way: str, end: Callable[[socket.socket], None], told: str) -> None:
    """What has come before is read; nothing more is sent."""
    with relaying(way=way) as relay:
        relay.meet()
        relay.sock.send(FROM_TARGET + b"last")
        end(relay.control)
        assert relay.read() == [b"last"]
        for _ in range(2):
            with pytest.raises(ConnectionLost, match=told):
                relay.read()
        with pytest.raises(ConnectionLost, match=told):
            relay.endpoint.sink.write(b"more")


@pytest.mark.parametrize("way", WAYS)
def test_what_is_said_on_it_means_nothing(way: str) -> None:
    with relaying(way=way) as relay:
        relay.control.sendall(bytes(100_000))
        relay.meet()
        relay.sock.send(FROM_TARGET + b"answer")
        assert relay.read() == [b"answer"]


@pytest.mark.parametrize("way", WAYS)
def test_the_proxy_hears_of_our_end(way: str) -> None:
    with relaying(way=way) as relay:
        for fd in relay.endpoint.descriptors:
            relay.loop.forget(fd)
        relay.endpoint.close()
        assert drain(relay.control) == b""
        relay.endpoint.close()
