"""Proxies: from options to what is said to each of them on the way to the target.

The first is connected to.  Each is asked to connect to the next, the last one to the
target, and then it is as if the connection led there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from pync.environment import Environment
from pync.errors import ConnectError, ResolveError, UsageError
from pync.loop import Loop
from pync.opening import Layer, Maker, stage
from pync.options import Options
from pync.proxy_variables import FROM_ENVIRONMENT, proxy_of_environment
from pync.reaching import Script
from pync.reaching import look_up as look_up_beside
from pync.stage import Dialogue
from pync.stream import Endpoint, Peer
from pync.taps import unread
from pync.transports.inet import InetAddress, beyond, look_up, port_number
from pync.values import Login, Proxy
from pync.wire.socks import NOWHERE, Command, literal

if TYPE_CHECKING:
    from ssl import SSLContext

    from pync.transports.inet import Lookup
    from pync.wire.http.connect import Connect
    from pync.wire.socks5 import Socks5

Search = Callable[[Callable[[], list[InetAddress]], str], "Lookup"]  # as Resolver.search
VARIABLE = "PYNC_PROXY_PASSWORD"
ONE_BYTE = 1  # is read at a time, so that what follows the proxy's answer stays in the kernel


class Asking(Dialogue, Protocol):
    """A proxy's dialogue, after which the connection leads on.  surplus: what came behind it."""

    @property
    def surplus(self) -> bytes: ...


class Hop:
    """A proxy on the way, and where it is to connect to.

    Raises UsageError for what it cannot be asked for.
    """

    protocol = ""
    default_port = 1080
    takes_password = True
    takes_names = True
    takes_ipv6 = True
    over_tls = False

    def __init__(self, host: str, port: int, onward: InetAddress, login: Login | None) -> None:
        self.host = host
        self.port = port
        self._onward = onward
        self._user = login and login.user
        self._password = (login and login.password) or ""
        self.ask(str(self))  # before anything is opened

    def __str__(self) -> str:
        return f"{self.protocol} proxy {self.host} port {self.port}"

    def out_of_reach(self, error: ConnectError) -> ConnectError:
        """`error`, which says why there is no connection with it."""
        return ConnectError("\n".join(f"{self}: {line}" for line in str(error).split("\n")))

    def ask(self, peer: str) -> Asking:
        """The dialogue with the proxy, which messages call `peer`."""
        raise NotImplementedError

    def layer(self, options: Options, loop: Loop, peer: Peer) -> Layer:  # noqa: ARG002
        """What opens it, and leads on.  peer: the proxy, as it was reached."""
        request = self.ask(str(peer))
        return Layer(self.protocol, request, lambda end: self._lead_on(end, request), ONE_BYTE)

    def _lead_on(self, endpoint: Endpoint, request: Asking) -> Endpoint:
        """`endpoint`, once the proxy has done what was asked."""
        endpoint.peer = self._onward
        return unread(endpoint, request.surplus)


class Socks4Hop(Hop):
    protocol = "SOCKS4"
    takes_password = False
    takes_names = False
    takes_ipv6 = False

    def ask(self, peer: str) -> Asking:
        from pync.wire.socks4 import Socks4

        return Socks4(peer, self._onward.host, self._onward.port, self._user or "")


class Socks4aHop(Socks4Hop):
    protocol = "SOCKS4a"
    takes_names = True


class Socks5Hop(Hop):
    protocol = "SOCKS5"

    def ask(self, peer: str) -> Socks5:
        from pync.wire.socks5 import Socks5

        place = self._onward.host, self._onward.port
        return Socks5(peer, *place, self._user, self._password)


