"""What all datagram sockets share.

One read is one datagram, whole; an empty one is a datagram like any other; and
no datagram says that the peer has ended.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable

from pync.errors import ConnectionLost, LocalError
from pync.stream import (
    READ,
    WRITE,
    Condition,
    EndOfStream,
    Endpoint,
    Listener,
    Peer,
    Sink,
    Source,
    WouldBlock,
)
from pync.transports.sockets import Address, lost, reason

LARGEST = 65507  # bytes in a UDP datagram over IPv4
ROOM = memoryview(bytearray(65536))  # for any datagram; nothing stays in it between two calls
NO_BUFFER_PAUSE = 0.005  # seconds; nothing tells when the kernel has buffers again

# What a peer's machine sent back for an earlier datagram.
REFUSALS = {errno.ECONNREFUSED, errno.ECONNRESET}
NO_BUFFER = {errno.ENOBUFS, errno.ENOMEM}


class DatagramSource(Source):
    """Datagrams on a connected socket."""

    def __init__(self, sock: socket.socket, peer: Peer) -> None:
        self._sock = sock
        self._peer = peer

    def read(self, limit: int) -> bytes:  # noqa: ARG002
        try:
            count = self._sock.recv_into(ROOM)
        except BlockingIOError:
            raise WouldBlock(self._sock.fileno(), READ) from None
        except OSError as error:
            raise lost(self._peer, error) from None
        return bytes(ROOM[:count])


class DatagramSink(Sink):
    """Datagrams to the peer of a connected socket, one for each write.

    forgiving: what the peer's machine refused is lost, as datagrams may be, and
    does not end a listener.
    """

    limit = LARGEST

    def __init__(self, sock: socket.socket, peer: Peer, *, forgiving: bool = False) -> None:
        self._sock = sock
        self._peer = peer
        self._forgiving = forgiving

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._send(data)
        except OSError as error:
            if not (self._forgiving and error.errno in REFUSALS):
                raise self._meaning(error) from None
        try:
            return self._send(data)  # that was about an earlier one, and is told once
        except OSError as error:
            if error.errno in REFUSALS:
                return len(data)
            raise self._meaning(error) from None

    def _send(self, data: bytes | memoryview) -> int:
        return self._sock.send(data)

    def _meaning(self, error: OSError) -> Exception:
        if error.errno in NO_BUFFER:
            return WouldBlock(after=NO_BUFFER_PAUSE)
        if isinstance(error, BlockingIOError):
            return self._full()
        return lost(self._peer, error)

    def _full(self) -> WouldBlock:
        return WouldBlock(self._sock.fileno(), WRITE)


class AddressedSink(DatagramSink):
    """Datagrams to one of many peers on a socket.

    It waits for room by time: the descriptor has one writer's place in the loop,
    and says nothing of the room that one peer has.
    """

    def __init__(self, sock: socket.socket, peer: Peer, address: Address) -> None:
        super().__init__(sock, peer)
        self._address = address

    def _send(self, data: bytes | memoryview) -> int:
        return self._sock.sendto(data, self._address)

    def _full(self) -> WouldBlock:
        return WouldBlock(after=NO_BUFFER_PAUSE)


class Unanswerable(Sink):
    """Stands for a peer that gave no address."""

    def write(self, data: bytes | memoryview) -> int:  # noqa: ARG002
        raise ConnectionLost("cannot answer: the sender has no address of its own")


class DatagramEndpoint(Endpoint):
    """One peer on a datagram socket, which it owns.

    clean_up: called when it is closed.
    """

    has_end = False

    def __init__(
        self,
        sock: socket.socket,
        source: Source,
        sink: Sink,
        peer: Peer,
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(source, sink, peer)
        self.descriptors = (sock.fileno(),)
        self._sock = sock
        self._clean_up = clean_up

    def close(self) -> None:
        self._sock.close()
        self._clean_up()


def connected(
    sock: socket.socket, peer: Peer, clean_up: Callable[[], None] = lambda: None
) -> Endpoint:
    """A connected socket as an endpoint."""
    sock.setblocking(False)
    source, sink = DatagramSource(sock, peer), DatagramSink(sock, peer)
    return DatagramEndpoint(sock, source, sink, peer, clean_up)


class DatagramListener(Listener):
    """What the two listeners below share.

    name: a peer's words from its address.  clean_up: called when the socket is closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        places: tuple[str, ...],
        name: Callable[[Address], Peer],
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        sock.setblocking(False)
        self.places = places
        self.descriptors = (sock.fileno(),)
        self._sock = sock
        self._name = name
        self._clean_up = clean_up

    def close(self) -> None:
        self._sock.close()
        self._clean_up()


