"""What SOCKS4 and SOCKS5 share: the two roles, and the fields of their messages.

What a peer sent is shown in messages as far as it cannot be a password.
"""

from __future__ import annotations

import re
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from pync.address import check_name, has_controls
from pync.errors import ProtocolError, UsageError
from pync.wire.dialogue import Conversation, Questions, Reading, Result, exactly

MOST_FIELD = 255  # bytes in a name, a user or a password
HTTP = b"HTTP/"  # which answers in the other protocol begin with
# Bytes of what a peer says instead: HTTP/, and GET, where a password could follow.
SHOWN_ANSWER, SHOWN_REQUEST = len(HTTP), 4

HTTP_INSTEAD = "is how an HTTP proxy speaks; --proxy-type http is for those"

NOWHERE = "0.0.0.0"
HOST = re.compile(r"[\w.:%-]+")


class Command(IntEnum):
    """What a client asks for."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class Request(NamedTuple):
    """What a client asks for.  user: empty if it did not say."""

    command: Command
    host: str
    port: int
    user: str

    @property
    def datagrams(self) -> bool:
        """Whether it is for a relay of datagrams."""
        return self.command == Command.UDP_ASSOCIATE


class SocksClient(Questions):
    """A dialogue with the proxy that messages call `peer`, which is to do what is `wanted`."""

    def __init__(self, protocol: str, peer: str, wanted: str, script: Reading[None]) -> None:
        self._refusal = f"{peer} refuses to {wanted}"
        super().__init__(f"{protocol} with {peer} failed", script)

    def _refused(self, why: str) -> ProtocolError:
        self._failed = self._refusal
        return ProtocolError(why)


class SocksServer(Conversation):
    """A dialogue with a client.

    request: what the client asks for, once that is known; then `grant` or `refuse` is
    called.  refused: whether it was, or the client was turned away before.  The
    refusal is still to be sent then, and the dialogue is never established.
    """

    over = False  # it wants one thing, and only then is there a tunnel
    failure = None

    def __init__(self, protocol: str, script: Reading[None]) -> None:
        self.request: Request | None = None
        self.refused = False
        self._granted = False
        super().__init__(f"{protocol} failed", script)

    def receive_end(self) -> None:
        """The client's bytes have ended.  It may still want the answer once it has asked."""
        if not self.request:
            super().receive_end()

    def late(self) -> None:
        """The client takes too long to say what it wants; there is no word for that."""

    def _settle(self) -> None:
        if self._granted:
            super()._settle()

    def _grant(self, words: bytes) -> None:
        self._granted = True
        self._say(words)

    def _refuse(self, words: bytes) -> None:
        self.refused = True
        self._say(words)

    def _turned_away(self, words: bytes, why: str) -> ProtocolError:
        self._refuse(words)
        return ProtocolError(why)

    def _or_refuse(self, words: bytes, reading: Reading[Result]) -> Reading[Result]:
        """What `reading` reads; if it finds something wrong, the client is told."""
        try:
            return (yield from reading)
        except ProtocolError as error:
            raise self._turned_away(words, str(error)) from None


# --- what is sent ---


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that `host` is; None for a name.

    One with a zone counts as a name: the zone is the proxy's, and an address has no
    room for it on the wire.
    """
    try:
        return None if "%" in host else ip_address(host)
    except ValueError:
        return None


def host_field(host: str) -> bytes:
    """A name as it is sent.  Raises UsageError."""
    try:
        check_name(host)
        name = host.encode("ascii" if host.isascii() else "idna")
    except UnicodeError:
        raise UsageError(f"host {host!r} is no host name") from None
    except ValueError as error:
        raise UsageError(f"host {host!r}: {error}") from None
    return fitting(name, "the name of the host")


def credential(text: str, what: str) -> bytes:
    """A user or a password as it is sent.  Raises UsageError, which does not show it."""
    if has_controls(text):
        raise UsageError(f"there is a control character in {what}")
    try:
        return fitting(text.encode("utf-8", "surrogateescape"), what)
    except UnicodeError:
        raise UsageError(f"{what} is no text") from None


def fitting(field: bytes, what: str) -> bytes:
    if len(field) > MOST_FIELD:
        raise UsageError(f"{what} has {len(field)} bytes; a SOCKS proxy takes {MOST_FIELD}")
    return field


def port_field(port: int) -> bytes:
    return port.to_bytes(2, "big")


# --- what is read ---


def expect(*versions: int, shown: int = 1) -> Reading[None]:
    """The byte that a message begins with; up to `shown` are told if it is another."""

    def first(received: bytearray) -> int | None:
        if received[0] in versions:
            return 1
        if len(received) < len(HTTP) and HTTP.startswith(received):
            return None  # that would be worth knowing
        return min(len(received), shown)

    piece = yield first
    if piece[0] not in versions:
        sense = HTTP_INSTEAD if piece.startswith(HTTP) else "makes no sense here"
        raise ProtocolError(f"it said {piece!r}, which {sense}")


def number(size: int) -> Reading[int]:
    return int.from_bytes((yield exactly(size)), "big")


def counted() -> Reading[bytes]:
    """A field with its length, one byte, before it."""
    size = yield from number(1)
    return (yield exactly(size)) if size else b""


def terminated() -> Reading[bytes]:
    """A field with a zero behind it."""
    field = yield until_zero
    if not field.endswith(b"\0"):
        raise ProtocolError(f"a field of its request has more than {MOST_FIELD} bytes")
    return field[:-1]


def until_zero(received: bytearray) -> int | None:
    """The first piece with its zero, or as much as shows that it is too long."""
    end = received.find(0, 0, MOST_FIELD + 1)
    if end < 0:
        return MOST_FIELD + 1 if len(received) > MOST_FIELD else None
    return end + 1


def credential_text(field: bytes, what: str) -> str:
    """A user or a password that a client sent.  Raises ProtocolError, which does not show it."""
    text = field.decode("utf-8", "surrogateescape")
    if has_controls(text):
        raise ProtocolError(f"there is a control character in {what}")
    return text


def host_text(field: bytes) -> str:
    """A name that the peer sent.  Raises ProtocolError."""
    text = field.decode("utf-8", "surrogateescape")
    if not HOST.fullmatch(text):
        raise ProtocolError(f"it names host {field!r}, which is no host")
    return text
