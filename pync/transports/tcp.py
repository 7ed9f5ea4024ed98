"""TCP."""

from __future__ import annotations

import functools
import socket

from pync.errors import LocalError
from pync.options import Options
from pync.stream import Attempt, Endpoint, Listener, Peer
from pync.transports import inet, settings
from pync.transports.inet import InetAddress
from pync.transports.sockets import (
    BACKLOG,
    Address,
    SocketAttempt,
    SocketEndpoint,
    SocketListener,
    TcpSink,
    closed_on_error,
    reason,
)

MAY_ONLY_LISTEN = 30.0  # seconds of silence after which one that may not have to talk is probed


def addresses(options: Options) -> list[InetAddress]:
    return inet.remote_addresses(options, "tcp")


def outgoing_socket(address: InetAddress, options: Options) -> socket.socket:
    """As inet.outgoing_socket, for TCP."""
    sock = inet.outgoing_socket(address, options)
    with closed_on_error(sock):
        if options.md5_key:
            settings.set_md5_key(sock, options.md5_key)
    return sock


def connect(address: InetAddress, options: Options) -> Attempt:
    sock = outgoing_socket(address, options)
    make = functools.partial(connected, peer=address, options=options)
    return SocketAttempt(sock, address.sockaddr, address, make)


def connected(sock: socket.socket, peer: InetAddress, options: Options) -> Endpoint:
    """What a connect has come to.  Raises OSError if the connection has gone again."""
    inet.refuse_ourselves(sock, peer)
    return endpoint(sock, peer, options)


def listen(options: Options) -> Listener:
    sock, places = inet.listening_socket(options, "tcp")
    with closed_on_error(sock):
        if options.md5_key:
            settings.set_md5_key(sock, options.md5_key)
        start_listening(sock, places)

    def accepted(connection: socket.socket, address: Address) -> Endpoint:
        peer = InetAddress(connection.family, address, "tcp")
        return endpoint(connection, peer, options)

    return SocketListener(sock, places, accepted)


def start_listening(sock: socket.socket, places: tuple[str, ...]) -> None:
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        raise LocalError(f"cannot listen on {' and '.join(places)}: {reason(error)}") from None


def endpoint(sock: socket.socket, peer: Peer, options: Options) -> Endpoint:
    """A connected socket as an endpoint: what is written leaves at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keepalive = options.tcp_keepalive
    if options.broker:
        settings.keep_little_unsent(sock)
    if options.broker or options.command:
        keepalive = keepalive or MAY_ONLY_LISTEN
    if keepalive:
        settings.set_keepalive(sock, keepalive)
    return SocketEndpoint(sock, peer, TcpSink)
