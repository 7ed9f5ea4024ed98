"""What the text of an option's value means: a time, a size, a name.

A reader raises ValueError with words that go behind "... is".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pync.address import check_name, check_port, has_controls, split_host_port

UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

# A year of seconds and the kernel's int: beyond them a value is a mistake.
MAX_TIME = 366 * 24 * 3600.0
MAX_INT = (1 << 31) - 1
MAX_PROTOCOLS = 65_000  # bytes of ALPN, which tells their length in two
MAX_KEEPALIVE = 32767  # Linux, in net/tcp.h

# Debian's nc, RFC 2474 and 8622's names, and netcat-traditional's four.
TOS_NAMES = {
    "critical": 0xA0, "inetcontrol": 0xC0, "netcontrol": 0xE0,
    "lowdelay": 0x10, "throughput": 0x08, "reliability": 0x04, "lowcost": 0x02,
    "minimize-delay": 0x10, "maximize-throughput": 0x08,
    "maximize-reliability": 0x04, "minimize-cost": 0x02,
    "ef": 0xB8, "va": 0xB0, "le": 0x04,
    **{f"cs{n}": n << 5 for n in range(8)},
    **{f"af{n}{m}": (n << 5) | (m << 3) for n in range(1, 5) for m in range(1, 4)},
}  # fmt: skip

# What --proxy-type, and the scheme of a proxy's URL, mean.
PROXY_KINDS = {name: name for name in ("http", "https", "socks4", "socks4a", "socks5")}
PROXY_TYPES = {"4": "socks4", "4a": "socks4a", "5": "socks5", "connect": "http", **PROXY_KINDS}
PROXY_SCHEMES = {**PROXY_KINDS, "socks5h": "socks5", "socks": "socks5"}
PROXY_DNS = {name: name for name in ("remote", "local", "both", "none")}
POLICIES = {name: name for name in ("all", "first", "each")}
PROXY_URL = re.compile(r"((?P<scheme>[^:/@]*)://)?((?P<login>.*)@)?(?P<place>[^/@]*)/?", re.DOTALL)


class Login(NamedTuple):
    """Who we are to a proxy, or who its clients have to be.

    password: None if it was not given along.
    """

    user: str
    password: str | None

    def __repr__(self) -> str:
        return f"Login({self.user!r}, ...)"


class Proxy(NamedTuple):
    """kind: one of PROXY_KINDS; kind and port are None if the text did not say."""

    kind: str | None
    host: str
    port: int | None
    login: Login | None = None


class Target(NamedTuple):
    """Where a relay leads: to a host's port, in TLS with ssl, or to a unix socket."""

    host: str | None = None
    port: str | None = None
    path: str | None = None
    ssl: bool = False

    def __str__(self) -> str:
        return self.path or f"{self.host} port {self.port}"


def read_time(text: str) -> float:
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)(ms|s|m|h|)", text, re.ASCII)
    if not match or (seconds := float(match[1]) * UNITS[match[2]]) > MAX_TIME:
        raise ValueError("not a time such as 1.5, 500ms, 2s, 1m or 1h")
    return seconds


def read_quit(text: str) -> float:
    return -1 if text == "-1" else read_time(text)


def read_pause(text: str) -> float:
    seconds = read_time(text)
    if seconds <= 0:
        raise ValueError("not a time above zero")
    return seconds


def read_count(text: str) -> int:
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or not 1 <= int(text) <= MAX_INT:
        raise ValueError("not a whole number above zero")
    return int(text)


def read_tries(text: str) -> int:
    return 0 if text == "0" else read_count(text)


def read_descriptor(text: str) -> int:
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or int(text) > MAX_INT:
        raise ValueError("not the number of a descriptor")
    return int(text)


def read_size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,10})([kmg]?)", text.lower(), re.ASCII)
    if not match or not 1 <= (size := int(match[1]) * SIZES[match[2]]) <= MAX_INT:
        raise ValueError("not a size such as 4096, 64k or 1M")
    return size


def read_tos(text: str) -> int:
    name = text.lower()
    if name in TOS_NAMES:
        return TOS_NAMES[name]
    if re.fullmatch(r"0x[0-9a-f]{1,2}|\d{1,3}", name, re.ASCII) and int(name, 0) <= 255:
        return int(name, 0)
    raise ValueError("not a keyword such as ef, af11 or lowdelay, nor a number up to 255")


def read_ttl(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text, re.ASCII) or not 1 <= int(text) <= 255:
        raise ValueError("not a number from 1 to 255")
    return int(text)


def read_keepalive(text: str) -> float:
    seconds = read_pause(text)
    if seconds > MAX_KEEPALIVE:
        raise ValueError(f"not a time that the kernel takes, {MAX_KEEPALIVE} seconds at most")
    return seconds


def read_mode(text: str) -> int:
    if not re.fullmatch("[0-7]{1,4}", text, re.ASCII) or int(text, 8) > 0o777:
        raise ValueError("not permissions in octal, such as 0600 or 660")
    return int(text, 8)


def read_text(text: str) -> str:
    if not text:
        raise ValueError("empty")
    return text


def read_command(text: str) -> tuple[str, ...]:
    """A program and its arguments, quoted as for a shell."""
    import shlex

    try:
        words = tuple(shlex.split(text))
    except ValueError:
        raise ValueError("not a command: a quotation in it does not end") from None
    if not words or not words[0]:
        raise ValueError("not a command: there is no program in it")
    return words


