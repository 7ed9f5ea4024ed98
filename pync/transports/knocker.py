"""TCP's attempts to connect, for those who make very many.

Theory.  A connect() of a non-blocking socket that is repeated says how the first one
went: that it goes on, that it succeeded, or what it failed with.  Linux then lets go of
the connection, whatever is left of it, so that the socket can begin another.  A port
that refuses thus costs two calls, and a socket serves for thousands of them; a new one
for each, registered, asked and closed, takes twice the time.

A system that picks our port may pick the very one that we connect to.  On one machine
such a socket is connected with itself, which proves that nobody listens there.
"""

from __future__ import annotations

import errno
import os
import socket

from pync.errors import ConnectError, OutOfDescriptors
from pync.options import Options
from pync.stream import WRITE, Attempt, Endpoint, WouldBlock
from pync.transports import tcp
from pync.transports.inet import InetAddress
from pync.transports.settings import LINUX

UNDER_WAY = {errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK}
ACCEPTED = {0, errno.EISCONN}


class Knocker:
    """Begins attempts; a socket whose attempt was refused serves for another."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._idle: dict[int, list[socket.socket]] = {}

    def connect(self, address: InetAddress) -> Knock:
        """Raises OutOfDescriptors, LocalError, or ConnectError for a family that is not here."""
        idle = self._idle.get(address.family)
        return Knock(idle.pop() if idle else self._new(address), address, self)

    def _new(self, address: InetAddress) -> socket.socket:
        try:
            sock = tcp.outgoing_socket(address, self._options)
        except OutOfDescriptors:
            self.close()  # those of another family, if there are any
            sock = tcp.outgoing_socket(address, self._options)
        sock.setblocking(False)
        return sock

    def endpoint(self, sock: socket.socket, address: InetAddress) -> Endpoint:
        return tcp.connected(sock, address, self._options)

    def take_back(self, sock: socket.socket) -> None:
        """It was refused."""
        if LINUX:
            self._idle.setdefault(sock.family, []).append(sock)
        else:
            sock.close()

    def close(self) -> None:
        """Keep no sockets."""
        for idle in self._idle.values():
            while idle:
                idle.pop().close()


class Knock(Attempt):
    """One attempt."""

    def __init__(self, sock: socket.socket, address: InetAddress, knocker: Knocker) -> None:
        self.peer: InetAddress = address
        self.descriptors = (sock.fileno(),)
        self._sock = sock
        self._knocker = knocker
        self._refused = False  # and the socket is not ours any more

    def finish(self) -> Endpoint:
        error = self._sock.connect_ex(self.peer.sockaddr)
        if error in UNDER_WAY:
            raise WouldBlock(self.descriptors[0], WRITE)
        if error in ACCEPTED:
            return self._accepted()
        self._refused = True
        self._knocker.take_back(self._sock)
        raise self._failure(error)

    def _accepted(self) -> Endpoint:
        try:
            return self._knocker.endpoint(self._sock, self.peer)
        except OSError as error:
            self._sock.close()
            gone = error.errno == errno.ENOTCONN
            raise self._failure(errno.ECONNRESET if gone else error.errno or 0) from None

    def _failure(self, error: int) -> ConnectError:
        return ConnectError(f"connect to {self.peer.target} failed: {os.strerror(error)}", error)

    def abandon(self) -> None:
        if not self._refused:
            self._sock.close()
