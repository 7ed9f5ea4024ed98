"""pync as a proxy, with clients and targets that are played by hand.

    with serving("socks5") as pync, target() as listener:
        with tunnel("socks5", pync.port, listener) as (client, far):
            client.sendall(b"hello")
            assert far.recv(5) == b"hello"

Everything waits with a limit, so that nothing here hangs.
"""

from __future__ import annotations

import hashlib
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from harness import PATIENCE, Program, descriptors
from plain_peer import HERE, drain, drain_until_any_end, start
from socks_scripts import message

from pync.wire.socks import literal

KINDS = ("http", "socks4", "socks4a", "socks5")
NOWHERE = "nobody.invalid"  # a name that has no address (RFC 6761 section 6.4)
CHUNKED = "transfer-encoding"


@contextmanager
def serving(
    kind: str, *options: str, place: tuple[str, ...] = (HERE, "0"), **how: Any
) -> Iterator[Program]:
    """pync as a proxy of that kind, for many clients."""
    with start("-lkv", "--proxy-type", kind, *options, *place, **how) as pync:
        yield pync


@contextmanager
def target(host: str = HERE, backlog: int = 64) -> Iterator[socket.socket]:
    """A listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, backlog=backlog) as listener:
        listener.settimeout(PATIENCE)
        yield listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def accept(listener: socket.socket) -> socket.socket:
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE)
    return connection


def dial(port: int, host: str = HERE, *, receive_buffer: int = 0) -> socket.socket:
    """A connection to a proxy."""
    client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    client.settimeout(PATIENCE)
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        client.connect((host, port))
    except OSError:
        client.close()
        raise
    return client


# --- how a client asks for a tunnel, and what it is told ---


def connect_request(host: str, port: int) -> bytes:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode()


def socks4_request(host: str, port: int) -> bytes:
    return message("04 01", port.to_bytes(2, "big"), socket.inet_aton(host), b"me\0")


def socks4a_request(host: str, port: int) -> bytes:
    return message("04 01", port.to_bytes(2, "big"), "00000001", b"me\0", host.encode(), b"\0")


def socks5_request(host: str, port: int, command: str = "01") -> bytes:
    """With the greeting before it."""
    return message("05 01 00 05", command, "00", socks5_host(host), port.to_bytes(2, "big"))


def socks5_host(host: str) -> bytes:
    address = literal(host)
    if address is None:
        return b"\3" + bytes([len(host)]) + host.encode()
    return {4: b"\1", 6: b"\4"}[address.version] + address.packed


ASKING: dict[str, Callable[[str, int], bytes]] = {
    "http": connect_request,
    "socks4": socks4_request,
    "socks4a": socks4a_request,
    "socks5": socks5_request,
}
GRANTED = {
    "http": re.compile(rb"HTTP/1\.1 200 Connection established\r\n\r\n"),
    "socks4": re.compile(rb"\x00\x5a.{6}", re.DOTALL),
    "socks4a": re.compile(rb"\x00\x5a.{6}", re.DOTALL),
    "socks5": re.compile(rb"\x05\x00\x05\x00\x00(\x01.{4}|\x04.{16})..", re.DOTALL),
}
LONGEST_GRANT = 64


def read_grant(kind: str, client: socket.socket) -> None:
    """What says that the tunnel stands, and not a byte more."""
    said = b""
    while not GRANTED[kind].fullmatch(said):
        said += (more := client.recv(1))
        assert more, said
        assert len(said) < LONGEST_GRANT, said


def receive(sock: socket.socket, size: int) -> bytes:
    """So many bytes; fewer only at the end."""
    data = bytearray()
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return bytes(data)


def ask(
    kind: str,
    proxy_port: int,
    port: int,
    host: str = HERE,
    *,
    glued: bytes = b"",
    address: str = HERE,
    **how: Any,
) -> socket.socket:
    """A client that has its tunnel to host and port, from the proxy at that address.

    glued: what comes with the request.
    """
    client = dial(proxy_port, address, **how)
    client.sendall(ASKING[kind](host, port) + glued)
    read_grant(kind, client)
    return client


class Tunnel(NamedTuple):
    """Its two ends."""

    client: socket.socket
    far: socket.socket


@contextmanager
def tunnel(
    kind: str, proxy_port: int, listener: socket.socket, host: str = HERE, **how: Any
) -> Iterator[Tunnel]:
    with ask(kind, proxy_port, port_of(listener), host, **how) as client, accept(listener) as far:
        yield Tunnel(client, far)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def duplex(ends: Tunnel, from_client: bytes, from_far: bytes) -> tuple[str, str]:
    """Send both at once, to their ends; the digests of what came out at the far end and here."""
    with ThreadPoolExecutor(4) as pool:
        for sock, data in zip(ends, (from_client, from_far), strict=True):
            pool.submit(send_all, sock, data)
        there, here = pool.submit(drain, ends.far), pool.submit(drain, ends.client)
        return digest(there.result()), digest(here.result())


def send_all(sock: socket.socket, data: bytes) -> None:
    """And the end."""
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


# --- HTTP ---


class Message(NamedTuple):
    """first: the line that it begins with.  fields: by their names in small letters."""

    first: str
    fields: dict[str, str]
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.first.split()[1])


def read_head(stream: BinaryIO) -> Message:
    first, *lines = iter(lambda: stream.readline().decode().rstrip("\r\n"), "")
    fields = (line.split(": ", 1) for line in lines)
    return Message(first, {name.lower(): value for name, value in fields})


def read_message(stream: BinaryIO, *, bodiless: bool = False) -> Message:
    """A whole message.  bodiless: it answers HEAD."""
    head = read_head(stream)
    if bodiless or head.first.split()[1] in ("204", "304"):
        return head
    if CHUNKED in head.fields:
        return head._replace(body=b"".join(read_chunks(stream)))
    response = head.first.startswith("HTTP/")
    size = int(head.fields.get("content-length", -1 if response else 0))
    return head._replace(body=stream.read(size))


def read_chunks(stream: BinaryIO) -> Iterator[bytes]:
    while size := int(stream.readline(), 16):
        yield stream.read(size)
        stream.readline()
    assert stream.readline() == b"\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


class Origin:
    """A connection that an origin has accepted, and the request that came on it."""

    def __init__(self, listener: socket.socket) -> None:
        self.sock = accept(listener)
        self.stream = self.sock.makefile("rb")

    def __enter__(self) -> Origin:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stream.close()
        self.sock.close()

    def read(self) -> Message:
        return read_message(self.stream)

    def say(self, text: str, body: bytes = b"") -> None:
        """text: a head, written with \\n for CR LF."""
        self.sock.sendall(crlf(text) + body)


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


# --- what can be asked of a pync ---


def breaks(sock: socket.socket, seconds: float) -> bool:
    """Whether it does in that time, without a look at what has come."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(seconds * 1000))


def drain_to_any_end(sock: socket.socket) -> bytes:
    """What comes up to the other side's FIN or RST."""
    return drain_until_any_end(sock)[0]


def settled(pync: Program) -> int:
    """How many descriptors it has without a client, which it had one of before."""
    with dial(pync.port) as client:
        client.sendall(b"\0\r\n\r\n")
        drain_to_any_end(client)
    last = 0
    while last != (last := len(descriptors(pync.pid))):
        time.sleep(0.05)
    return last


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def memory(pync: Program) -> int:
    """Bytes that it has now."""
    pages = Path(f"/proc/{pync.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) << 12
