"""What was asked for: Options, how each value is read, and what goes with what."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pync.address import check_name, check_port
from pync.errors import UsageError


class Options(NamedTuple):
    """The command line as values.  Times are seconds, sizes bytes.

    host and port are the remote end when connecting and the local one when
    listening; with unixsock, path takes their place.  source and source_port
    are the local end of an outgoing connection.
    """

    host: str | None = None
    port: str | None = None
    path: str | None = None

    ipv4: bool = False
    ipv6: bool = False
    listen: bool = False
    keep_open: bool = False
    udp: bool = False
    unixsock: bool = False
    nodns: bool = False
    source_port: str | None = None
    source: str | None = None
    zero: bool = False

    no_stdin: bool = False
    half_close: bool = False
    no_shutdown: bool = False
    quit: float | None = None
    timeout: float | None = None
    wait: float | None = None
    idle_timeout: float | None = None
    linger: float = 2.0
    recv_limit: int | None = None
    recv_only: bool = False
    send_only: bool = False

    interval: float | None = None
    crlf: bool = False
    telnet: bool = False
    safe_tty: bool = False
    fd_pass: bool = False

    broadcast: bool = False
    recv_buffer: int | None = None
    send_buffer: int | None = None
    tos: int | None = None
    ttl: int | None = None
    min_ttl: int | None = None
    debug: bool = False
    md5sig: bool = False
    md5_key: bytes = b""
    tcp_keepalive: float | None = None

    ssl: bool = False
    ssl_verify: bool = False
    ssl_insecure: bool = False
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_trustfile: str | None = None
    ssl_ciphers: str | None = None
    ssl_servername: str | None = None
    ssl_alpn: tuple[str, ...] = ()
    ssl_fingerprint: str | None = None
    ssl_client_ca: str | None = None
    starttls: str | None = None

    verbose: int = 0

    @property
    def reads_stdin(self) -> bool:
        return not (self.no_stdin or self.recv_only)

    @property
    def connect_limit(self) -> float | None:
        """Seconds that opening a connection may take, all in all."""
        return self.timeout if self.wait is None else self.wait

    @property
    def quit_after(self) -> float | None:
        """Seconds from stdin's end to ours; None: when the peer ends."""
        return None if self.waits_for_ever else self.quit

    @property
    def waits_for_ever(self) -> bool:
        return self.quit == -1

    @property
    def sends_end(self) -> bool:
        """Whether the peer is told that stdin has ended."""
        return not (self.no_shutdown or self.waits_for_ever)


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


def read_text(text: str) -> str:
    if not text:
        raise ValueError("empty")
    return text


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


READERS: Mapping[str, Callable[[str], Any]] = {
    "source_port": read_port,
    "source": read_text,
    "quit": read_quit,
    "timeout": read_pause,
    "wait": read_pause,
    "idle_timeout": read_pause,
    "linger": read_time,
    "interval": read_time,
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
}

# What makes no sense without TLS asks for it, as with ncat.
IMPLIES = (
    *((field, "ssl") for field in Options._fields if field.startswith("ssl_")),
    ("starttls", "ssl"),
)

NEEDS = (
    ("keep_open", "listen"),
    ("ssl_key", "ssl_cert"),
    ("ssl_client_ca", "listen"),
)

EXCLUDES = (
    ("ipv4", "ipv6"),
    ("ipv4", "unixsock"),
    ("ipv6", "unixsock"),
    ("half_close", "no_shutdown"),
    ("recv_only", "send_only"),
    ("no_stdin", "send_only"),
    ("zero", "listen"),
    ("zero", "fd_pass"),
    ("keep_open", "fd_pass"),
    ("unixsock", "md5sig"),
    ("unixsock", "tcp_keepalive"),
    ("unixsock", "tos"),
    ("unixsock", "ttl"),
    ("unixsock", "min_ttl"),
    ("unixsock", "source_port"),
    ("udp", "md5sig"),
    ("udp", "tcp_keepalive"),
    ("udp", "telnet"),
    ("udp", "ssl"),
    ("fd_pass", "ssl"),
    ("listen", "starttls"),
    ("listen", "ssl_servername"),
    ("listen", "ssl_trustfile"),
    ("listen", "ssl_insecure"),
    ("ssl_insecure", "ssl_verify"),
    ("ssl_insecure", "ssl_trustfile"),
    ("ssl_insecure", "ssl_fingerprint"),
    ("ssl_fingerprint", "ssl_trustfile"),
    ("ssl_fingerprint", "ssl_client_ca"),
)

