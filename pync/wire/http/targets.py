"""What a request to a proxy asks for: RFC 9112 section 3.2, the authority and the absolute form.

RFC 3986 lets more stand in a name than any host has in its own; what is not a
letter, a digit, a hyphen, a dot or an underscore is refused here, both ways.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pync.errors import UsageError

NUMBER = rb"\[(?P<number>[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)\]"
HOST = rb"(?:%b|(?P<name>[0-9A-Za-z._-]+))" % NUMBER
AUTHORITY = re.compile(HOST + rb":(?P<port>[0-9]{1,5})")
ABSOLUTE = re.compile(rb"(?i:http)://" + HOST + rb"(?::(?P<port>[0-9]{0,5}))?(?P<path>[/?][^#]*)?")
HTTP_PORT = 80


class Target(NamedTuple):
    """path: with the query; empty if there is none."""

    host: str
    port: int
    path: bytes


def authority(host: str, port: int) -> bytes:
    """`host:port`, as CONNECT asks for it.  Raises UsageError for what is no host."""
    try:
        text = b"%b:%d" % (bracketed(host.encode("ascii" if host.isascii() else "idna")), port)
        parse_authority(text)
    except ValueError:
        words = f"{host!r} port {port} is nothing that an HTTP proxy can be asked for"
        raise UsageError(words) from None
    return text


def bracketed(name: bytes) -> bytes:
    return b"[%b]" % name if b":" in name else name


def host_field(target: Target) -> bytes:
    """What Host says of it (RFC 9110 section 7.2)."""
    name = bracketed(target.host.encode())
    return name if target.port == HTTP_PORT else b"%b:%d" % (name, target.port)


def parse_authority(text: bytes) -> Target:
    """The target of CONNECT.  Raises ValueError."""
    return found(AUTHORITY.fullmatch(text), "CONNECT wants host:port")


def parse_absolute(text: bytes) -> Target:
    """The target of any other request to a proxy.  Raises ValueError."""
    return found(ABSOLUTE.fullmatch(text), "a proxy wants http://host/path")


def found(match: re.Match[bytes] | None, wanted: str) -> Target:
    if not match:
        raise ValueError(wanted)
    parts = match.groupdict(b"")
    port = int(parts["port"] or HTTP_PORT)
    if not 1 <= port <= 65535:
        raise ValueError("no such port")
    return Target((parts["number"] or parts["name"]).decode(), port, parts.get("path", b""))