def receive(sock: socket.socket, flags: int = 0) -> tuple[bytes, Address]:
    """A datagram and who sent it; what a peer's machine refused does not end a listener."""
    while True:
        try:
            count, sender = sock.recvfrom_into(ROOM, 0, flags)
        except BlockingIOError:
            raise WouldBlock(sock.fileno(), READ) from None
        except OSError as error:
            if error.errno not in REFUSALS:
                raise LocalError(f"cannot receive: {reason(error)}") from None
        else:
            return bytes(ROOM[:count]), sender


class FirstPeerSource(Source):
    """Datagrams from the first peer that sent one; those of others are passed over."""

    def __init__(self, sock: socket.socket, address: Address) -> None:
        self._sock = sock
        self._address = address

    def read(self, limit: int) -> bytes:  # noqa: ARG002
        while True:
            data, sender = receive(self._sock)
            if sender == self._address:
                return data


class FirstPeerListener(DatagramListener):
    """Gives one endpoint, for the first peer that sends, and the socket with it.

    The socket is connected to that peer, so the kernel keeps others out; those
    whose datagrams were waiting already are told apart by their address.
    """

    _given = False

    def accept(self) -> Endpoint:
        _, address = receive(self._sock, socket.MSG_PEEK)
        peer = self._name(address)
        source = FirstPeerSource(self._sock, address)
        sink = self._answer(address, peer)
        self._given = True
        return DatagramEndpoint(self._sock, source, sink, peer, self._clean_up)

    def _answer(self, address: Address, peer: Peer) -> Sink:
        if not address:
            return Unanswerable()
        try:
            self._sock.connect(address)
        except OSError as error:
            raise ConnectionLost(f"cannot answer {peer}: {reason(error)}") from None
        return DatagramSink(self._sock, peer, forgiving=True)

    def close(self) -> None:
        if not self._given:
            super().close()


class Inbox(Source):
    """What one peer of a shared socket has sent."""

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
        self, source: Source, sink: Sink, peer: Peer, left: Callable[[], None]
    ) -> None:
        super().__init__(source, sink, peer)
        self._left = left

    def close(self) -> None:
        self._left()


class ManyPeersListener(DatagramListener):
    """Gives an endpoint for each peer that sends, all on the one socket.

    Nobody says goodbye here, so the table of peers is bounded: a new one pushes
    out the one that has been silent longest.  A peer whose session takes nothing
    stops the reading once its inbox is full; then the kernel drops, as UDP may.
    """

    PEERS = 1000
    INBOX = 64  # datagrams
    BATCH = 64  # datagrams handed out before others get their turn

    def __init__(
        self,
        sock: socket.socket,
        places: tuple[str, ...],
        name: Callable[[Address], Peer],
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(sock, places, name, clean_up)
        self._inboxes: dict[Address, Inbox] = {}  # the longest silent first
        self._full: Inbox | None = None

    def accept(self) -> Endpoint:
        for _ in range(self.BATCH):
            if self._full and len(self._full.datagrams) >= self.INBOX:
                raise WouldBlock(condition=self._full.changed)
            datagram, address = receive(self._sock)
            inbox = self._inboxes.pop(address, None)
            if inbox is None:
                return self._newcomer(datagram, address)
            self._inboxes[address] = self._full = inbox
            inbox.put(datagram)
        raise WouldBlock(after=0)

    def _newcomer(self, datagram: bytes, address: Address) -> Endpoint:
        if len(self._inboxes) >= self.PEERS:
            self._inboxes.pop(next(iter(self._inboxes))).expire()
        inbox = self._inboxes[address] = Inbox(Condition())
        inbox.put(datagram)
        peer = self._name(address)
        sink = AddressedSink(self._sock, peer, address) if address else Unanswerable()
        return SharedEndpoint(inbox, sink, peer, lambda: self._forget(address, inbox))

    def _forget(self, address: Address, inbox: Inbox) -> None:
        if self._inboxes.get(address) is inbox:
            del self._inboxes[address]
        inbox.clear()