# What other netcats have and pync does not, each with the way out.
REFUSED = {
    "-V": "there are no routing tables to choose from on Linux; use `ip netns exec`",
    "-Z": "DCCP has left the kernel; use -u for datagrams",
    "-g": "kernels drop source-routed packets; use a proxy or a tunnel",
    "-G": "kernels drop source-routed packets; use a proxy or a tunnel",
    "--lua-exec": "there is no Lua in pync; write the program and pipe it",
    "--sctp": "Python has no SCTP streams; use TCP, or -u for datagrams",
}


def option_name(field: str) -> str:
    return "--" + field.replace("_", "-")


def read_options(given: Mapping[str, Any], addresses: list[str]) -> Options:
    """Options from `given` and the bare arguments.

    given: by field name, the text of each option that was given, or True.

    Raises UsageError, which names the option, for a value that cannot be read,
    an option that lacks another, and two that exclude each other.
    """
    values = {field: read_value(field, value) for field, value in given.items()}
    for field, other in IMPLIES:
        if field in values:
            values[other] = True
    for field, other in NEEDS:
        if field in values and other not in values:
            raise UsageError(f"{option_name(field)} needs {option_name(other)}")
    for field, other in EXCLUDES:
        if field in values and other in values:
            raise UsageError(f"{option_name(field)} and {option_name(other)} exclude each other")
    return place(Options(**values), addresses)


def read_value(field: str, value: Any) -> Any:
    reader = READERS.get(field)
    if reader is None:
        return value
    try:
        return reader(value)
    except ValueError as error:
        raise UsageError(f"{option_name(field)}: {value!r} is {error}") from None


def place(options: Options, addresses: list[str]) -> Options:
    """Put the bare arguments where they belong."""
    for address in addresses:
        checked(check_name, "address", address)
    if options.unixsock:
        if options.listen and options.source:
            raise UsageError("--source: a unix listener is where its path is")
        return options._replace(path=only_path(addresses))
    if options.listen:
        return place_listener(options, addresses)
    if len(addresses) != 2:
        raise UsageError(f"HOST and PORT are needed, not {told(addresses)}; see pync --help")
    host, port = addresses
    return options._replace(host=host, port=checked(check_port, "port", port))


def only_path(addresses: list[str]) -> str:
    if len(addresses) != 1:
        raise UsageError(f"--unixsock needs one path, not {told(addresses)}")
    return addresses[0]


def place_listener(options: Options, addresses: list[str]) -> Options:
    """`-l [HOST] PORT`, `-l -p PORT [HOST]` and `-l -s ADDR -p PORT`."""
    hosts = [*addresses]
    port = options.source_port or (hosts.pop() if hosts else None)
    hosts += [options.source] if options.source else []
    if port is None:
        raise UsageError("--listen needs a port, as in: pync -l 2389")
    if len(hosts) > 1 or any(host.isdigit() for host in hosts):
        raise UsageError("--listen takes one host and one port, as in: pync -l localhost 2389")
    return options._replace(
        host=hosts[0] if hosts else None,
        port=checked(check_port, "port", port, 0),
        source=None,
        source_port=None,
    )


def checked(check: Callable[..., None], what: str, text: str, *arguments: int) -> str:
    try:
        check(text, *arguments)
    except ValueError as error:
        raise UsageError(f"{what} {text!r} is {error}") from None
    return text


def told(addresses: list[str]) -> str:
    return " ".join(map(repr, addresses)) or "nothing"
