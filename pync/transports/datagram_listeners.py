"""Datagram listeners: for the first peer that sends, and for many on one socket."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from functools import partial

from pync.options import Options
from pync.stream import (
    NEVER,
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
    """What one peer of a shared socket has sent."""

    framed = True

    def __init__(self, changed: Condition) -> None:
        self.datagrams: deque[bytes] = deque()
        self.changed = changed
        self.expired = False

    @property
    def backlog(self) -> int:
        return sum(map(len, self.datagrams))

    def read(self, limit: int) -> bytes:  # noqa: ARG002
        if self.datagrams:
            self.changed.notify()
            return self.datagrams.popleft()
        if self.expired:
            raise EndOfStream
        raise WouldBlock(condition=self.changed)

    def put(self, datagram: bytes) -> None:
        self.datagrams.append(datagram)
        self.changed.notify()

    def expire(self) -> None:
        """Nothing more will come."""
        self.expired = True
        self.changed.notify()

    def clear(self) -> None:
        """Nobody reads any more: the listener need not wait for room."""
        self.datagrams.clear()
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
    one that has been silent longest, if no other bound was asked for.  A peer whose
    session takes nothing stops the reading once its inbox is full; then the kernel drops,
    as UDP may.
    """

    PEERS = 1000
    INBOX = 64  # datagrams
    BATCH = 64  # datagrams handed out before others get their turn
    shared = True

    def __init__(
        self,
        sock: socket.socket,
        places: tuple[str, ...],
        name: Callable[[Address], Peer],
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(sock, places, name, clean_up)
        self._inboxes: dict[Address, Inbox] = {}  # the longest silent first
        self._latest: Inbox | None = None

    def accept(self) -> Endpoint:
        for _ in range(self.BATCH):
            if self._latest and len(self._latest.datagrams) >= self.INBOX:
                raise WouldBlock(condition=self._latest.changed)
            count, address = receive(self._sock)
            datagram = bytes(ROOM[:count])
            inbox = self._inboxes.pop(address, None)
            if inbox is None:
                peer = self._name(address)
                if not self.admits(peer):
                    continue
                return self._newcomer(datagram, address, peer)
            self._inboxes[address] = self._latest = inbox
            inbox.put(datagram)
        raise WouldBlock(after=0)

    def _newcomer(self, datagram: bytes, address: Address, peer: Peer) -> Endpoint:
        if self.wanted == NEVER and len(self._inboxes) >= self.PEERS:
            self._inboxes.pop(next(iter(self._inboxes))).expire()
        inbox = self._inboxes[address] = Inbox(Condition())
        inbox.put(datagram)
        sink = AddressedSink(self._sock, peer, address) if address else Unanswerable(NO_ADDRESS)
        left = partial(self._forget, address, inbox)
        return SharedEndpoint(self._sock, inbox, sink, peer, left)

    def _forget(self, address: Address, inbox: Inbox) -> None:
        if self._inboxes.get(address) is inbox:
            del self._inboxes[address]
        inbox.clear()


def kind_of_listener(options: Options) -> type[DatagramListener]:
    return ManyPeersListener if options.keep_open else FirstPeerListener
