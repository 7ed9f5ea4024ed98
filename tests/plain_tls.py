"""TLS played by hand over a plain socket, with pync at the other end or whoever is there.

    with joined_tls(authority, "connects", stdin=PIPE) as (pync, peer):
        peer.sendall(b"hello")
        peer.send_close_notify()
        assert peer.drain() == b"all that pync sent until its close_notify"

A peer that shall not shake hands well, or not at once, is made in two steps:

    with joined("connects", *tls_options(authority, "connects", leaf)) as (pync, sock):
        peer = PlainTls(sock, server_context(leaf, version="TLSv1.2"))
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from authority import PASSPHRASE, Authority, Leaf
from harness import PATIENCE, Program
from plain_peer import joined

T = TypeVar("T")
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class PlainTls:
    """TLS over a socket, as a client or a server: its context says which.

    What concerns TCP alone is done with `sock`: sock.shutdown(SHUT_WR) without a close_notify
    cuts the stream short, plain_peer.reset(sock) breaks it.  sock.close() may do so, too: a
    client of TLS 1.3 that has received nothing yet has tickets unread.

    One thread may send while another receives.  So nobody waits for the socket while he keeps
    the lock, and who receives does not wait until all is sent that OpenSSL has to say.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        self._set_tcp(socket.TCP_NODELAY)  # what waits for company would be lost at a reset
        serves = context.protocol == ssl.PROTOCOL_TLS_SERVER
        name = None if serves else "localhost"
        self._arrived, self._said = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._arrived, self._said, serves, name)
        self._lock = threading.Lock()
        self._unsent = bytearray()  # ciphertext
        self._kept = b""  # plaintext that was read too early

    def handshake(self) -> None:
        self._done(self.tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._done(partial(self.tls.write, rest)) :]
            self._send_everything()

    def flood(self) -> None:
        """Send until nothing moves any more."""
        while self._writable(0.2):
            self._done(partial(self.tls.write, bytes(1 << 14)))

    def encrypted(self, data: bytes) -> bytes:
        """The records with that in them, to be sent by sock.sendall, or a part of them."""
        assert not self._unsent
        self._call(partial(self.tls.write, data))
        records = bytes(self._unsent)
        self._unsent.clear()
        return records

    def refuse(self) -> None:
        """Send a fatal alert, as if bytes had come that make no sense."""
        self._arrived.write(b"nonsense")
        with suppress(ssl.SSLError):
            self.drain()  # what came before

    def send_close_notify(self) -> None:
        """Say that nothing more follows; the other direction goes on."""
        self._call(self._end)
        self._send_everything()

    def recv(self, limit: int = 1 << 16) -> bytes:
        """What comes next: b"" for a close_notify, SSLEOFError for a FIN without one."""
        return self._done(partial(self._next, limit))

    def recv_exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            data = self.recv(size - len(received))
            assert data, f"close_notify after {len(received)} of {size} bytes"
            received += data
        return bytes(received)

    def drain(self) -> bytes:
        """Everything that comes until the other side's close_notify; another end is an error."""
        return b"".join(iter(self.recv, b""))

    def drain_until_any_end(self) -> tuple[bytes, str]:
        """Everything until the other side's "close_notify", "FIN" or "RST", and which it was."""
        received = bytearray()
        try:
            while data := self.recv():
                received += data
        except ssl.SSLEOFError:
            return bytes(received), "FIN"
        except ConnectionResetError:
            return bytes(received), "RST"
        return bytes(received), "close_notify"

    def silent(self, seconds: float) -> bool:
        """Whether nothing comes for that long: no data, no end of any kind."""
        self.sock.settimeout(seconds)
        try:
            self._kept = self.recv() + self._kept
        except TimeoutError:
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(PATIENCE)
        return False

    def _done(self, operation: Callable[[], T]) -> T:
        """The outcome of an operation that may have to send and receive before."""
        while True:
            try:
                outcome = self._call(operation)
            except ssl.SSLWantReadError:
                self._send_some()
                self._receive_some()
            except ssl.SSLError:
                with suppress(OSError):
                    self._send_some()  # the alert, if anybody is left to hear it
                raise
            else:
                self._send_some()
                return outcome

    def _call(self, operation: Callable[[], T]) -> T:
        with self._lock:
            try:
                return operation()
            finally:
                self._unsent += self._said.read()

    def _next(self, limit: int) -> bytes:
        if self._kept:
            data, self._kept = self._kept[:limit], self._kept[limit:]
            return data
        return self._decrypted(limit)

    def _decrypted(self, limit: int) -> bytes:
        try:
            return self.tls.read(limit)
        except ssl.SSLZeroReturnError:  # this instead of b"" after a close_notify of our own
            return b""

    def _end(self) -> None:
        """OpenSSL at once looks for the other side's close_notify, and gives the connection up
        if it finds data instead: so that is read before, as far as it has come."""
        with suppress(ssl.SSLWantReadError):
            while data := self._decrypted(1 << 16):
                self._kept += data
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()

    def _receive_some(self) -> None:
        data = self.sock.recv(1 << 16)
        self._set_tcp(socket.TCP_QUICKACK)  # it is acknowledged, as if no handshake had been
        with self._lock:
            if data:
                self._arrived.write(data)
            else:
                self._arrived.write_eof()

    def _set_tcp(self, option: int) -> None:
        with suppress(OSError):  # unix sockets need none of that
            self.sock.setsockopt(socket.IPPROTO_TCP, option, 1)

    def _send_some(self) -> None:
        """What the socket takes at once."""
        with self._lock:
            while self._unsent and self._writable(0):
                del self._unsent[: self.sock.send(self._unsent)]

    def _send_everything(self) -> None:
        while self._unsent:
            assert self._writable(PATIENCE), "the other side takes nothing"
            self._send_some()

    def _writable(self, seconds: float) -> bool:
        return bool(select.select([], [self.sock], [], seconds)[1])


