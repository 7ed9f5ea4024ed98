"""What all stream sockets share: reading, writing, ending, connecting, accepting."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from pync.errors import ConnectError, ConnectionLost, LocalError, OutOfDescriptors, PyncError
from pync.stream import (
    READ,
    WRITE,
    Attempt,
    EndOfStream,
    Endpoint,
    Listener,
    LocalPlace,
    Peer,
    Sink,
    Source,
    WouldBlock,
)

try:
    import fcntl
    import termios
except ImportError:  # Windows has neither, and no way to ask what is unacknowledged
    TIOCOUTQ = None
else:
    TIOCOUTQ = getattr(termios, "TIOCOUTQ", None)

BACKLOG = 4096  # connections waiting to be accepted; the kernel lowers it to its own limit
# struct linger: on, 0 seconds.  Windows has short members.
RESET_ON_CLOSE = struct.pack("ii" if os.name == "posix" else "hh", 1, 0)

# sockaddr: (host, port), (host, port, flow, scope), a path, or an abstract name.
Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | str | bytes

FULL_QUEUE_PAUSE = 0.02  # seconds; nothing tells when a unix listener's queue has room
NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# accept(2): errors of the connection that was waiting, not of the listener.
GONE_BEFORE_ACCEPT = {
    errno.ECONNABORTED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN,
    errno.ENETUNREACH, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EPERM, errno.EPROTO,
    errno.ETIMEDOUT,
}  # fmt: skip


def reason(error: OSError) -> str:
    """The system's words for `error`, the same for each Python."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


