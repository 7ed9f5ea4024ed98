"""Proxies that are played by hand: what pync asks of each kind, and what it is told then.

    with through("socks5", "host.example", "-v", stdin=b"hello") as (pync, proxy):
        play(proxy, asking("socks5", "host.example"))
        assert drain(proxy) == b"hello"

The connection that the proxy has with pync is then the target's.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from harness import PATIENCE, Program
from plain_peer import HERE, start
from socks_scripts import GRANTED_4, GRANTED_5, OPEN_DOOR, message

from pync.wire.socks import literal

PORT = 80
NAME, IPV4, IPV6 = "host.example", "192.0.2.1", "2001:db8::1"
HOSTS = (NAME, IPV4, IPV6)
USER, PASSWORD = "bob", "opensesame"

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"

# What is heard from pync, and what is then said to it.
Turns = Sequence[tuple[bytes, bytes]]


class Connection(Protocol):
    """A socket, or a plain_tls.PlainTls."""

    def recv(self, limit: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> object: ...


def http_turns(host: str, port: int) -> Turns:
    return [(connect_request(host, port), CONNECTED)]


def connect_request(host: str, port: int, *fields: str) -> bytes:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def socks4_turns(host: str, port: int) -> Turns:
    return [(socks4_request(host, port), GRANTED_4)]


def socks4_request(host: str, port: int, user: str = "") -> bytes:
    address = literal(host)
    name = b"" if address else host.encode() + b"\0"
    packed = address.packed if address else bytes([0, 0, 0, 1])
    return message("04 01", port.to_bytes(2, "big"), packed, user.encode() + b"\0", name)


def socks5_turns(host: str, port: int) -> Turns:
    return [OPEN_DOOR, (socks5_request(host, port), GRANTED_5)]


def socks5_request(host: str, port: int) -> bytes:
    address = literal(host)
    kind = {4: "01", 6: "04"}[address.version] if address else "03"
    field = address.packed if address else bytes([len(host)]) + host.encode()
    return message("05 01 00", kind, field, port.to_bytes(2, "big"))


TURNS = {
    "http": http_turns,
    "socks4": socks4_turns,
    "socks4a": socks4_turns,
    "socks5": socks5_turns,
}
# SOCKS4 has no IPv6, and without 4a no names.
REACHES = [
    (kind, host)
    for kind in TURNS
    for host in HOSTS
    if not ((kind.startswith("socks4") and host == IPV6) or (kind == "socks4" and host == NAME))
]
# Where to go through each of them.
ROUTES = {"http": NAME, "socks4": IPV4, "socks4a": NAME, "socks5": NAME}


def asking(kind: str, host: str, port: int = PORT) -> Turns:
    return TURNS[kind](host, port)


def play(connection: Connection, turns: Turns, glued: bytes = b"") -> None:
    """Hear what is in the turns and say what is; glued: what comes with the last words."""
    for number, (question, answer) in enumerate(turns, 1):
        assert hear(connection, len(question)) == question
        connection.sendall(answer + (glued if number == len(turns) else b""))


def hear(connection: Connection, size: int) -> bytes:
    heard = b""
    while len(heard) < size and (data := connection.recv(size - len(heard))):
        heard += data
    return heard


@contextmanager
def listening(host: str = HERE) -> Iterator[socket.socket]:
    """A socket that listens, as a proxy or a target."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.settimeout(PATIENCE)
        yield listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


@contextmanager
def accepted(listener: socket.socket) -> Iterator[socket.socket]:
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(PATIENCE)
        yield connection


@contextmanager
def through(
    kind: str, host: str, *options: str, linger: str = "0", **how: Any
) -> Iterator[tuple[Program, socket.socket]]:
    """pync on its way to `host` through a proxy of that kind, and the proxy's side of it."""
    with listening() as listener:
        proxy = f"{kind}://{HERE}:{port_of(listener)}"
        with (
            start("--linger", linger, "-x", proxy, *options, host, f"{PORT}", **how) as pync,
            accepted(listener) as connection,
        ):
            yield pync, connection
