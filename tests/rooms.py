"""Listeners for many clients over each transport, and how one gets in.

    with room("udp", "--broker") as (server, join):
        one, other = join(), join()

A client is a socket whose recv has a limit of time.  The server knows of it once join
returns, and it has read what those made it hear who came later.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from authority import Authority
from harness import NULL, PATIENCE, Program
from plain_peer import HERE, start
from plain_tls import client_context, tls_options
from tls_socket import TlsSocket

STREAMS = ("tcp", "unix", "tls")
DATAGRAMS = ("udp", "unix datagrams")
KINDS = {
    "tcp": (socket.AF_INET, socket.SOCK_STREAM),
    "tls": (socket.AF_INET, socket.SOCK_STREAM),
    "udp": (socket.AF_INET, socket.SOCK_DGRAM),
    "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
    "unix datagrams": (socket.AF_UNIX, socket.SOCK_DGRAM),
}
HELLO, SECOND_HELLO = b"!", b"!!"  # what makes a peer that sends datagrams known

Join = Callable[[], Any]


@contextmanager
def room(
    kind: str,
    *options: str,
    tmp_path: Path,
    authority: Authority,
    hello: bytes = HELLO,
    **how: Any,
) -> Iterator[tuple[Program, Join]]:
    """The listener, and what lets one more client in.

    hello: the first datagram of each, which all who are there hear if it is not empty.
    A client may be closed by who has let it in.
    """
    path = tmp_path / "room"
    family, type_ = KINDS[kind]
    words = ["-lvn", *options]
    words += ["-u"] if type_ == socket.SOCK_DGRAM else []
    words += tls_options(authority, "listens", authority.leaf["valid"]) if kind == "tls" else []
    words += ["-U", str(path)] if family == socket.AF_UNIX else [HERE, "0"]
    how.setdefault("stdin", NULL)
    with start(*words, **how) as server, ExitStack() as stack:
        server.expect("Listening on .*\n")
        address = str(path) if family == socket.AF_UNIX else (HERE, server.port)
        present: list[Any] = []

        def join() -> Any:
            client = stack.enter_context(socket.socket(family, type_))
            client.settimeout(PATIENCE)
            if kind == "unix datagrams":
                client.bind("")
            client.connect(address)
            if kind == "tls":
                client = TlsSocket(client, client_context(authority.root))
                client.handshake()
            if type_ == socket.SOCK_DGRAM:
                client.send(hello)
                if hello:
                    introduce(client, present)
            present.append(client)
            server.expect(welcome(client, len(present)))
            return client

        yield server, join


def welcome(client: Any, count: int) -> str:
    """What the server says of it, which is the client with that number."""
    if client.family == socket.AF_UNIX:
        return rf"(Connection received on .*\n){{{count}}}"
    return rf"Connection received on {HERE} {client.getsockname()[1]}\n"


def introduce(newcomer: socket.socket, present: list[socket.socket]) -> None:
    """Let a peer that sends datagrams become known to those that are there.

    The first one's hello is heard by the second, if the server is slow to read it.
    """
    assert [each.recv(100) for each in present] == [HELLO] * len(present)
    if len(present) == 1:
        present[0].send(SECOND_HELLO)
        while newcomer.recv(100) != SECOND_HELLO:
            pass


def exactly(client: Any, size: int) -> bytes:
    """The next `size` bytes, or what comes until the end."""
    received = bytearray()
    while len(received) < size and (data := client.recv(min(1 << 20, size - len(received)))):
        received += data
    return bytes(received)
