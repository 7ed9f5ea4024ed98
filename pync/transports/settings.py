"""The socket options that can be asked for."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from pync.errors import LocalError
from pync.options import Options, option_name
from pync.transports.sockets import reason


class Setting(NamedTuple):
    """One socket option: where it is set, and its number, or None where there is none."""

    level: int
    number: int | None


def ip_setting(v4: int | None, v6: int | None) -> dict[int, Setting]:
    return {
        socket.AF_INET: Setting(socket.IPPROTO_IP, v4),
        socket.AF_INET6: Setting(socket.IPPROTO_IPV6, v6),
    }


def socket_setting(number: int | None) -> dict[int, Setting]:
    families = ("AF_INET", "AF_INET6", "AF_UNIX")
    here = [getattr(socket, name) for name in families if hasattr(socket, name)]
    return dict.fromkeys(here, Setting(socket.SOL_SOCKET, number))


SO_DEBUG = getattr(socket, "SO_DEBUG", None)
# Numbers that Python has no names for are Linux's, and mean something else elsewhere.
LINUX = hasattr(socket, "AF_PACKET")
IP_MINTTL = 21 if LINUX else None  # ip(7)
IPV6_MINHOPCOUNT = 73 if LINUX else None  # linux/in6.h

SETTINGS: dict[str, dict[int, Setting]] = {
    "broadcast": socket_setting(socket.SO_BROADCAST),
    "recv_buffer": socket_setting(socket.SO_RCVBUF),
    "send_buffer": socket_setting(socket.SO_SNDBUF),
    "debug": socket_setting(SO_DEBUG),
    "tos": ip_setting(socket.IP_TOS, getattr(socket, "IPV6_TCLASS", None)),
    "ttl": ip_setting(socket.IP_TTL, socket.IPV6_UNICAST_HOPS),
    "min_ttl": ip_setting(IP_MINTTL, IPV6_MINHOPCOUNT),
}


def set_socket_options(sock: socket.socket, options: Options) -> None:
    """Set what was asked for.  Raises LocalError, which names the option."""
    for field, by_family in SETTINGS.items():
        value = getattr(options, field)
        if value is None or value is False:
            continue
        for family in families_of(sock):
            apply_setting(sock, by_family[family], int(value), option_name(field))


def families_of(sock: socket.socket) -> list[int]:
    """What the socket may speak: an IPv6 one may carry IPv4 as well."""
    if sock.family != socket.AF_INET6 or sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return [sock.family]
    return [socket.AF_INET6, socket.AF_INET]


def apply_setting(sock: socket.socket, setting: Setting, value: int, option: str) -> None:
    if setting.number is None:
        raise LocalError(f"{option}: this system has no such socket option")
    try:
        sock.setsockopt(setting.level, setting.number, value)
    except OSError as error:
        raise LocalError(f"{option} cannot be set: {reason(error)}") from None


def set_keepalive(sock: socket.socket, interval: float) -> None:
    """Probe after `interval` seconds of silence, and then every `interval` seconds."""
    seconds = max(1, round(interval))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL"):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


UNSENT = 1 << 18  # bytes


def keep_little_unsent(sock: socket.socket) -> None:
    """Let the kernel take no more than the peer is soon to have (tcp(7), TCP_NOTSENT_LOWAT).

    Otherwise megabytes may wait there for a peer that takes nothing, and one that takes
    little is long not seen to do so.
    """
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


TCP_MD5SIG_EXT = 32  # linux/tcp.h; with a prefix of 0 bits it holds for every peer
TCP_MD5SIG_FLAG_PREFIX = 1
MAPPED_PREFIX = bytes(10) + b"\xff\xff" + bytes(4)  # ::ffff:0.0.0.0


def set_md5_key(sock: socket.socket, key: bytes) -> None:
    """Sign and check each segment with `key` (RFC 2385), whoever the peer is.

    struct tcp_md5sig of linux/tcp.h.  Raises LocalError.
    """
    if not LINUX:
        raise LocalError("--md5sig is for Linux")
    addresses = [struct.pack("=H126x", sock.family)]
    if sock.family == socket.AF_INET6:  # the keys of IPv4 peers are kept apart
        addresses.append(struct.pack("=HHI16s104x", sock.family, 0, 0, MAPPED_PREFIX))
    for address in addresses:
        set_md5_record(sock, address, key)


def set_md5_record(sock: socket.socket, address: bytes, key: bytes) -> None:
    record = address + struct.pack("=BBHi80s", TCP_MD5SIG_FLAG_PREFIX, 0, len(key), 0, key)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG_EXT, record)
    except OSError as error:
        raise LocalError(f"--md5sig cannot be set: {reason(error)}") from None
