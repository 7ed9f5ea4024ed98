"""Datagrams that a SOCKS5 proxy relays (RFC 1928 section 7).

    session  <-->  Relayed  <-- datagrams, each with a header -->  relay  <-->  target
                      |
                   control, the connection on which the relay was asked for

The relay lasts as long as that connection, which must stay open, and on which
nothing more is said: it is read for the sake of its end alone.  Closing it destroys
what the relay has not passed on yet, and nothing tells when it has: so our end waits.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from pync.errors import ConnectError, ConnectionLost, ProtocolError, PyncError
from pync.loop import Loop
from pync.options import Options
from pync.stream import NEVER_YET, Condition, EndOfStream, Endpoint, Peer, Sink, Source, WouldBlock
from pync.transports import inet, udp
from pync.transports.inet import InetAddress
from pync.wire.socks import literal
from pync.wire.socks5 import Datagram, Place, unwrap, wrap

PIECE = 64 * 1024  # bytes of what a proxy has no reason to say
PASSAGE = 0.5  # seconds that the relay has to pass a datagram on before it may be closed


def relayed(
    loop: Loop,
    control: Endpoint,
    bound: Place,
    proxy: InetAddress,
    target: InetAddress,
    options: Options,
) -> Endpoint:
    """Datagrams to and from `target`, which may have a name for its address.

    control: the connection, owned from then on, on which `proxy` has agreed to relay
    them for whoever sends them to `bound`.
    Raises NetworkError if there is no getting there.
    """
    relay = open_relay(relay_address(bound, proxy, options), options)
    return Relayed(loop, control, relay, target)


def relay_address(bound: Place, proxy: InetAddress, options: Options) -> InetAddress:
    """Zeros stand for the proxy's own host, since it may not know what we call it."""
    if not bound.port:
        raise ProtocolError(f"SOCKS5 with {proxy} failed: its relay has no port")
    address = literal(bound.host)
    if address and address.is_unspecified:
        own = (proxy.sockaddr[0], bound.port, *proxy.sockaddr[2:])
        return InetAddress(proxy.family, own, "udp")
    return inet.look_up(bound.host, bound.port, "udp", options)[0]


def open_relay(address: InetAddress, options: Options) -> Endpoint:
    attempt = udp.connect(address, options)
    try:
        return attempt.finish()
    except ConnectError:
        attempt.abandon()
        raise


class Lifeline:
    """A task: waits for the end of the connection that a relay lasts as long as.

    ended: notified of it.
    """

    def __init__(self, source: Source, peer: Peer) -> None:
        self.ended = Condition()
        self._source = source
        self._peer = peer
        self._error: PyncError | None = None

    def advance(self) -> bool:
        try:
            self._source.read(PIECE)
        except EndOfStream:
            why = "the proxy has stopped to relay datagrams"
            self._error = ConnectionLost(f"connection with {self._peer} lost: {why}")
        except PyncError as error:
            self._error = error
        if self._error:
            self.ended.notify()
        return self._error is None

    def check(self) -> None:
        """Raise what has ended it, if something has."""
        if self._error:
            raise self._error


class RelayedSource(Source):
    """What comes from `target`.  Anything else that the relay sends is passed over.

    The origin of a datagram is an address, so where the target is a name the proxy is
    trusted to have it from there.
    """

    framed = True

    def __init__(self, relay: Source, lifeline: Lifeline, target: Place) -> None:
        self._relay = relay
        self._lifeline = lifeline
        self._host = plain_address(target.host)
        self._port = target.port

    def read(self, limit: int) -> bytes:
        try:
            datagram = unwrap(self._relay.read(limit))
        except ProtocolError:
            raise WouldBlock(after=0) from None
        except WouldBlock as blocked:
            self._lifeline.check()
            blocked.condition = self._lifeline.ended
            raise
        if not self._is_origin(datagram):
            raise WouldBlock(after=0)
        return datagram.data

    def _is_origin(self, datagram: Datagram) -> bool:
        known = self._host is None or self._host == plain_address(datagram.host)
        return known and datagram.port == self._port


class RelayedSink(Sink):
    """Puts `header` before each datagram.  The end is late enough for the last one."""

    framed = True

    def __init__(
        self, relay: Sink, lifeline: Lifeline, header: bytes, clock: Callable[[], float]
    ) -> None:
        self.limit = relay.limit - len(header)
        self._relay = relay
        self._lifeline = lifeline
        self._header = header
        self._clock = clock
        self._not_before = NEVER_YET  # when the end may come

    def write(self, data: bytes | memoryview) -> int:
        self._lifeline.check()
        self._relay.write(b"".join((self._header, data)))
        self._not_before = self._clock() + PASSAGE
        return len(data)

    def end(self) -> None:
        if self._clock() < self._not_before:
            raise WouldBlock(until=self._not_before)


class Relayed(Endpoint):
    """`target` behind `relay`, which lasts as long as `control`; it owns both."""

    has_end = False

    def __init__(self, loop: Loop, control: Endpoint, relay: Endpoint, target: InetAddress) -> None:
        place = Place(target.host, target.port)
        lifeline = Lifeline(control.source, control.peer)
        super().__init__(
            RelayedSource(relay.source, lifeline, place),
            RelayedSink(relay.sink, lifeline, wrap(*place, b""), loop.clock),
            target,
        )
        self.descriptors = (*relay.descriptors, *control.descriptors)
        self._loop = loop
        self._control = control
        self._relay = relay
        self._lifeline = lifeline
        loop.spawn(lifeline)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._control.notes

    def close(self) -> None:
        self._stop()
        self._control.close()

    def abort(self) -> None:
        self._stop()
        self._control.abort()

    def _stop(self) -> None:
        self._loop.cancel(self._lifeline)
        self._relay.close()


def plain_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that `host` is; None for a name.  An IPv4 address written as IPv6 is IPv4."""
    address = literal(host)
    return getattr(address, "ipv4_mapped", None) or address
