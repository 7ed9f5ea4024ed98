"""The proxy's side of a relay of datagrams (RFC 1928 section 7).

    client  <-- datagrams, each with a header -->  inside | outside  <-->  targets
       |                                              |
       +------------------ control -------------------+

There is a relay for each client.  It lasts as long as the connection on which it was
asked for, and takes datagrams from the host alone from which that comes; which port
they come from is known when the first one has come.  Back go only those of the
targets that the client has sent to.

All that it keeps is bounded: the targets that may answer, the names that have been
looked up, what waits for a look-up.  What cannot be passed on is dropped, since
datagrams may be lost; nobody is told.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from pync.errors import LocalError, PyncError
from pync.gateway.parcels import Carrier, Parcel, Recent, Resolving, Take
from pync.loop import Loop, Task
from pync.options import Options
from pync.relayed import PIECE, plain_address
from pync.stream import EndOfStream, Endpoint
from pync.transports.inet import InetAddress, Lookup, look_up
from pync.transports.udp import Unconnected
from pync.wire.socks5 import Datagram, Place, unwrap, wrap

ANYWHERE = ("0.0.0.0", "::")
NUMERIC = Options(nodns=True)

MOST_TARGETS = 1024  # that may answer
MOST_NAMES = 32
MOST_LOOKUPS = 8  # at a time, since others want to look up names too


class Policy(NamedTuple):
    """look_up: begins to look up a host and a port.  allowed: whether a target may be sent to."""

    look_up: Callable[[str, int], Lookup]
    allowed: Callable[[InetAddress], bool]


class DatagramRelay:
    """A task: one client's relay, until `control`, which it owns, has ended.

    options: for its sockets; the host is our side of `control`.  client: its host, and
    its port or 0.  ended: called when it is over, by itself or by close.
    bound: where the client's datagrams are taken.
    Raises LocalError if the sockets cannot be had, and leaves `control` alone then.
    """

    def __init__(
        self,
        loop: Loop,
        control: Endpoint,
        options: Options,
        client: Place,
        policy: Policy,
        ended: Callable[[], None],
    ) -> None:
        self.over = False
        self._loop = loop
        self._control = control
        self._client_place = client
        self._client: InetAddress | None = None
        self._policy = policy
        self._ended = ended
        self._inside, *outside = open_sockets(options)
        self._outside = {taker.place.family: taker for taker in outside}
        self.bound = Place(self._inside.place.host, self._inside.place.port)
        self._targets: Recent[Place, bool] = Recent(MOST_TARGETS)
        self._names: Recent[Place, Resolving] = Recent(MOST_NAMES)
        takers: list[Take] = [self._from_client]
        takers += [partial(self._from_target, taker) for taker in outside]
        self._carriers = [Carrier(taker, self.close) for taker in takers]
        for carrier in self._carriers:
            loop.spawn(carrier)

    def advance(self) -> bool:
        try:
            self._control.source.read(PIECE)
        except (EndOfStream, PyncError):
            self.close()
            return False
        return True

    def close(self) -> None:
        """Let go of it, for both sides.  May be repeated."""
        if self.over:
            return
        self.over = True
        tasks: list[Task] = [self, *self._carriers]
        for task in tasks:
            self._loop.cancel(task)
        for resolving in self._names.values():
            self._forget(resolving)
        owned: list[Unconnected | Endpoint] = [self._inside, *self._outside.values(), self._control]
        for part in owned:
            for fd in part.descriptors:
                self._loop.forget(fd)
            part.close()
        self._ended()

    # From the client.

    def _from_client(self) -> Parcel | None:
        data, sender = self._inside.receive()
        if not self._is_client(sender):
            return None
        try:
            datagram = unwrap(data)
        except PyncError:
            return None
        address = plain_address(datagram.host)
        if address is None:
            return self._to_name(datagram)
        (target,) = look_up(str(address), datagram.port, "udp", NUMERIC)
        return self._to_one_of([target], datagram.data)

    def _is_client(self, sender: InetAddress) -> bool:
        """The first to come from its host is the client."""
        if self._client is None:
            host, port = self._client_place
            if sender.host == host and port in (0, sender.port):
                self._client = sender
        return sender == self._client

    def _to_name(self, datagram: Datagram) -> Parcel | None:
        name = Place(datagram.host, datagram.port)
        resolving = self._names.get(name)
        if resolving is None:
            if sum(not other.over for other in self._names.values()) >= MOST_LOOKUPS:
                return None
            resolving = self._resolve(name)
        return resolving.post(datagram.data)

    def _resolve(self, name: Place) -> Resolving:
        resolving = Resolving(self._policy.look_up(*name), self._to_one_of)
        self._loop.spawn(resolving)
        if forgotten := self._names.put(name, resolving):
            self._forget(forgotten)
        return resolving

    def _forget(self, resolving: Resolving) -> None:
        self._loop.cancel(resolving)
        resolving.abandon()

    def _to_one_of(self, addresses: list[InetAddress], data: bytes) -> Parcel | None:
        """The parcel for the first address that can be had and is allowed."""
        for address in addresses:
            by = self._outside.get(address.family)
            if by and self._policy.allowed(address):
                self._targets.put(Place(address.host, address.port), True)
                return Parcel(by, data, address)
        return None

    # From targets.

    def _from_target(self, outside: Unconnected) -> Parcel | None:
        data, sender = outside.receive()
        origin = Place(sender.host, sender.port)
        if self._client is None or not self._targets.get(origin):
            return None
        return Parcel(self._inside, wrap(*origin, data), self._client)


def announced(peer: InetAddress, host: str, port: int) -> Place:
    """What is known of the place from which a client's datagrams will come.

    peer: its side of the control connection.  Of another host it may say nothing.
    """
    said = plain_address(host)
    own = said is not None and (said.is_unspecified or said == plain_address(peer.host))
    return Place(peer.host, port if own else 0)


def open_sockets(options: Options) -> list[Unconnected]:
    """One for the client, then one for targets of each family that there is here."""
    inside = Unconnected(options._replace(port="0"))
    outside = []
    for host in ANYWHERE:
        with suppress(LocalError):
            outside.append(Unconnected(options._replace(host=host, port="0")))
    if not outside:
        inside.close()
        raise LocalError("cannot relay datagrams: no socket for any target can be had")
    return [inside, *outside]