@contextmanager
def closed_on_error(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise


def lost(peer: Peer, error: OSError) -> ConnectionLost:
    """What it means that a connection fails.

    "Not connected" is what is left of a reset once somebody else has been told of it.
    """
    reset = error.errno == errno.ENOTCONN
    why = os.strerror(errno.ECONNRESET) if reset else reason(error)
    number = errno.ECONNRESET if reset else error.errno
    return ConnectionLost(f"connection with {peer} lost: {why}", number)


def connect_error(peer: Peer, error: OSError) -> ConnectError:
    message = f"connect to {peer.target} failed: {reason(error)}"
    return ConnectError(message, error.errno)


class SocketSource(Source):
    """The receiving half of a stream socket."""

    def __init__(self, sock: socket.socket, peer: Peer) -> None:
        self.raw_fd = sock.fileno()
        self._sock = sock
        self._peer = peer
        self._ended = False
        self._dry = False  # a short read has said that there is no more for now

    def read_into(self, buffer: memoryview) -> int:
        if self._ended:
            raise EndOfStream
        if self._dry:
            self._dry = False
            raise WouldBlock(self.raw_fd, READ)
        try:
            count = self._sock.recv_into(buffer)
        except BlockingIOError:
            raise WouldBlock(self.raw_fd, READ) from None
        except OSError as error:
            raise self.failure(error) from None
        if not count:
            self._ended = True
            raise EndOfStream
        self._dry = count < len(buffer)
        return count

    def failure(self, error: OSError) -> PyncError:
        return lost(self._peer, error)


class SocketSink(Sink):
    """The sending half of a stream socket."""

    def __init__(self, sock: socket.socket, peer: Peer) -> None:
        self.raw_fd = sock.fileno()
        self._sock = sock
        self._peer = peer
        self._ended = False

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            raise WouldBlock(self.raw_fd, WRITE) from None
        except OSError as error:
            raise self.failure(error) from None

    def failure(self, error: OSError) -> PyncError:
        return lost(self._peer, error)

    def knock(self) -> None:
        if not self._ended:
            self.write(b"")  # sends nothing, and fails where a byte would

    def end(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise self.failure(error) from None


class TcpSink(SocketSink):
    """One that knows what has been acknowledged (tcp(7): SIOCOUTQ, which is TIOCOUTQ)."""

    def unacknowledged(self) -> int:
        if TIOCOUTQ is None or self._sock.fileno() < 0:
            return 0
        queued = bytearray(4)
        fcntl.ioctl(self._sock, TIOCOUTQ, queued)
        return max(0, int.from_bytes(queued, "little") - self._ended)  # a FIN counts as one

    def check(self) -> None:
        if broken := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise lost(self._peer, OSError(broken, os.strerror(broken)))


class SocketEndpoint(Endpoint):
    """A connected stream socket, which it owns.

    sink: the class of its sending half.  clean_up: called once it is closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        peer: Peer,
        sink: Callable[[socket.socket, Peer], Sink],
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        sock.setblocking(False)
        super().__init__(SocketSource(sock, peer), sink(sock, peer), peer)
        self.descriptors = (sock.fileno(),)
        self._sock = sock
        self._clean_up = clean_up

    @property
    def local(self) -> LocalPlace | None:
        return self.peer.near_side(self._sock.getsockname())

    def close(self) -> None:
        self._sock.close()
        self._clean_up()

    def abort(self) -> None:
        if self._sock.fileno() >= 0 and self._sock.family != getattr(socket, "AF_UNIX", None):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.close()


class SocketAttempt(Attempt):
    """A connect() of `sock` to `address`, which becomes `endpoint(sock)`."""

    def __init__(
        self,
        sock: socket.socket,
        address: Address,
        peer: Peer,
        endpoint: Callable[[socket.socket], Endpoint],
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(peer)
        sock.setblocking(False)
        self.descriptors = (sock.fileno(),)
        self._sock = sock
        self._address = address
        self._endpoint = endpoint
        self._clean_up = clean_up
        self._begun = False

    def finish(self) -> Endpoint:
        try:
            self._complete() if self._begun else self._begin()
            return self._endpoint(self._sock)
        except OSError as error:
            raise connect_error(self.peer, error) from None

    def _begin(self) -> None:
        try:
            self._sock.connect(self._address)
        except BlockingIOError as error:
            if error.errno == errno.EAGAIN:  # a unix listener's queue is full: not even begun
                raise WouldBlock(after=FULL_QUEUE_PAUSE) from None
            self._begun = True
            raise WouldBlock(self._sock.fileno(), WRITE) from None

    def _complete(self) -> None:
        """Ask by a look at the input.

        SO_ERROR would take away a reset that has come since, and the peer's last
        words with it.
        """
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            try:
                self._sock.getpeername()
            except OSError:
                raise WouldBlock(self._sock.fileno(), WRITE) from None

    def abandon(self) -> None:
        self._sock.close()
        self._clean_up()


class BoundListener(Listener):
    """A listener on a socket, which it owns.  clean_up: called once that is closed."""

    def __init__(
        self,
        sock: socket.socket,
        places: tuple[str, ...],
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        sock.setblocking(False)
        self.places = places
        self.descriptors = (sock.fileno(),)
        self.admits = lambda _: True
        self._sock = sock
        self._clean_up = clean_up

    def close(self) -> None:
        self._sock.close()
        self._clean_up()


class SocketListener(BoundListener):
    """A listening stream socket; `endpoint(sock, address)` makes what it gives."""

    def __init__(
        self,
        sock: socket.socket,
        places: tuple[str, ...],
        endpoint: Callable[[socket.socket, Address], Endpoint],
        clean_up: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(sock, places, clean_up)
        self._endpoint = endpoint

    def accept(self) -> Endpoint:
        for _ in range(self.TURNED_AWAY):
            endpoint = self._next()
            if self.admits(endpoint.peer):
                return endpoint
            endpoint.abort()
        raise WouldBlock(self._sock.fileno(), READ)

    def _next(self) -> Endpoint:
        while True:
            try:
                connection, address = self._sock.accept()
            except BlockingIOError:
                raise WouldBlock(self._sock.fileno(), READ) from None
            except OSError as error:
                if error.errno in NO_DESCRIPTOR:
                    raise OutOfDescriptors(f"cannot accept: {reason(error)}") from None
                if error.errno not in GONE_BEFORE_ACCEPT:
                    raise LocalError(f"cannot accept: {reason(error)}") from None
            else:
                with suppress(OSError):  # it may have gone already
                    return self._endpoint(connection, address)
                connection.close()
