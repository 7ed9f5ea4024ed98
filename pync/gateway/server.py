"""From options to a proxy server."""

from __future__ import annotations

import errno
import hmac
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from pync.admission import Admission
from pync.dial import Connecting
from pync.environment import Environment
from pync.errors import Forbidden, NetworkError, ResolveError, UsageError
from pync.gateway.reaching import Reaching
from pync.gateway.reception import Codes, ProxyDialogue, Wish
from pync.gateway.visit import ANSWER_LIMIT, Limits, Service, Visit
from pync.loop import Loop
from pync.opening import PATIENCE
from pync.options import Options
from pync.stream import Endpoint, Listener, Peer
from pync.transports.resolver import Resolver

Check = Callable[[str, str], bool]  # whether that user has that password


class Kind(NamedTuple):
    """What can be served.  codes: see Service."""

    name: str
    dialogue: Callable[[str, Check | None], ProxyDialogue]
    codes: Codes


def socks4(client: str, _check: Check | None) -> ProxyDialogue:
    from pync.wire.socks4 import Socks4Server

    return Socks4Server(client)


def socks5(client: str, check: Check | None) -> ProxyDialogue:
    from pync.wire.socks5 import Socks5Server

    return Socks5Server(client, check)


def http(client: str, check: Check | None) -> ProxyDialogue:
    from pync.wire.http.proxy import HttpProxy

    return HttpProxy(client, check)


# The codes are those of wire.socks4.REFUSALS, of wire.socks5.Reply, and of RFC 9110 section 15.
KINDS: Mapping[str, Kind] = {
    "socks4": Kind("SOCKS4", socks4, Codes({}, 91)),
    "socks4a": Kind("SOCKS4", socks4, Codes({}, 91)),
    "socks5": Kind("SOCKS5", socks5, Codes({
        Forbidden: 2, errno.ENETUNREACH: 3, errno.EHOSTUNREACH: 4, ResolveError: 4,
        errno.ECONNREFUSED: 5, errno.ETIMEDOUT: 6,
    }, 1)),
    "http": Kind("HTTP", http, Codes({Forbidden: 403, errno.ETIMEDOUT: 504}, 502)),
}  # fmt: skip


class ProxyServer:
    """A task: admits the clients of `listener` for ever, and serves each as a proxy."""

    def __init__(
        self, loop: Loop, listener: Listener, options: Options, environment: Environment
    ) -> None:
        """Raises UsageError for what cannot be served."""
        self._loop = loop
        self._options = options
        self._environment = environment
        self._service = service(options, environment)
        self._limits = limits(options)
        self._resolver = Resolver(loop)
        self._admission = Admission(listener, self._admit, environment.complain)
        self._visits: set[Visit] = set()

    def advance(self) -> bool:
        return self._admission.advance()

    def _admit(self, client: Endpoint) -> None:
        self._say(f"Connection received on {client.peer.came_from(numeric=True)}")
        visit = self.visit(client, self._part)
        self._visits.add(visit)
        self._loop.spawn(visit)

    def visit(
        self, client: Endpoint, ended: Callable[[Visit, NetworkError | None], None]
    ) -> Visit:
        return Visit(self._loop, client, self._service, self._reach, self._limits, ended)

    def _part(self, visit: Visit, error: NetworkError | None) -> None:
        self._visits.discard(visit)
        self._admission.left.notify()
        if error:
            self._environment.complain(str(error))

    def _reach(self, wish: Wish) -> Reaching:
        look_up = partial(self._resolver.look_up, wish.host, wish.port, "tcp", self._options)
        deadline = self._loop.clock() + self._limits.open
        return Reaching(self._loop, wish.host, look_up, self._connect, deadline)

    def _connect(self, addresses: list[Peer]) -> Connecting:
        return Connecting(self._options, self._loop, self._say, addresses)

    def _say(self, line: str) -> None:
        if self._options.verbose:
            self._environment.say(line)

    def close(self) -> None:
        """End all visits at once."""
        for visit in self._visits:
            visit.break_off()
        self._resolver.close()


def service(options: Options, environment: Environment) -> Service:
    kind = KINDS[options.proxy_type]
    return Service(kind.name, partial(kind.dialogue, check=check(options, environment)), kind.codes)


def limits(options: Options) -> Limits:
    return Limits(
        open=options.connect_limit or PATIENCE,
        answer=options.idle_timeout or options.timeout or ANSWER_LIMIT,
        idle=options.timeout,
        idle_failure=options.idle_timeout,
    )


def same(given: str, wanted: str) -> bool:
    """Compared in the same time, whatever they have in common."""
    return hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), wanted.encode("utf-8", "surrogateescape")
    )
