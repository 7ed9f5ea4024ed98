"""What all datagram sockets share.

One read is one datagram, whole; an empty one is a datagram like any other; and
no datagram says that the peer has ended.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from pync.errors import ConnectionLost, LocalError
from pync.stream import (
    READ,
    ROOM,
    WRITE,
    Endpoint,
    LocalPlace,
    Peer,
    Sink,
    Source,
    WouldBlock,
)
from pync.transports.sockets import Address, lost, reason

LARGEST = 65507  # bytes in a UDP datagram over IPv4
NO_BUFFER_PAUSE = 0.005  # seconds; nothing tells when the kernel has buffers again

# recv(2): it gives the length that the datagram had, not what there was room for.
TRUE_LENGTH = getattr(socket, "MSG_TRUNC", 0) if hasattr(socket, "AF_PACKET") else 0

# What a peer's machine sent back for an earlier datagram.
REFUSALS = {errno.ECONNREFUSED, errno.ECONNRESET}
NO_BUFFER = {errno.ENOBUFS, errno.ENOMEM}


class DatagramSource(Source):
    """Datagrams on a connected socket.

    forgiving: what the peer's machine sent back for an earlier one does not end a listener.
    """

    framed = True

    def __init__(self, sock: socket.socket, peer: Peer, *, forgiving: bool = False) -> None:
        self._sock = sock
        self._peer = peer
        self._forgiving = forgiving

    def read_into(self, buffer: memoryview) -> int:
        while True:
            try:
                return whole(self._sock.recv_into(buffer, 0, TRUE_LENGTH), buffer)
            except BlockingIOError:
                raise WouldBlock(self._sock.fileno(), READ) from None
            except OSError as error:
                if not (self._forgiving and error.errno in REFUSALS):
                    raise lost(self._peer, error) from None


class DatagramSink(Sink):
    """Datagrams to the peer of a connected socket, one for each write.

    forgiving: what the peer's machine refused is lost, as datagrams may be, and
    does not end a listener.
    """

    framed = True
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
    """Stands for a peer that can only be heard.  why: what a write raises, as ConnectionLost."""

    def __init__(self, why: str) -> None:
        self._why = why

    def write(self, data: bytes | memoryview) -> int:  # noqa: ARG002
        raise ConnectionLost(self._why)


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

    @property
    def local(self) -> LocalPlace | None:
        return self.peer.near_side(self._sock.getsockname())

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


def whole(count: int, buffer: memoryview) -> int:
    """The datagram's `count` bytes.  Raises LocalError if `buffer` had no room for all."""
    if count > len(buffer):
        raise LocalError(f"cannot receive: a datagram of {count} bytes is too long")
    return count


def receive(sock: socket.socket, buffer: memoryview = ROOM, flags: int = 0) -> tuple[int, Address]:
    """The size of a datagram, which is now in `buffer`, and who sent it.

    What a peer's machine refused does not end a listener.
    """
    while True:
        try:
            count, sender = sock.recvfrom_into(buffer, 0, flags | TRUE_LENGTH)
            return whole(count, buffer), sender
        except BlockingIOError:
            raise WouldBlock(sock.fileno(), READ) from None
        except OSError as error:
            if error.errno not in REFUSALS:
                raise LocalError(f"cannot receive: {reason(error)}") from None
