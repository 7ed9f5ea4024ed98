"""TLS as bytes in and bytes out: OpenSSL between two buffers.

Theory.  OpenSSL works on two MemoryBIOs, so it never sees a descriptor, and the
two directions can end one after the other.  With a wrapped socket they cannot:
its shutdown drops the TLS layer, and its unwrap loses what has not been read.

What came is decrypted when somebody wants it, not before: so a reader that
pauses holds the peer up, and not a buffer of ours.  To decrypt may be to answer
(a key update, a refused renegotiation); a peer that has a lot of answers coming
and takes none is given up.  What comes after the peer's end is nobody's.

The end is told by close_notify, each way for itself (RFC 8446, 6.1), with TLS 1.2
as well, whose RFC wanted both ways to end at once and whose programs did not care.
To tell it OpenSSL looks for the peer's, and fails at data that is still there; so
what is there is taken out first.  A stream that ends without close_notify may have
been cut by anybody on the way, and counts as broken.
"""

from __future__ import annotations

import ssl
from collections import deque

from pync.errors import ConnectionLost, NetworkError, ProtocolError
from pync.wire.tls.certificates import describe, fingerprint
from pync.wire.tls.reasons import cut_short, explain, no_tls, not_pinned

RECORD = 16 * 1024  # bytes that a record holds at the most (RFC 8446, 5.1)
ANSWERS = 64 * 1024  # bytes of ours that a peer may ask for and not take
FIRST = 80  # bytes kept of what the peer began with, for the case that it speaks no TLS


class Tls:
    """The engine (see stage.Engine), in the role that `context` is for.

    peer: what it is called in errors.  name: the host that a client asks for and
    checks.  pin: the fingerprint of the only certificate that will do.  trust: how to
    vouch for a peer for whom nobody does, where that is not by the options for TLS.
    own_input: whether our end is that of an input which --no-shutdown would keep back.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        peer: str,
        name: str | None = None,
        pin: str | None = None,
        trust: str = "",
        own_input: bool = True,
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        listens = context.protocol == ssl.PROTOCOL_TLS_SERVER
        self._tls = context.wrap_bio(self._incoming, self._outgoing, listens, name)
        self._peer = peer
        self._pin = pin
        self._trust = trust
        self._own_input = own_input
        self._first = b""
        self._plain: deque[bytes] = deque()  # decrypted and not given yet
        self._broken: NetworkError | None = None  # for when all that came before is given
        self._answers = 0  # bytes
        self._ending = False
        self.established = False
        self.send_over = False
        self.receive_over = False
        self._shake_hands()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was agreed on and who the peer is, a line each."""
        return describe(self._tls)

    def receive(self, data: bytes | memoryview) -> None:
        if not self.established:
            self._first += bytes(data[: FIRST - len(self._first)])
        if not (self.receive_over or self._broken):
            self._incoming.write(data)
        self._go_on()

    def receive_end(self) -> None:
        self._incoming.write_eof()
        self._go_on()

    def _go_on(self) -> None:
        if not self.established:
            self._shake_hands()
        elif self._ending:
            self._tell_end()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            if why := no_tls(self._first):  # OpenSSL wants five bytes to see that
                raise self._failure(why) from None
            return
        except ssl.SSLError as error:
            raise self._failed(error) from None
        self._check_certificate()
        self.established = True

    def _check_certificate(self) -> None:
        """What OpenSSL may have passed over: there are ciphers without any certificate."""
        shown = self._tls.getpeercert(binary_form=True)
        if not shown and self._tls.context.verify_mode == ssl.CERT_REQUIRED:
            raise self._failure("the peer has shown no certificate")
        found = fingerprint(shown) if shown else None
        if self._pin not in (None, found):
            raise self._failure(not_pinned(found))

    def send(self, data: bytes | memoryview) -> int:
        try:
            return self._tls.write(data)
        except ssl.SSLWantReadError:
            return 0  # hands are being shaken once more, which TLS 1.2 has
        except ssl.SSLError as error:
            raise self._failed(error) from None

    def legible(self, data: bytes, sent: int) -> int:  # noqa: ARG002
        return 0  # of a record that is not whole

    def send_end(self) -> None:
        self._ending = True
        self._tell_end()

    def _tell_end(self) -> None:
        if self.send_over:
            return
        while piece := self._decrypt(RECORD):
            self._plain.append(piece)
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # it looks for the peer's end; ours is written
        except ssl.SSLError as error:
            if error.reason == "SHUTDOWN_WHILE_IN_INIT":
                return  # hands are being shaken; something will come
            self._broken = self._broken or self._failed(error)
        self.send_over = True

    def data_to_send(self, limit: int) -> bytes:
        data = self._outgoing.read(limit)
        if not self._outgoing.pending:
            self._answers = 0
        return data

    def data_received(self, limit: int) -> bytes:
        pieces = []
        while limit and (piece := self._take(limit) if self._plain else self._decrypt(limit)):
            pieces.append(piece)
            limit -= len(piece)
        if self._broken and not pieces:
            raise self._broken
        return b"".join(pieces)

    def _take(self, limit: int) -> bytes:
        """Of what is decrypted already."""
        piece = self._plain.popleft()
        if len(piece) > limit:
            self._plain.appendleft(piece[limit:])
        return piece[:limit]

    def _decrypt(self, limit: int) -> bytes:
        """Bytes of the next record; empty if it is not whole yet, or there will be none."""
        if self.receive_over or self._broken:
            return b""
        waiting = self._outgoing.pending
        piece = self._read(limit)
        self._answers += self._outgoing.pending - waiting
        if self._answers > ANSWERS:
            self._broken = self._failure("the peer asks and asks, and takes no answer")
        return piece

    def _read(self, limit: int) -> bytes:
        piece = b""
        try:
            piece = self._tls.read(min(limit, RECORD))
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLEOFError:
            why = cut_short(self._ending and self._own_input)
            self._broken = ConnectionLost(self._told(why))
            return b""
        except ssl.SSLError as error:
            self._broken = self._failed(error)
            return b""
        if not piece:
            self.receive_over = True
            self._incoming.read()
        return piece

    @property
    def send_backlog(self) -> int:
        return self._outgoing.pending

    @property
    def receive_backlog(self) -> int:
        plain = sum(map(len, self._plain))
        if self.receive_over or self._broken:
            return plain
        return plain + self._incoming.pending + self._tls.pending()

    def _failed(self, error: ssl.SSLError) -> ProtocolError:
        first = b"" if self.established else self._first
        return self._failure(explain(error, self._tls, first, self._pin, self._trust))

    def _failure(self, why: str) -> ProtocolError:
        return ProtocolError(self._told(why))

    def _told(self, why: str) -> str:
        return f"TLS with {self._peer} failed: {why}"
