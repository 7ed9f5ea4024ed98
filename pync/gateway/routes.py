"""From what a client wants to the way there, as far as options allow it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from pync.access import TargetRules
from pync.connecting import Connecting
from pync.errors import Forbidden, LocalError
from pync.gateway.datagram_relay import DatagramRelay, Policy, announced
from pync.gateway.reaching import Associating, NoWay, Reaching, Way
from pync.gateway.reception import Wish
from pync.loop import Loop
from pync.options import Options
from pync.stream import Endpoint
from pync.transports.inet import InetAddress, Lookup
from pync.transports.resolver import Resolver, owner


class Routes:
    """rules: where clients may go.  limit: seconds until a target is given up."""

    def __init__(
        self,
        loop: Loop,
        options: Options,
        rules: TargetRules,
        limit: float,
        say: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._options = options
        self._rules = rules
        self._limit = limit
        self._say = say
        self._resolver = Resolver(loop)

    def find(self, wish: Wish, client: Endpoint) -> Way:
        """To what `client` wants; a task that is not spawned yet."""
        if wish.datagrams:
            self._tell(client, "wants datagrams relayed")
            return Associating(self._loop, partial(self._relay, wish, client))
        self._tell(client, f"wants {wish.host} port {wish.port}")
        lookup = self._look_up(client, "tcp", wish.host, wish.port)
        deadline = self._loop.clock() + self._limit
        connect = partial(self._connect, wish, client)
        return Reaching(self._loop, wish.host, lookup, connect, deadline)

    def _look_up(self, client: Endpoint, protocol: str, host: str, port: int) -> Lookup:
        if not self._rules.may_ask_for(host, port):
            return NoWay(forbidden(host, port))
        return self._resolver.look_up(host, port, protocol, self._options, owner(client.peer))

    def _connect(self, wish: Wish, client: Endpoint, found: list[InetAddress]) -> Connecting:
        addresses = [address for address in found if self._may_reach(address)]
        if not addresses:
            raise forbidden(wish.host, wish.port)
        return Connecting(self._options, self._loop, partial(self._tell, client), addresses)

    def _may_reach(self, address: InetAddress) -> bool:
        return self._rules.may_reach(address.name or address.host, address.port, address.host)

    def _relay(self, wish: Wish, client: Endpoint, ended: Callable[[], None]) -> DatagramRelay:
        if client.local is None:
            raise LocalError("datagrams cannot be relayed where clients do not come over TCP")
        options = self._options._replace(host=client.local.host)
        peer = cast(InetAddress, client.peer)  # of a client with such an address
        place = announced(peer, wish.host, wish.port)
        policy = Policy(partial(self._look_up, client, "udp"), self._may_reach)
        return DatagramRelay(self._loop, client, options, place, policy, ended)

    def _tell(self, client: Endpoint, line: str) -> None:
        self._say(f"client {client.peer}: {line}")

    def close(self) -> None:
        self._resolver.close()


def forbidden(host: str, port: int) -> Forbidden:
    return Forbidden(f"--proxy-allow does not name {host} port {port}")