class DatagramHop(Socks5Hop):
    """A proxy that is to relay datagrams."""

    def ask(self, peer: str) -> Socks5:
        from pync.wire.socks5 import Socks5, wrap

        wrap(self._onward.host, self._onward.port, b"")  # what cannot be sent is said now
        return Socks5(peer, NOWHERE, 0, self._user, self._password, Command.UDP_ASSOCIATE)

    def layer(self, options: Options, loop: Loop, peer: Peer) -> Layer:
        from pync.relayed import relayed

        request = self.ask(str(peer))
        proxy = cast(InetAddress, peer)  # a proxy is at nothing else
        return Layer(
            self.protocol,
            request,
            lambda end: relayed(loop, end, request.bound, proxy, self._onward, options),
        )


class HttpHop(Hop):
    protocol = "HTTP CONNECT"
    default_port = 3128
    _last: Connect | None = None

    def ask(self, peer: str) -> Asking:
        """The dialogue, which begins with what the proxy asked for in the one before."""
        from pync.wire.http.auth import Credentials
        from pync.wire.http.connect import Connect

        place = self._onward.host, self._onward.port
        who = None if self._user is None else Credentials(self._user, self._password)
        challenge = self._last.challenge if self._last else None
        self._last = Connect(peer, *place, who, challenge)
        return self._last


class HttpsHop(HttpHop):
    protocol = "HTTPS CONNECT"
    default_port = 443
    over_tls = True


HOPS: dict[str, type[Hop]] = {
    "http": HttpHop,
    "https": HttpsHop,
    "socks4": Socks4Hop,
    "socks4a": Socks4aHop,
    "socks5": Socks5Hop,
}


class Stop(NamedTuple):
    """One that is passed on the way, with what its text did not say filled in."""

    kind: type[Hop]
    host: str
    port: int
    login: Login | None


def stops(options: Options, environment: Environment) -> list[Stop]:
    """The proxies that `options` name, in order.  Raises UsageError."""
    found = [fill_in(proxy, options) for proxy in named(options, environment)]
    if found:
        check(found, options)
    return with_passwords(found, environment)


def onwards(stops: Sequence[Stop], options: Options) -> list[InetAddress]:
    """Where each is told to connect to: to the next, and the last one to the target.

    Raises UsageError, and ResolveError where a name is to be looked up here, which
    takes its time.
    """
    protocol = "udp" if options.udp else "tcp"
    target = options.host or "", port_number(options.port or "", protocol, options.nodns)
    places = [*((stop.host, stop.port) for stop in stops[1:]), target]
    return [onward(stop.kind, *place, options) for stop, place in zip(stops, places, strict=True)]


def find_onwards(
    stops: Sequence[Stop],
    options: Options,
    search: Search,
    clock: Callable[[], float],
    deadline: float,
) -> Script[list[InetAddress]]:
    """As onwards; what may take its time is done beside the loop."""
    kinds = [stop.kind for stop in stops]
    if options.nodns or not looks_up(kinds, options):
        return onwards(stops, options)
    host = options.host or ""
    port_number(options.port or "", "udp" if options.udp else "tcp", options.nodns)  # or a mistake
    lookup = search(functools.partial(onwards, stops, options), f"cannot resolve {host}")
    return (yield from look_up_beside(host, lookup, clock, deadline))


def between(stops: Sequence[Stop], onwards: Sequence[InetAddress]) -> list[Hop]:
    """What is said to each for one connection.  Raises UsageError for what it cannot be told."""
    return [
        stop.kind(stop.host, stop.port, place, stop.login)
        for stop, place in zip(stops, onwards, strict=True)
    ]


def named(options: Options, environment: Environment) -> tuple[Proxy, ...]:
    if options.proxy == (FROM_ENVIRONMENT,):
        return proxy_of_environment(options.host or "", environment)
    if FROM_ENVIRONMENT in options.proxy:
        raise UsageError("--proxy env stands for all proxies, and goes with no other")
    return options.via or options.proxy


def fill_in(proxy: Proxy, options: Options) -> Stop:
    name = proxy.kind or options.proxy_type or ("socks5" if options.via else "http")
    kind = DatagramHop if options.udp and name == "socks5" else HOPS[name]
    login = proxy.login or options.login
    return Stop(kind, proxy.host, proxy.port or kind.default_port, login)