def client_context(
    trust: Path | None,
    *,
    version: str = "",
    alpn: Sequence[str] = (),
    leaf: Leaf | None = None,
) -> ssl.SSLContext:
    """For a client that trusts the root in that file, or anybody, and may show a certificate.

    version: one of VERSIONS, and no other.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, version, alpn)
    if leaf:
        context.load_cert_chain(leaf.chain, leaf.key, PASSPHRASE)
    if trust:
        context.load_verify_locations(trust)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def server_context(
    leaf: Leaf,
    *,
    version: str = "",
    alpn: Sequence[str] = (),
    client_ca: Path | None = None,
) -> ssl.SSLContext:
    """For a server that shows this certificate; with a `client_ca`, clients must show one too."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, version, alpn)
    context.load_cert_chain(leaf.chain, leaf.key, PASSPHRASE)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _context(protocol: int, version: str, alpn: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    if version:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def tls_options(authority: Authority, role: str, leaf: Leaf) -> tuple[str, ...]:
    """What pync needs in its role: to show the leaf, or to trust who shows it."""
    if role == "listens":
        return "--ssl", "--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}"
    return "--ssl", "--ssl-trustfile", f"{authority.root}"


def context_against(authority: Authority, role: str, leaf: Leaf, **offer: Any) -> ssl.SSLContext:
    """For the peer of a pync in its role; offer: as in client_context() and server_context()."""
    if role == "listens":
        return client_context(authority.root, **offer)
    return server_context(leaf, **offer)


@contextmanager
def joined_tls(
    authority: Authority,
    role: str,
    *options: str,
    leaf: str = "valid",
    version: str = "",
    alpn: Sequence[str] = (),
    **how: Any,
) -> Iterator[tuple[Program, PlainTls]]:
    """plain_peer.joined() with TLS: the peer has shaken hands with pync.

    leaf: what the one that listens shows.
    """
    shown = authority.leaf[leaf]
    context = context_against(authority, role, shown, version=version, alpn=alpn)
    with joined(role, *tls_options(authority, role, shown), *options, **how) as (pync, sock):
        peer = PlainTls(sock, context)
        peer.handshake()
        yield pync, peer
