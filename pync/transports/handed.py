"""A listening socket that was handed in, by systemd, inetd or a parent."""

from __future__ import annotations

import socket

from pync.errors import LocalError, UsageError
from pync.transports.sockets import reason

# What options call a socket of that kind.
SAID: dict[tuple[str, int], str] = {
    ("inet", socket.SOCK_STREAM): "neither --unixsock nor --udp",
    ("inet", socket.SOCK_DGRAM): "--udp alone",
    ("unix", socket.SOCK_STREAM): "--unixsock alone",
    ("unix", socket.SOCK_DGRAM): "--unixsock and --udp",
}
INET = (socket.AF_INET, socket.AF_INET6)


def adopt(fd: int, group: str, kind: int) -> socket.socket:
    """The socket behind `fd`, which is ours from now on, and no program's that we start.

    group: inet or unix.  kind: SOCK_STREAM or SOCK_DGRAM.  Raises LocalError, or
    UsageError where it is of another kind.
    """
    try:
        sock = socket.socket(fileno=fd)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise LocalError(f"--fd: descriptor {fd}: {reason(error)}") from None
    if said := SAID.get((group_of(sock.family), sock.type)):
        if said != SAID[group, kind]:
            raise UsageError(f"--fd: the socket that is descriptor {fd} needs {said}")
    else:
        raise UsageError(f"--fd: descriptor {fd} is a socket of a kind that pync does not know")
    if kind == socket.SOCK_STREAM and not listens:
        raise UsageError(f"--fd: descriptor {fd} is a socket that does not listen")
    sock.set_inheritable(False)
    return sock


def group_of(family: int) -> str:
    if family in INET:
        return "inet"
    return "unix" if family == getattr(socket, "AF_UNIX", None) else ""
