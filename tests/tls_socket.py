"""TLS in the place of a plain socket: a test that plays a peer by hand runs over it as it is.

    monkeypatch.setattr(plain_peer, "way", over_tls(authority, "TLSv1.3"))
    with joined("connects", stdin=PIPE) as (pync, peer):
        peer.sendall(b"hello")
        peer.shutdown(socket.SHUT_WR)  # says close_notify, and sends FIN
        assert drain(peer) == b"all that pync sent until its close_notify"

What ends pync's stream without a close_notify is an SSLEOFError here.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from typing import Any

from authority import Authority
from harness import PATIENCE
from plain_peer import Way
from plain_tls import PlainTls, context_against, tls_options

RECORD = 1 << 14  # bytes


class TlsSocket(PlainTls):
    """PlainTls with the methods of a socket.  What is not here is TCP's."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def recv(self, limit: int = 1 << 16, flags: int = 0) -> bytes:
        """One record's, or with MSG_WAITALL so many bytes if the end does not come before."""
        data = super().recv(limit)
        if flags & socket.MSG_PEEK:
            self._kept = data + self._kept
        if flags & socket.MSG_WAITALL:
            while len(data) < limit and (more := super().recv(limit - len(data))):
                data += more
        return data

    def send(self, data: bytes) -> int:
        """What fits into a record: 0 bytes as long as a part of the last one has to wait."""
        self._send_some()
        return 0 if self._unsent else self._done(partial(self.tls.write, data[:RECORD]))

    def shutdown(self, how: int) -> None:
        assert how == socket.SHUT_WR
        self.send_close_notify()
        self.sock.shutdown(how)

    def close(self) -> None:
        """With a close_notify, if there is somebody to hear it."""
        with suppress(OSError):
            self.send_close_notify()
        self.sock.close()


def over_tls(authority: Authority, version: str) -> Way:
    """The way of being joined by that version of TLS, one of plain_tls.VERSIONS."""
    leaf = authority.leaf["valid"]

    def peer(role: str, sock: socket.socket) -> Any:
        made = TlsSocket(sock, context_against(authority, role, leaf, version=version))
        made.handshake()
        return made

    def options(role: str) -> tuple[str, ...]:
        # -w limits the handshake as well, and a busy machine may take its time for that.
        return *tls_options(authority, role, leaf), "--wait", f"{PATIENCE}"

    return Way(options, peer, torn=RECORD)
