"""Datagram listeners: for the first peer that sends, and for many on one socket."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from pync.options import Options
from pync.stream import (
    NEVER,
    NEVER_YET,
    READ,
    ROOM,
    Condition,
    EndOfStream,
    Endpoint,
    LocalPlace,
    Peer,
    Sink,
    Source,
    WouldBlock,
)
from pync.transports.datagrams import (
    AddressedSink,
    DatagramEndpoint,
    DatagramSink,
    DatagramSource,
    Unanswerable,
    receive,
)
from pync.transports.sockets import Address, BoundListener, reason

NO_ADDRESS = "cannot answer: the sender has no address of its own"


class DatagramListener(BoundListener):
    """What the two listeners share.  name: a peer's words from its address."""

    def __init__(
        self,
        sock: socket.socket,
        places: tuple[str, ...],
        name: Callable[[Address], Peer],
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(sock, places, clean_up)
        self._name = name


class FirstPeerSource(DatagramSource):
    """Datagrams from the first peer that sent one; those of others are passed over.

    connected: the kernel keeps others out from now on, so that only what waited
    already has to be looked at.
    """

    def __init__(
        self, sock: socket.socket, peer: Peer, address: Address, *, connected: bool
    ) -> None:
        super().__init__(sock, peer, forgiving=True)
        self._address = address
        self._connected = connected
        self._mixed = True  # others' may be among what waits

    def read_into(self, buffer: memoryview) -> int:
        while self._mixed:
            try:
                count, sender = receive(self._sock, buffer)
            except WouldBlock:
                self._mixed = not self._connected
                raise
            if sender == self._address:
                return count
        return super().read_into(buffer)


class FirstPeerListener(DatagramListener):
    """Gives one endpoint, for the first peer that sends, and the socket with it.

    The socket is connected to that peer, so the kernel keeps others out; those
    whose datagrams were waiting already are told apart by their address.
    """

    _given = False

    def accept(self) -> Endpoint:
        for _ in range(self.TURNED_AWAY):
            _, address = receive(self._sock, flags=socket.MSG_PEEK)
            peer = self._name(address)
            if self.admits(peer):
                return self._give(address, peer)
            receive(self._sock)
        raise WouldBlock(self._sock.fileno(), READ)

    def _give(self, address: Address, peer: Peer) -> Endpoint:
        self._given = True
        why_not = self._connect(address, peer)
        source = FirstPeerSource(self._sock, peer, address, connected=not why_not)
        answers = DatagramSink(self._sock, peer, forgiving=True)
        sink = Unanswerable(why_not) if why_not else answers
        return DatagramEndpoint(self._sock, source, sink, peer, self._clean_up)

    def _connect(self, address: Address, peer: Peer) -> str:
        """Connect the socket to its one peer; the reason if that cannot be."""
        if not address:
            return NO_ADDRESS
        try:
            self._sock.connect(address)
        except OSError as error:
            return f"cannot answer {peer}: {reason(error)}"
        return ""

    def close(self) -> None:
        if not self._given:
            super().close()


class Inbox(Source):
    """What one peer of a shared socket has sent.

    expired: what else it sends is a newcomer's.  late_at: from when the others wait for it
    no more, once it has been full and until all has been taken.  told: of the dropping.
    """

    MOST = 64  # datagrams
    PATIENCE = 0.5  # seconds in which nothing is taken, or not all once it is full

    framed = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self.changed = Condition()
        self.expired = False
        self.late_at = NEVER_YET
        self.told = False
        self._clock = clock
        self._datagrams: deque[bytes] = deque()
        self._taken_at = clock()  # or when there was nothing to take

    @property
    def backlog(self) -> int:
        return sum(map(len, self._datagrams))

    @property
    def full(self) -> bool:
        return not self.expired and len(self._datagrams) >= self.MOST

    def read(self, limit: int) -> bytes:  # noqa: ARG002
        if self._datagrams:
            return self._take()
        if self.expired:
            raise EndOfStream
        raise WouldBlock(condition=self.changed)

    def _take(self) -> bytes:
        if self.full:
            self.changed.notify()
        self._taken_at = self._clock()
        datagram = self._datagrams.popleft()
        if not self._datagrams:
            self._catch_up()
        return datagram

    def put(self, datagram: bytes) -> bool:
        """Whether there was room for it."""
        if self.full:
            return False
        if not self._datagrams:
            self._taken_at = self._clock()
        self._datagrams.append(datagram)
        if self.full and self.late_at == NEVER_YET:
            self.late_at = self._taken_at + self.PATIENCE
        self.changed.notify()
        return True

    def expire(self) -> None:
        """Nothing more will come."""
        self.expired = True
        self._catch_up()

    def stop(self) -> None:
        self.expire()

    def clear(self) -> None:
        """Nobody reads any more."""
        self._datagrams.clear()
        self._catch_up()

    def _catch_up(self) -> None:
        """The listener need not wait for it."""
        self.late_at = NEVER_YET
        self.changed.notify()


class SharedEndpoint(Endpoint):
    """One of many peers on one socket."""

    has_end = False

    def __init__(
        self,
        sock: socket.socket,
        source: Source,
        sink: Sink,
        peer: Peer,
        left: Callable[[], None],
    ) -> None:
        super().__init__(source, sink, peer)
        self._sock = sock
        self._left = left

    @property
    def local(self) -> LocalPlace | None:
        return self.peer.near_side(self._sock.getsockname())

    def close(self) -> None:
        self._left()


class ManyPeersListener(DatagramListener):
    """Gives an endpoint for each peer that sends, all on the one socket.

    Nobody says goodbye here, so the table of peers is bounded: a new one pushes out the
    one that has been silent longest.  most: that bound; NEVER if somebody else sees to it.

    An inbox that is full stops the reading, and then the kernel drops, as datagrams may be.
    So nothing is lost to somebody who has to make a pause.  Where each peer's datagrams
    are taken by somebody else (`drops`), all wait for a while only: then those of the peer
    whose inbox it is are dropped, until it has caught up.
    """

    PEERS = 1000
    BATCH = 64  # datagrams handed out before others get their turn
    shared = True

    def __init__(
        self,
        sock: socket.socket,
        places: tuple[str, ...],
        name: Callable[[Address], Peer],
        clean_up: Callable[[], None] = lambda: None,
        *,
        most: float = PEERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(sock, places, name, clean_up)
        self._most = most
        self._clock = clock
        self._inboxes: dict[Address, Inbox] = {}  # the longest silent first
        self._latest: Inbox | None = None

    def accept(self) -> Endpoint:
        for _ in range(self.BATCH):
            self._wait_for_latest()
            count, address = receive(self._sock)
            datagram = bytes(ROOM[:count])
            inbox = self._inboxes.pop(address, None)
            if inbox is None or inbox.expired:
                peer = self._name(address)
                if not self.admits(peer):
                    continue
                return self._newcomer(datagram, address, peer)
            self._inboxes[address] = self._latest = inbox
            if not inbox.put(datagram):
                self._tell_of_drop(inbox, address)
        raise WouldBlock(after=0)

    def _wait_for_latest(self) -> None:
        """Raise WouldBlock as long as its inbox is a reason not to read."""
        inbox = self._latest
        if inbox and self.drops is None and inbox.full:
            raise WouldBlock(condition=inbox.changed)
        if inbox and self.drops and (left := inbox.late_at - self._clock()) > 0:
            raise WouldBlock(after=left, condition=inbox.changed)

    def _tell_of_drop(self, inbox: Inbox, address: Address) -> None:
        if self.drops and not inbox.told:
            inbox.told = True
            self.drops(self._name(address))

    def _newcomer(self, datagram: bytes, address: Address, peer: Peer) -> Endpoint:
        if len(self._inboxes) >= self._most:
            self._inboxes.pop(next(iter(self._inboxes))).expire()
        inbox = self._inboxes[address] = Inbox(self._clock)
        inbox.put(datagram)
        sink = AddressedSink(self._sock, peer, address) if address else Unanswerable(NO_ADDRESS)
        left = partial(self._forget, address, inbox)
        return SharedEndpoint(self._sock, inbox, sink, peer, left)

    def _forget(self, address: Address, inbox: Inbox) -> None:
        if self._inboxes.get(address) is inbox:
            del self._inboxes[address]
        inbox.clear()


def kind_of_listener(options: Options) -> Callable[..., DatagramListener]:
    if not options.keep_open:
        return FirstPeerListener
    if options.most_clients < NEVER:
        return partial(ManyPeersListener, most=NEVER)
    return ManyPeersListener
