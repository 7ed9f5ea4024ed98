"""pync joined to a plain socket, so that a test can play the peer by hand.

    with joined("connects", "-q", "1", stdin=PIPE) as (pync, peer):
        peer.sendall(b"hello")
        assert pync.receive(5) == b"hello"

With the fixture _each_way the same is played over TLS, and `peer` is a TlsSocket then.

What the peer waits for it waits for with a limit, so that nothing here hangs.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from harness import PATIENCE, PYNC, Program, Result

HERE = "127.0.0.1"
ROLES = ("connects", "listens")  # what pync does; the plain socket does the other
LITTLE = 4096  # a receive buffer that is soon full


class Way(NamedTuple):
    """How pync and its peer are joined over a TCP connection.

    options: what pync is given for that, in its role.
    peer: what the test plays with, made of the plain socket; pync's role comes first.
    torn: the most bytes that may have arrived and be of no use, their record being cut.
    """

    options: Callable[[str], tuple[str, ...]] = lambda role: ()
    peer: Callable[[str, socket.socket], socket.socket] = lambda role, sock: sock
    torn: int = 0


way = Way()  # the fixture _each_way puts another one here


def torn() -> int:
    """See Way."""
    return way.torn


@contextmanager
def joined(
    role: str, *options: str, receive_buffer: int = 0, **how: Any
) -> Iterator[tuple[Program, socket.socket]]:
    """pync in its `role`, and the socket at the other end of its TCP connection."""
    options = (*way.options(role), *options)
    with socket.socket() as plain:
        plain.settimeout(PATIENCE)
        if receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if role == "listens":
            with start("-lnv", *options, HERE, "0", **how) as pync:
                plain.connect((HERE, pync.port))
                yield pync, way.peer(role, plain)
        else:
            plain.bind((HERE, 0))
            plain.listen()
            with start(*options, HERE, str(plain.getsockname()[1]), **how) as pync:
                peer, _ = plain.accept()
                with peer:
                    peer.settimeout(PATIENCE)
                    yield pync, way.peer(role, peer)


def start(*args: str, **how: Any) -> Program:
    """Start pync."""
    return run(*PYNC, *args, **how)


def run(*argv: str, shell: str | None = None, **how: Any) -> Program:
    """Start a program, or a `shell` script in which "$@" is that: 'exec "$@" <&-'."""
    return Program(*(("sh", "-c", shell, "sh") if shell else ()), *argv, **how)


def drain(peer: socket.socket) -> bytes:
    """Everything that comes until the other side's FIN; its RST is an error."""
    received = bytearray()
    while data := peer.recv(1 << 16):
        received += data
    return bytes(received)


def drain_until_reset(peer: socket.socket) -> bytes:
    """Everything that comes until the other side's RST; its FIN alone is an error."""
    received, end = drain_until_any_end(peer)
    assert end == "RST"
    return received


def drain_until_any_end(peer: socket.socket) -> tuple[bytes, str]:
    """Everything that comes until the other side's "FIN" or "RST", and which of them it was."""
    received = bytearray()
    try:
        while data := peer.recv(1 << 16):
            received += data
    except ConnectionResetError:
        return bytes(received), "RST"
    return bytes(received), "FIN"


def flood(peer: socket.socket, data: bytes = bytes(1 << 16)) -> None:
    """Send until nothing moves any more."""
    while select.select([], [peer], [], 0.2)[1]:
        peer.send(data)


def reset(peer: socket.socket) -> None:
    """Close with RST instead of FIN."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(peer.detach())


def silent(peer: socket.socket, seconds: float) -> bool:
    """Whether nothing comes for that long: no data, no end of any kind."""
    peer.settimeout(seconds)
    try:
        peer.recv(1, socket.MSG_PEEK)
    except (TimeoutError, BlockingIOError):
        return True
    except OSError:
        return False
    finally:
        peer.settimeout(PATIENCE)
    return False


def ended_within(program: Program, seconds: float) -> bool:
    """Whether the program ends in that time."""
    process = os.pidfd_open(program.pid)
    try:
        return bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)


def complaints(result: Result) -> list[str]:
    """The errors among the lines on stderr."""
    return [line for line in result.err.splitlines() if line.startswith("pync: ")]
