"""Whether who connects somewhere comes back to what we listen at."""

from __future__ import annotations

import socket

from pync.transports.inet import KINDS, InetAddress

# All addresses, to who listens; to who connects, this machine.
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def leads_to(address: InetAddress, place: str) -> bool:
    """place: as Listener.places has it, `0.0.0.0 2389`."""
    host, _, port = place.rpartition(" ")
    if port != f"{address.port}":
        return False
    if host in ANYWHERE and (":" in host) == (":" in address.host):
        return is_ours(address)
    return host == ANYWHERE.get(address.host, address.host)


def is_ours(address: InetAddress) -> bool:
    """Whether this machine has the address: on others nothing can be bound."""
    try:
        with socket.socket(address.family, KINDS[address.protocol]) as probe:
            probe.bind(address.at(0).sockaddr)
    except OSError:
        return False
    return True
