"""What a program that runs for a client finds in its environment."""

from __future__ import annotations

from collections.abc import Mapping

from pync.environment import tells_of_sockets
from pync.stream import Endpoint
from pync.transports.inet import InetAddress

# Not handed on: what was said to us, with passwords among it, and what tells of another client.
PREFIXES = PYNC, NCAT = "PYNC_", "NCAT_"
HANDED_IN = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")  # sd_listen_fds(3)
NO_PLACE = "", ""


def variables_for(client: Endpoint, inherited: Mapping[str, str]) -> dict[str, str]:
    """`inherited`, and who is at which end, as pync tells it and as ncat would.

    ncat tells of no paths.
    """
    ours = HANDED_IN if tells_of_sockets(inherited) else ()
    kept = {
        name: value
        for name, value in inherited.items()
        if name not in ours and not name.startswith(PREFIXES)
    }
    peer, local = client.peer, client.local
    here = (local.host, f"{local.port}") if local else NO_PLACE
    if isinstance(peer, InetAddress):
        there = peer.host, f"{peer.port}"
        pync = told(PYNC, there, here, peer.protocol)
        ncat = told(NCAT, there, here, peer.protocol.upper())
    else:
        pync = told(PYNC, (str(peer), ""), NO_PLACE, "unix")
        somewhere = "localhost", ""
        ncat = told(NCAT, somewhere, somewhere, "TCP" if client.has_end else "UDP")
    return kept | pync | ncat


def told(
    prefix: str, remote: tuple[str, str], local: tuple[str, str], protocol: str
) -> dict[str, str]:
    names = ("REMOTE_ADDR", "REMOTE_PORT", "LOCAL_ADDR", "LOCAL_PORT", "PROTO")
    return dict(zip((prefix + name for name in names), (*remote, *local, protocol), strict=True))
