"""SOCKS conversations as they should go, in either role.

Messages are written as hex digits, spaced by field, with names as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pync.stage import Dialogue
from pync.wire.socks import Command, Request
from pync.wire.socks4 import Socks4, Socks4Server
from pync.wire.socks5 import Socks5, Socks5Server

PROXY = "proxy 127.0.0.1 port 1080"
SECRET = "pass\udcffwörd"  # as an argument that is not UTF-8 comes
SECRET_BYTES = b"pass\xffw\xc3\xb6rd"
LONGEST = "a" * 255
PAYLOAD = b"\x05\x00payload\x00"
EVERYTHING = 1 << 20

Client = Socks4 | Socks5
Server = Socks4Server | Socks5Server


def message(*parts: str | bytes) -> bytes:
    return b"".join(part if isinstance(part, bytes) else bytes.fromhex(part) for part in parts)


def is_bob(user: str, password: str) -> bool:
    return (user, password) == ("bob", SECRET)


def feed(dialogue: Dialogue, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        dialogue.receive(data[start : start + size])


def say(dialogue: Dialogue, size: int = EVERYTHING) -> bytes:
    return b"".join(iter(lambda: dialogue.data_to_send(size), b""))


# --- the client's part ---


class Asking(NamedTuple):
    """A conversation, in turns of what the client says and what the proxy then says."""

    client: Callable[[], Client]
    turns: list[tuple[bytes, bytes]]


def socks4(host: str, port: int, user: str = "") -> Callable[[], Socks4]:
    return lambda: Socks4(PROXY, host, port, user)


def socks5(host: str, port: int, user: str | None = None) -> Callable[[], Socks5]:
    return lambda: Socks5(PROXY, host, port, user, SECRET)


def relay() -> Socks5:
    return Socks5(PROXY, "0.0.0.0", 0, command=Command.UDP_ASSOCIATE)


GRANTED_4 = message("00 5a 0000 00000000")
GRANTED_5 = message("05 00 00 01 00000000 0000")
OPEN_DOOR = (message("05 01 00"), message("05 00"))
ASKED_FOR_PROOF = (message("05 02 00 02"), message("05 02"))
PROOF = message("01 03", b"bob", "0a", SECRET_BYTES)
CONNECT = message("05 01 00 03 04", b"host", "0050")

ASKING = {
    "4, an address": Asking(socks4("127.0.0.1", 80), [
        (message("04 01 0050 7f000001 00"), GRANTED_4),
    ]),
    "4, a user and an answer with a place in it": Asking(socks4("10.0.0.1", 65535, "bob"), [
        (message("04 01 ffff 0a000001", b"bob\0"), message("00 5a 1f90 c0a80001")),
    ]),
    "4a, a name": Asking(socks4("host", 80, "bob"), [
        (message("04 01 0050 00000001", b"bob\0", b"host\0"), GRANTED_4),
    ]),
    "4a, an address that would say that a name follows": Asking(socks4("0.0.0.5", 80), [
        (message("04 01 0050 00000001 00", b"0.0.0.5\0"), GRANTED_4),
    ]),
    "4, the address of all zeros": Asking(socks4("0.0.0.0", 80), [
        (message("04 01 0050 00000000 00"), GRANTED_4),
    ]),
    "5, a name": Asking(socks5("host", 80), [OPEN_DOOR, (CONNECT, GRANTED_5)]),
    "5, an IPv4 address": Asking(socks5("127.0.0.1", 443), [
        OPEN_DOOR,
        (message("05 01 00 01 7f000001 01bb"), message("05 00 00 01 0a000001 1f90")),
    ]),
    "5, an IPv6 address and bound to one": Asking(socks5("::1", 80), [
        OPEN_DOOR,
        (message("05 01 00 04", bytes(15), "01 0050"),
         message("05 00 00 04 20010db8", bytes(11), "01 1f90")),
    ]),
    "5, bound to a name": Asking(socks5("host", 80), [
        OPEN_DOOR,
        (CONNECT, message("05 00 00 03 05", b"proxy", "1f90")),
    ]),
    "5, the longest names": Asking(socks5(LONGEST, 80), [
        OPEN_DOOR,
        (message("05 01 00 03 ff", LONGEST.encode(), "0050"),
         message("05 00 00 03 ff", LONGEST.encode(), "1f90")),
    ]),
    "5, a name that is not ASCII": Asking(socks5("bücher.example", 80), [
        OPEN_DOOR,
        (message("05 01 00 03 15", b"xn--bcher-kva.example", "0050"), GRANTED_5),
    ]),
    "5, a zone, which only the proxy may know": Asking(socks5("fe80::1%eth0", 80), [
        OPEN_DOOR,
        (message("05 01 00 03 0c", b"fe80::1%eth0", "0050"), GRANTED_5),
    ]),
    "5, with a password": Asking(socks5("host", 80, "bob"), [
        ASKED_FOR_PROOF,
        (PROOF, message("01 00")),
        (CONNECT, GRANTED_5),
    ]),
    "5, with a password, answered with another version": Asking(socks5("host", 80, "bob"), [
        ASKED_FOR_PROOF,
        (PROOF, message("05 00")),
        (CONNECT, GRANTED_5),
    ]),
    "5, with a password that nobody wants": Asking(socks5("host", 80, "bob"), [
        (message("05 02 00 02"), message("05 00")),
        (CONNECT, GRANTED_5),
    ]),
    "5, with a user and an empty password": Asking(lambda: Socks5(PROXY, "host", 80, "bob"), [
        ASKED_FOR_PROOF,
        (message("01 03", b"bob", "00"), message("01 00")),
        (CONNECT, GRANTED_5),
    ]),
    "5, reserved bytes in use": Asking(socks5("host", 80), [
        OPEN_DOOR,
        (CONNECT, message("05 00 77 01 00000000 0000")),
    ]),
    "5, a relay of datagrams": Asking(relay, [
        OPEN_DOOR,
        (message("05 03 00 01 00000000 0000"), message("05 00 00 01 7f000001 1f90")),
    ]),
}  # fmt: skip

# --- the server's part ---


class Asked(NamedTuple):
    """A conversation, in turns of what the client says and what the server then says."""

    server: Callable[[], Server]
    turns: list[tuple[bytes, bytes]]
    request: Request
    bound: tuple[str, int]
    answer: bytes


def server4() -> Socks4Server:
    return Socks4Server()


def server5() -> Socks5Server:
    return Socks5Server()


def guarded5() -> Socks5Server:
    return Socks5Server(is_bob)


def connect_to(host: str, port: int, user: str = "") -> Request:
    return Request(Command.CONNECT, host, port, user)


ASKED = {
    "4, an address": Asked(
        server4,
        [(message("04 01 0050 7f000001 00"), b"")],
        connect_to("127.0.0.1", 80),
        ("127.0.0.1", 8080),
        message("00 5a 1f90 7f000001"),
    ),
    "4, bound to IPv6, which it cannot say": Asked(
        server4,
        [(message("04 01 0050 7f000001", b"bob\0"), b"")],
        connect_to("127.0.0.1", 80, "bob"),
        ("::1", 8080),
        message("00 5a 1f90 00000000"),
    ),
    "4a, the longest name": Asked(
        server4,
        [(message("04 01 ffff 000000ff", b"b\xc3\xb6b\xff\0", LONGEST.encode(), "00"), b"")],
        connect_to(LONGEST, 65535, "böb\udcff"),
        ("0.0.0.0", 0),
        GRANTED_4,
    ),
    "5, a name": Asked(
        server5, [OPEN_DOOR, (CONNECT, b"")], connect_to("host", 80), ("0.0.0.0", 0), GRANTED_5
    ),
    "5, the longest name and many methods": Asked(
        server5,
        [
            (message("05 ff", bytes(range(255))), message("05 00")),
            (message("05 01 00 03 ff", LONGEST.encode(), "0050"), b""),
        ],
        connect_to(LONGEST, 80),
        ("fe80::1%eth0", 8080),
        message("05 00 00 04 fe80", bytes(13), "01 1f90"),
    ),
    "5, an IPv6 address": Asked(
        server5,
        [OPEN_DOOR, (message("05 01 00 04", bytes(15), "01 0050"), b"")],
        connect_to("::1", 80),
        ("::1", 8080),
        message("05 00 00 04", bytes(15), "01 1f90"),
    ),
    "5, with a password": Asked(
        guarded5,
        [ASKED_FOR_PROOF, (PROOF, message("01 00")), (CONNECT, b"")],
        connect_to("host", 80, "bob"),
        ("10.0.0.1", 8080),
        message("05 00 00 01 0a000001 1f90"),
    ),
    "5, with an empty user and password": Asked(
        lambda: Socks5Server(lambda user, password: not user and not password),
        [(message("05 01 02"), message("05 02")), (message("01 00 00"), message("01 00")),
         (CONNECT, b"")],
        connect_to("host", 80),
        ("0.0.0.0", 0),
        GRANTED_5,
    ),
    "5, a relay of datagrams": Asked(
        server5,
        [OPEN_DOOR, (message("05 03 00 01 00000000 0000"), b"")],
        Request(Command.UDP_ASSOCIATE, "0.0.0.0", 0, ""),
        ("127.0.0.1", 8080),
        message("05 00 00 01 7f000001 1f90"),
    ),
}  # fmt: skip