def check(stops: list[Stop], options: Options) -> None:
    kinds = [stop.kind for stop in stops]
    if options.udp and kinds != [DatagramHop]:
        raise UsageError("--udp: datagrams pass only through one SOCKS5 proxy")
    if options.fd_pass and options.udp:
        raise UsageError("--fd-pass cannot pass on what a proxy needs to relay datagrams")
    if options.fd_pass and HttpsHop in kinds:
        raise UsageError("--fd-pass cannot pass on the TLS in which an https proxy is spoken to")


def with_passwords(stops: list[Stop], environment: Environment) -> list[Stop]:
    """Those with a user and no password get the one password that is asked for."""
    ask = functools.cache(lambda: password(environment))
    return [
        stop._replace(login=stop.login._replace(password=ask()))
        if stop.kind.takes_password and stop.login and stop.login.password is None
        else stop
        for stop in stops
    ]


def password(environment: Environment) -> str:
    import os

    text = os.fsdecode(environment.secret(VARIABLE, "Password for the proxy: "))
    if not text:
        raise UsageError(f"a proxy's user needs a password, in {VARIABLE}")
    return text


def onward(kind: type[Hop], host: str, port: int, options: Options) -> InetAddress:
    """Where a proxy of that kind is told to connect to."""
    protocol = "udp" if options.udp else "tcp"
    as_it_is = beyond(host, port, protocol)
    where = look_up_where(kind, options)
    if literal(host) or where == "remote":
        return as_it_is
    if where == "none":
        raise UsageError(f"{host!r} is a name, and --proxy-dns none takes none")
    if not kind.takes_ipv6:
        options = options._replace(ipv4=True, ipv6=False)
    try:
        return look_up(host, port, protocol, options)[0]
    except ResolveError:
        if where == "local":
            raise
        return as_it_is


def look_up_where(kind: type[Hop], options: Options) -> str:
    """A value of --proxy-dns that says what is to be done."""
    if options.proxy_dns == "none":
        return "none"
    if not kind.takes_names:
        return "local"
    return "remote" if options.nodns and options.proxy_dns == "both" else options.proxy_dns


def looks_up(kinds: Iterable[type[Hop]], options: Options) -> bool:
    """Whether names that such proxies are asked for are looked up here."""
    return any(look_up_where(kind, options) in ("local", "both") for kind in kinds)


def layers(
    hops: Sequence[Hop], options: Options, context: SSLContext | None, loop: Loop
) -> Iterator[Maker]:
    """What comes between us and the target, nearest to the wire first.

    context: what tls_context gives.
    """
    for hop in hops:
        if hop.over_tls:
            assert context
            yield tls(hop, context, loop)
        yield functools.partial(hop.layer, options, loop)


def tls_context(kinds: Iterable[type[Hop]], environment: Environment) -> SSLContext | None:
    """For those that want TLS themselves; what options say of it is meant for the target."""
    if not any(kind.over_tls for kind in kinds):
        return None
    from pync.wire.tls import contexts

    context = contexts.for_client()
    contexts.trust_authorities(context, None)
    if keys := environment.variables.get("SSLKEYLOGFILE"):
        contexts.log_keys(context, keys)
    return context


def tls(hop: Hop, context: SSLContext, loop: Loop) -> Maker:
    """TLS with the proxy itself."""
    from pync.wire.tls.engine import Tls

    name = hop.host.partition("%")[0].removesuffix(".")
    trust = "SSL_CERT_FILE can name its authority"
    return lambda peer: stage("TLS handshake", loop, Tls(context, peer.target, name, trust=trust))


def reaching(hop: Hop | Stop, options: Options) -> Options:
    """Those with which one connects to the proxy."""
    return options._replace(host=hop.host, port=f"{hop.port}", udp=False)
