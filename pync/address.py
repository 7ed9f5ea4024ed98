"""Names of hosts, ports and paths: what may stand in one, and how one is shown."""

from __future__ import annotations

import re

CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}  # C0, DEL, C1

SERVICE_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+([-.+_*/][a-z0-9]+)*", re.ASCII | re.IGNORECASE)

PORT_RANGE = re.compile(r"\d{1,5}|\d{1,5}-(?:\d{1,5})?|-\d{1,5}", re.ASCII)

HOST_PORT = re.compile(
    r"(\[(?P<number>[0-9a-f:.]*:[0-9a-f:.]*(%[^]/@]+)?)\]|(?P<name>[^][:/@%?#\s]+))(:(?P<port>[^:]+))?"
    r"|(?P<literal>[0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*(%[^]/@]+)?)",
    re.IGNORECASE,
)


def printable(text: str) -> str:
    """`text` with all that is not seen as what it is written as \\xNN or \\uNNNN.

    Whatever a peer or an argument controls goes through here on its way to a
    person, so that it cannot move the cursor, forge a line, or turn one around.
    """
    return "".join(char if char.isprintable() else escape(ord(char)) for char in text)


def escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def is_one_port(text: str) -> bool:
    """Whether `text` means one port, if it means anything, and no range or list."""
    return not ("," in text or (text.strip("0123456789-") == "" and "-" in text))


def port_range(text: str) -> range:
    """The ports of `80`, `20-25`, `1-` or `-1024`.  Raises ValueError."""
    low, dash, high = text.partition("-")
    if PORT_RANGE.fullmatch(text):
        first = int(low or 1)
        last = int(high or 65535) if dash else first
        if 1 <= first <= last <= 65535:
            return range(first, last + 1)
    raise ValueError("not a port from 1 to 65535, nor a range such as 20-25, 1- or -1024")


def has_controls(text: str) -> bool:
    return text != text.translate(CONTROLS)


def check_name(text: str) -> None:
    """Raise ValueError for a host or path that is empty or holds a control character."""
    if not text:
        raise ValueError("empty")
    if has_controls(text):
        raise ValueError("not a name: there is a control character in it")


def split_host_port(text: str) -> tuple[str, str]:
    """The two of `host:port`; the port is "" where there is none.

    An IPv6 address with a port stands in brackets.  Raises ValueError for what is
    neither; what stands in for a host or a port is not looked at.
    """
    match = HOST_PORT.fullmatch(text)
    if not match:
        raise ValueError("not a host with or without a port, such as host:80 or [::1]:80")
    return match["number"] or match["literal"] or match["name"], match["port"] or ""


def check_port(text: str, lowest: int = 1) -> None:
    """Raise ValueError unless `text` is a port's number or could be a service's name."""
    if text.isascii() and text.isdigit():
        if len(text) > 5 or not lowest <= int(text) <= 65535:
            raise ValueError(f"not a port from {lowest} to 65535")
    elif not SERVICE_NAME.fullmatch(text):
        raise ValueError("neither a port number nor the name of a service")
