"""UDP."""

from __future__ import annotations

import functools

from pync.options import Options
from pync.stream import Attempt, Listener
from pync.transports import datagrams, inet
from pync.transports.datagram_listeners import kind_of_listener
from pync.transports.inet import InetAddress
from pync.transports.sockets import Address, SocketAttempt


def addresses(options: Options) -> list[InetAddress]:
    return inet.remote_addresses(options, "udp")


def connect(address: InetAddress, options: Options) -> Attempt:
    sock = inet.outgoing_socket(address, options)
    make = functools.partial(datagrams.connected, peer=address)
    return SocketAttempt(sock, address.sockaddr, address, make)


def listen(options: Options) -> Listener:
    sock, places = inet.listening_socket(options, "udp")

    def name(address: Address) -> InetAddress:
        return InetAddress(sock.family, address, "udp")

    return kind_of_listener(options)(sock, places, name)