def read_shell_line(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", read_text(text))


def read_list(text: str) -> tuple[str, ...]:
    entries = tuple(entry.strip() for entry in text.split(","))
    if not all(entries):
        raise ValueError("not a list such as 10.0.0.0/8,localhost")
    return entries


def read_server_name(text: str) -> str:
    check_name(text)
    try:
        text.encode("idna")
    except UnicodeError:
        raise ValueError("not the name of a host") from None
    return text


def read_protocols(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    well = all(name and name.isascii() and len(name) < 256 for name in names)
    if not well or len(text) > MAX_PROTOCOLS:
        raise ValueError("not a list such as h2,http/1.1")
    return names


def read_fingerprint(text: str) -> str:
    digits = text.lower().removeprefix("sha256:").replace(":", "")
    if not text.lower().startswith("sha256:") or not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError("not sha256: and 64 hexadecimal digits")
    return f"sha256:{digits}"


def read_port(text: str) -> str:
    check_port(text, lowest=0)
    return text


def read_proxies(texts: Sequence[str]) -> tuple[Proxy, ...]:
    return tuple(map(read_proxy, texts))


def read_proxy(text: str) -> Proxy:
    """`host`, `host:port`, or `scheme://user:password@host:port`.

    As with any ValueError for what may hold a password, the words do not show it.
    """
    match = PROXY_URL.fullmatch(text)
    if not match:
        raise ValueError("not a proxy: it ends behind the port")
    scheme, login = match["scheme"], match["login"]
    if scheme is not None and scheme.lower() not in PROXY_SCHEMES:
        raise ValueError("not a proxy: in front of :// stands one of " + ", ".join(PROXY_SCHEMES))
    host, port = split_host_port(match["place"])
    check_name(host)
    return Proxy(
        None if scheme is None else PROXY_SCHEMES[scheme.lower()],
        host,
        port_above_zero(port) if port else None,
        None if login is None else read_url_login(login),
    )


def port_above_zero(text: str) -> int:
    if not text.isdigit():
        raise ValueError("not a proxy: its port is no number")
    check_port(text)
    return int(text)


def read_url_login(text: str) -> Login:
    from urllib.parse import unquote

    return read_login(text, lambda part: unquote(part, errors="surrogateescape"))


def read_login(text: str, decode: Callable[[str], str] = str) -> Login:
    user, colon, password = text.partition(":")
    if not user:
        raise ValueError("not USER:PASS: there is no user")
    login = Login(decode(user), decode(password) if colon else None)
    if has_controls("".join(map(str, login))):
        raise ValueError("not USER:PASS: there is a control character in it")
    return login


def read_choice(text: str, choices: Mapping[str, str]) -> str:
    try:
        return choices[text.lower()]
    except KeyError:
        raise ValueError("not one of " + ", ".join(choices)) from None


def read_relay(text: str) -> Target:
    """`host:port`, `ssl://host:port`, `unix:/path` or `unix:@name`."""
    scheme, _, path = text.partition(":")
    if scheme.lower() == "unix":
        check_name(path)
        return Target(path=path)
    scheme, separator, place = text.rpartition("://")
    host, port = split_host_port(place)
    if not port or (separator and scheme.lower() != "ssl"):
        raise ValueError("not a target such as host:80, ssl://host:443 or unix:/run/socket")
    check_name(host)
    check_port(port)
    return Target(host, port, ssl=bool(separator))


def read_proxy_protocol(text: str) -> int:
    versions = {"1": "1", "v1": "1", "2": "2", "v2": "2"}
    return int(read_choice(text, versions))


def read_proxy_type(text: str) -> str:
    return read_choice(text, PROXY_TYPES)


def read_proxy_dns(text: str) -> str:
    return read_choice(text, PROXY_DNS)


def read_policy(text: str) -> str:
    return read_choice(text, POLICIES)


READERS: Mapping[str, Callable[[str], Any]] = {
    "source_port": read_port,
    "source": read_text,
    "mode": read_mode,
    "allow": read_list,
    "allowfile": read_text,
    "deny": read_list,
    "denyfile": read_text,
    "exec": read_command,
    "sh_exec": read_shell_line,
    "fd": read_descriptor,
    "port_file": read_text,
    "retry": read_tries,
    "retry_delay": read_time,
    "quit": read_quit,
    "timeout": read_pause,
    "wait": read_pause,
    "idle_timeout": read_pause,
    "linger": read_time,
    "stdin": read_policy,
    "outbox": read_size,
    "max_conns": read_count,
    "interval": read_time,
    "parallel": read_count,
    "hosts_from": read_text,
    "wait_open": read_pause,
    "recv_limit": read_count,
    "recv_buffer": read_size,
    "send_buffer": read_size,
    "tos": read_tos,
    "ttl": read_ttl,
    "min_ttl": read_ttl,
    "tcp_keepalive": read_keepalive,
    "ssl_cert": read_text,
    "ssl_key": read_text,
    "ssl_trustfile": read_text,
    "ssl_client_ca": read_text,
    "ssl_ciphers": read_text,
    "starttls": read_text,
    "ssl_servername": read_server_name,
    "ssl_alpn": read_protocols,
    "ssl_fingerprint": read_fingerprint,
    "via": read_proxies,
    "proxy": read_proxies,
    "proxy_type": read_proxy_type,
    "proxy_user": read_text,
    "proxy_auth": read_login,
    "proxy_dns": read_proxy_dns,
    "proxy_allow": tuple,
    "relay": read_relay,
    "proxy_protocol": read_proxy_protocol,
}
