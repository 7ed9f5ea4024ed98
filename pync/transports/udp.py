"""UDP."""

from __future__ import annotations

import functools
import socket
from contextlib import suppress

from pync.errors import ConnectionLost
from pync.options import Options
from pync.stream import ROOM, Attempt, Endpoint, Listener
from pync.transports import datagrams, inet
from pync.transports.datagram_listeners import kind_of_listener
from pync.transports.inet import InetAddress
from pync.transports.sockets import Address, SocketAttempt


def addresses(options: Options) -> list[InetAddress]:
    return inet.remote_addresses(options, "udp")


def connect(address: InetAddress, options: Options) -> Attempt:
    sock = inet.outgoing_socket(address, options)
    return SocketAttempt(
        sock, address.sockaddr, address, functools.partial(connected, peer=address)
    )


def connected(sock: socket.socket, peer: InetAddress) -> Endpoint:
    inet.refuse_ourselves(sock, peer)
    return datagrams.connected(sock, peer)


def listen(options: Options) -> Listener:
    sock, places = inet.listening_socket(options, "udp")

    def name(address: Address) -> InetAddress:
        return InetAddress(sock.family, address, "udp")

    return kind_of_listener(options)(sock, places, name)


class Unconnected:
    """A socket, bound as `options` say, for datagrams from anybody and to anybody.

    Raises LocalError if it cannot be had.
    """

    def __init__(self, options: Options) -> None:
        self._sock, _ = inet.listening_socket(options, "udp")
        self._sock.setblocking(False)
        self.descriptors = (self._sock.fileno(),)

    @property
    def place(self) -> InetAddress:
        """Where it is bound."""
        return self._name(self._sock.getsockname())

    def _name(self, address: Address) -> InetAddress:
        return InetAddress(self._sock.family, address, "udp")

    def receive(self) -> tuple[bytes, InetAddress]:
        """A datagram, and who sent it.  Raises WouldBlock or LocalError."""
        count, sender = datagrams.receive(self._sock)
        return bytes(ROOM[:count]), self._name(sender)

    def send(self, data: bytes, address: InetAddress) -> None:
        """Raises WouldBlock.  What the kernel will not send is lost, as datagrams may be."""
        with suppress(ConnectionLost):
            datagrams.AddressedSink(self._sock, address, address.sockaddr).write(data)

    def close(self) -> None:
        self._sock.close()
