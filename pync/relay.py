"""A relay: each client is joined to a connection of its own to the target.

Until that stands nothing that the client says is read, so it waits where the fast path
finds it.  Nothing tells then that the client has gone, so it is asked from time to time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from pync import proxies
from pync.access import canonical
from pync.combinations import OF_A_SERVER
from pync.connecting import Connecting
from pync.dial import DATAGRAM_PEER_IDLE, REPLY_WAIT
from pync.doorkeeper import LOCALHOST
from pync.endings import Terms
from pync.environment import Environment
from pync.errors import NetworkError, PyncError, UsageError
from pync.layers import layers
from pync.loop import Loop
from pync.opening import PATIENCE, Layer, Maker, Opening, cut
from pync.options import Options, listed, option_name
from pync.proxies import Hop
from pync.reaching import Performance, Script, connect, find
from pync.stream import NEVER, Endpoint, Peer, WouldBlock
from pync.transports import inet
from pync.transports.inet import InetAddress
from pync.transports.ourselves import leads_to
from pync.transports.resolver import Resolver, owner
from pync.tunnel import Tunnel
from pync.values import Target
from pync.wire.proxy_protocol import VERSIONS, Announcement, Connection

OURSELVES = "is where we listen ourselves: clients would be led round for ever"
ATTENTION = 0.5  # seconds after which a client that has gone is noticed
OF_INET = ("ipv4", "ipv6", "tos", "ttl", "min_ttl", "tcp_keepalive")
OF_CLIENTS = ("listen", "ssl", "ssl_cert", "ssl_key", "ssl_client_ca", "ssl_alpn", "ssl_ciphers")


def for_target(options: Options, target: Target) -> Options:
    """What holds on the way to the target.  Raises UsageError for what cannot be."""
    foreign = OF_CLIENTS if target.path is None else (*OF_CLIENTS, *OF_INET)
    changed = {field: Options._field_defaults[field] for field in (*foreign, "relay")}
    place = {"host": target.host, "port": target.port, "path": target.path}
    changed |= {**place, "unixsock": target.path is not None, "ssl": target.ssl}
    onward = options._replace(**changed)
    check(onward)
    if target.port:
        port = inet.port_number(target.port, protocol_of(onward), options.nodns)
        onward = onward._replace(port=f"{port}")
    return onward


def protocol_of(options: Options) -> str:
    return "udp" if options.udp else "tcp"


def check(onward: Options) -> None:
    """Raise UsageError for what makes no sense on that way."""
    for field in OF_A_SERVER:
        if getattr(onward, field) and not onward.ssl:
            raise UsageError(f"{option_name(field)} is about a target behind ssl://")
    through = onward.via or onward.proxy
    if onward.udp and onward.ssl:
        raise UsageError("--udp and ssl:// exclude each other")
    if onward.unixsock and through:
        raise UsageError("--relay: no proxy leads to a unix socket")
    if onward.proxy_type and not through:
        raise UsageError(f"{listed(['relay', 'proxy_type'], 'and')} need a proxy on the way")


def check_family(address: InetAddress, options: Options) -> None:
    """Raise UsageError if the options want another one."""
    if inet.family_wanted(options) not in (inet.ANY_FAMILY, address.family):
        option = option_name("ipv4" if options.ipv4 else "ipv6")
        told = f"{option} and {address.host} are of different families"
        raise UsageError(f"--relay: {told}, and {option} holds on both sides")


def terms(options: Options, through_proxy: bool) -> Terms:
    """How a client and its target part."""
    idle = options.timeout
    if idle is None and options.udp and options.keep_open:
        idle = DATAGRAM_PEER_IDLE
    return Terms(
        # Many proxies take the end of one direction for the end of both.
        end_after_silence=options.linger if through_proxy and not options.udp else None,
        reply_wait=REPLY_WAIT if options.udp else None,
        idle=idle,
        idle_failure=options.idle_timeout,
        linger=NEVER,
        passes_failure=True,
    )


class Relay:
    """Relays any number of clients.

    Raises UsageError or LocalError for what cannot be.  say: told of who goes where.
    """

    def __init__(
        self, loop: Loop, options: Options, environment: Environment, say: Callable[[str], None]
    ) -> None:
        assert options.relay
        self.target = options.relay
        self._loop = loop
        self._options = for_target(options, options.relay)
        self._say = say
        self._places: Sequence[str] = ()
        self._resolver = Resolver(loop)
        self._stops = proxies.stops(self._options, environment)
        kinds = [stop.kind for stop in self._stops]
        self._context = proxies.tls_context(kinds, environment)
        self._check(kinds)
        self._layers = layers(self._options, environment, loop)
        self.terms = terms(self._options, bool(self._stops))

    def _check(self, kinds: Sequence[type[Hop]]) -> None:
        """Say now what can never be."""
        first = self._options
        if self._stops:
            first = proxies.reaching(self._stops[0], first)
            if not proxies.looks_up(kinds, self._options):
                proxies.between(self._stops, proxies.onwards(self._stops, self._options))
        if first.host and (address := inet.number(first.host, 0, protocol_of(first))):
            check_family(address, first)
        if first.nodns and first.host:
            inet.look_up(first.host, 0, protocol_of(first), first)  # a name is a mistake

    def refuse_ourselves(self, places: Sequence[str]) -> None:
        """Raise UsageError if it leads to where we listen, for ever; later that is told of."""
        self._places = places
        first = proxies.reaching(self._stops[0], self._options) if self._stops else self._options
        if first.path and os.path.realpath(first.path) in map(os.path.realpath, places):
            raise UsageError(f"--relay: {first.path} {OURSELVES}")
        hosts = LOCALHOST if canonical(first.host or "") == "localhost" else [first.host or ""]
        known = (inet.number(host, int(first.port or 0), protocol_of(first)) for host in hosts)
        self._look_for_ourselves(filter(None, known))

    def _look_for_ourselves(self, addresses: Iterable[Peer]) -> None:
        for address in addresses:
            if not isinstance(address, InetAddress):
                continue
            if any(leads_to(address, place) for place in self._places):
                raise UsageError(f"--relay: {address} {OURSELVES}")

    @property
    def cost(self) -> int:
        """Descriptors for each client: its own, the target's, and a pipe for each direction."""
        if self._options.udp:
            return 2 if self._stops else 1  # a proxy's relay goes with a connection to that
        return 6

    def attend(self, client: Endpoint) -> Relayed:
        return Relayed(self._loop, self, client, self._say)

    def reach(self, client: Endpoint, say: Callable[[str], None]) -> Script[Endpoint]:
        """The target, ready for the client's first byte."""
        deadline = self._loop.clock() + (self._options.connect_limit or PATIENCE)
        hops, first = [], self._options
        if self._stops:
            hops = proxies.between(self._stops, (yield from self._find_onwards(client, deadline)))
            first = proxies.reaching(self._stops[0], self._options)
        search = partial(self._resolver.look_up, owner=owner(client.peer))
        addresses = yield from find(first, search, self._loop.clock, deadline)
        self._look_for_ourselves(addresses)
        connecting = Connecting(first, self._loop, say, addresses, deadline)
        makers = [*self._makers(hops, client)]
        open_endpoint = partial(self._open, makers)
        return (yield from connect(connecting, open_endpoint, hops[0] if hops else None))

    def _find_onwards(self, client: Endpoint, deadline: float) -> Script[list[InetAddress]]:
        search = partial(self._resolver.search, owner=owner(client.peer))
        clock = self._loop.clock
        found = proxies.find_onwards(self._stops, self._options, search, clock, deadline)
        return (yield from found)

    def _makers(self, hops: list[Hop], client: Endpoint) -> Iterator[Maker]:
        """What is said first on the connection to the target, nearest to the wire first."""
        yield from proxies.layers(hops, self._options, self._context, self._loop)
        if self._options.proxy_protocol:
            yield lambda _: self._announce(client)
        yield from self._layers

    def _announce(self, client: Endpoint) -> Layer:
        version = VERSIONS[self._options.proxy_protocol or 0]
        local, peer = client.local, client.peer
        connection = None
        if local and isinstance(peer, InetAddress):
            connection = Connection((peer.host, peer.port), (local.host, local.port))
        words = version(connection, peer.target)
        return Layer("PROXY header", Announcement(words), lambda endpoint: endpoint)

    def _open(self, makers: list[Maker], endpoint: Endpoint, deadline: float) -> Opening:
        return Opening(self._loop, endpoint, makers, deadline)

    def close(self) -> None:
        self._resolver.close()


class Relayed:
    """A task: one client, from its arrival to its end (see hub.Attendance)."""

    def __init__(
        self, loop: Loop, relay: Relay, client: Endpoint, say: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._relay = relay
        self._client = client
        self._name = f"client {client.peer} to {relay.target}"
        self._say = say
        self._tunnel: Tunnel | None = None
        self._over = False
        self._performance = Performance(self._serve())

    def advance(self) -> bool:
        """Raises NetworkError, whatever it was: it is this client's trouble alone."""
        try:
            return not self._over and self._go_on()
        except PyncError as error:
            self._over = True
            why = str(error).replace("\n", "; ")
            raise NetworkError(f"{self._name}: {why}") from None

    def _go_on(self) -> bool:
        if self._tunnel:
            return self._performance.advance()
        try:
            self._client.sink.check()
            return self._performance.advance()
        except WouldBlock as blocked:
            if not self._tunnel:
                blocked.after = min(blocked.after, ATTENTION)
            raise
        except PyncError:
            self._cut()
            raise

    def _serve(self) -> Script[None]:
        target = yield from self._relay.reach(self._client, self._tell)
        self._tell(f"connected to {target.peer.target}")
        for note in target.notes:
            self._tell(note)
        self._tunnel = Tunnel(self._loop, self._client, target, self._relay.terms)
        yield self._tunnel

    def _tell(self, line: str) -> None:
        self._say(f"{self._name}: {line}")

    def _cut(self) -> None:
        self._over = True
        self._performance.close()
        cut(self._loop, self._client)

    def wind_up(self) -> None:
        """What is held is given out; a client whose target is not there is cut."""
        if self._tunnel:
            self._tunnel.wind_up()
        else:
            self._cut()

    def break_off(self, error: PyncError) -> None:  # noqa: ARG002
        """End it at once, so that neither side takes this for the end."""
        if self._over:
            return
        if self._tunnel:
            self._tunnel.break_off()
        else:
            self._cut()
