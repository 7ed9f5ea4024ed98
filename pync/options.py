"""What was asked for: Options, and what goes with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pync.address import check_name, check_port, is_one_port
from pync.errors import UsageError
from pync.values import READERS, Login, Proxy, Target


class Options(NamedTuple):
    """The command line as values.  Times are seconds, sizes bytes.

    host and port are the remote end when connecting and the local one when
    listening; with unixsock, path takes their place.  Who scans has ports for port:
    names, numbers and ranges, and maybe a network for host.  source and source_port
    are the local end of an outgoing connection.
    """

    host: str | None = None
    port: str | None = None
    ports: tuple[str, ...] = ()
    path: str | None = None

    ipv4: bool = False
    ipv6: bool = False
    listen: bool = False
    keep_open: bool = False
    broker: bool = False
    chat: bool = False
    udp: bool = False
    unixsock: bool = False
    nodns: bool = False
    source_port: str | None = None
    source: str | None = None
    zero: bool = False
    retry: int | None = None
    retry_delay: float = 1.0
    reconnect: bool = False
    mode: int | None = None
    random: bool = False
    parallel: int | None = None
    banner: bool = False
    json: bool = False
    hosts_from: str | None = None
    wait_open: float | None = None
    allow: tuple[str, ...] = ()
    allowfile: str | None = None
    deny: tuple[str, ...] = ()
    denyfile: str | None = None
    fd: int | None = None
    port_file: str | None = None

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
    stdin: str = "all"
    outbox: int = 1 << 20
    label: bool = False
    max_conns: int | None = None

    interval: float | None = None
    crlf: bool = False
    telnet: bool = False
    safe_tty: bool = False
    fd_pass: bool = False

    exec: tuple[str, ...] = ()
    sh_exec: tuple[str, ...] = ()
    pty: bool = False
    exec_stderr: bool = False

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

    via: tuple[Proxy, ...] = ()
    proxy: tuple[Proxy, ...] = ()
    proxy_type: str | None = None
    proxy_user: str | None = None
    proxy_auth: Login | None = None
    proxy_dns: str = "remote"
    proxy_allow: tuple[str, ...] = ()

    relay: Target | None = None
    proxy_protocol: int | None = None

    verbose: int = 0

    @property
    def login(self) -> Login | None:
        """Who we are to proxies, or who clients of ours have to be."""
        user = self.proxy_user
        return self.proxy_auth or (Login(user, None) if user else None)

    @property
    def command(self) -> tuple[str, ...]:
        """A program that runs on each connection, and its arguments."""
        return self.exec or self.sh_exec

    @property
    def open_to_all(self) -> bool:
        """Of a listener: nothing says who may connect, nor from where."""
        places = self.host or self.unixsock or self.fd is not None
        rules = self.allow or self.allowfile or self.ssl_client_ca or self.ssl_fingerprint
        return not (places or rules)

    @property
    def dials_again(self) -> bool:
        return self.reconnect or self.retry is not None

    @property
    def reads_stdin(self) -> bool:
        return not (self.no_stdin or self.recv_only or self.fd == 0)

    @property
    def most_clients(self) -> float:
        return float("inf") if self.max_conns is None else self.max_conns

    @property
    def connect_limit(self) -> float | None:
        """Seconds that opening a connection may take, all in all."""
        return self.timeout if self.wait is None else self.wait

    @property
    def quit_after(self) -> float | None:
        """Seconds from stdin's end to ours; None: when the peer ends."""
        return None if self.waits_for_ever else self.quit

    @property
    def restricts(self) -> bool:
        """Whether there are rules of who may connect."""
        return any(getattr(self, field) for field in ACCESS)

    @property
    def waits_for_ever(self) -> bool:
        return self.quit == -1

    @property
    def sends_end(self) -> bool:
        """Whether the peer is told that stdin has ended."""
        return not (self.no_shutdown or self.waits_for_ever)


# What makes no sense without TLS asks for it, as with ncat.
IMPLIES = (
    *((field, "ssl") for field in Options._fields if field.startswith("ssl_")),
    ("starttls", "ssl"),
    ("chat", "broker"),
    ("broker", "keep_open"),
)

# Whom to take for the server: of a relay, that concerns the target, and not its clients.
OF_A_SERVER = ("ssl_verify", "ssl_insecure", "ssl_trustfile", "ssl_fingerprint", "ssl_servername")

ACCESS = ("allow", "allowfile", "deny", "denyfile")

SCANS = ("random", "parallel", "banner", "json", "hosts_from")  # what a scan may have

BEYOND_CONNECTING = ("ssl", "via", "proxy", "retry")  # what it may not

# The first needs one of the others.
NEEDS: tuple[tuple[str, ...], ...] = (
    ("chat", "listen"),
    ("broker", "listen"),
    ("keep_open", "listen"),
    ("mode", "listen"),
    ("mode", "unixsock"),
    ("stdin", "keep_open"),
    ("outbox", "keep_open"),
    ("label", "listen"),
    ("pty", "exec", "sh_exec"),
    ("exec_stderr", "exec", "sh_exec"),
    ("max_conns", "keep_open"),
    *((field, "zero") for field in SCANS),
    ("wait_open", "zero"),
    *((field, "listen") for field in ACCESS),
    ("retry_delay", "retry", "reconnect"),
    ("fd", "listen"),
    ("port_file", "listen"),
    ("ssl_key", "ssl_cert"),
    ("ssl_client_ca", "listen"),
    ("proxy_type", "via", "proxy", "listen"),
    ("proxy_auth", "via", "proxy", "proxy_type"),
    ("proxy_user", "via", "proxy", "proxy_type"),
    ("proxy_dns", "via", "proxy"),
    ("proxy_allow", "listen"),
    ("proxy_allow", "proxy_type"),
    ("relay", "listen"),
    ("proxy_protocol", "relay"),
)

# What passes between clients and where they lead has nothing to do with these.
SERVES = "listen", "proxy_type"
NOT_PASSED_ON = (
    *("fd_pass", "telnet", "crlf", "interval", "safe_tty", "recv_limit", "recv_only"),
    *("send_only", "quit", "no_shutdown", "md5sig", "stdin", "outbox", "label"),
)

# What clients say to each other goes through neither standard input nor output.
NOT_OF_A_BROKER = (
    *("relay", "proxy_type", "fd_pass", "crlf", "interval", "safe_tty", "quit", "no_shutdown"),
    *("recv_limit", "recv_only", "send_only", "stdin", "label"),
)

# A program has its standard input and output on the connection, and pync's are not used.
NOT_WITH_A_PROGRAM = (
    *("relay", "proxy_type", "broker", "fd_pass", "crlf", "interval", "safe_tty", "quit"),
    *("no_stdin", "recv_limit", "recv_only", "send_only", "stdin", "outbox", "label"),
    *("zero", "reconnect"),
)

# Of a row not all can be had.
EXCLUDES: tuple[tuple[str, ...], ...] = (
    ("ipv4", "ipv6"),
    ("ipv4", "unixsock"),
    ("ipv6", "unixsock"),
    ("half_close", "no_shutdown"),
    ("recv_only", "send_only"),
    ("no_stdin", "send_only"),
    ("no_stdin", "stdin"),
    ("recv_only", "stdin"),
    *(("broker", field) for field in NOT_OF_A_BROKER),
    ("exec", "sh_exec"),
    *((run, field) for run in ("exec", "sh_exec") for field in NOT_WITH_A_PROGRAM),
    ("zero", "listen"),
    ("listen", "retry"),
    ("listen", "reconnect"),
    ("zero", "reconnect"),
    ("fd_pass", "reconnect"),
    ("recv_limit", "reconnect"),
    ("send_only", "reconnect"),
    ("udp", "reconnect"),
    ("zero", "fd_pass"),
    ("keep_open", "fd_pass"),
    ("fd_pass", "label"),
    ("unixsock", "md5sig"),
    ("unixsock", "tcp_keepalive"),
    ("unixsock", "tos"),
    ("unixsock", "ttl"),
    ("unixsock", "min_ttl"),
    ("unixsock", "source_port"),
    ("unixsock", "port_file"),
    ("fd", "source"),
    ("fd", "source_port"),
    ("fd", "mode"),
    *(("unixsock", field) for field in SCANS),
    *(("wait_open", field) for field in (*SCANS, "retry")),
    ("udp", "md5sig"),
    ("udp", "tcp_keepalive"),
    ("udp", "telnet"),
    ("udp", "ssl"),
    ("fd_pass", "ssl"),
    ("listen", "starttls"),
    ("ssl_insecure", "ssl_verify"),
    ("ssl_insecure", "ssl_trustfile"),
    ("ssl_insecure", "ssl_fingerprint"),
    ("ssl_fingerprint", "ssl_trustfile"),
    ("via", "proxy"),
    ("proxy_user", "proxy_auth"),
    ("relay", "proxy_allow"),
    ("udp", "proxy_protocol"),
    *(("relay", field) for field in NOT_PASSED_ON),
    ("zero", "udp", "via"),  # a proxy does not tell that nobody is there
    ("zero", "udp", "proxy"),
)

# The same, unless there is a relay: of that, the one is about clients and the other about targets.
EXCLUDES_ALONE: tuple[tuple[str, ...], ...] = (
    ("listen", "ssl_servername"),
    ("listen", "ssl_trustfile"),
    ("listen", "ssl_insecure"),
    ("ssl_fingerprint", "ssl_client_ca"),
    ("listen", "via"),
    ("listen", "proxy"),
    ("unixsock", "via"),
    ("unixsock", "proxy"),
    (*SERVES, "udp"),
    *((*SERVES, field) for field in NOT_PASSED_ON),
)

# What may have a password in it, and so is never shown.
SECRET = ("via", "proxy", "proxy_auth")

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


def listed(fields: Sequence[str], conjunction: str) -> str:
    """`--one, --two and --three`."""
    *names, last = map(option_name, fields)
    return f"{', '.join(names)} {conjunction} {last}" if names else last


def excluding(fields: Sequence[str]) -> str:
    *given, last = fields
    if len(given) == 1:
        return f"{listed(fields, 'and')} exclude each other"
    return f"{listed(given, 'and')} exclude {option_name(last)}"


def read_options(given: Mapping[str, Any], addresses: list[str]) -> Options:
    """Options from `given` and the bare arguments.

    given: by field name, the text of each option that was given, or True.

    Raises UsageError, which names the option, for a value that cannot be read,
    an option that lacks another, and two that exclude each other.
    """
    values = {field: read_value(field, value) for field, value in given.items()}
    relayed = "relay" in values
    for field, other in IMPLIES:
        if field in values and not (relayed and field in OF_A_SERVER):
            values[other] = True
    for field, *others in NEEDS:
        if field in values and values.keys().isdisjoint(others):
            raise UsageError(f"{option_name(field)} needs {listed(others, 'or')}")
    for fields in EXCLUDES if relayed else (*EXCLUDES, *EXCLUDES_ALONE):
        if values.keys() >= set(fields):
            raise UsageError(excluding(fields))
    return place(Options(**values), addresses)


def read_value(field: str, value: Any) -> Any:
    reader = READERS.get(field)
    if reader is None:
        return value
    try:
        return reader(value)
    except ValueError as error:
        shown = "its value" if field in SECRET else repr(value)
        raise UsageError(f"{option_name(field)}: {shown} is {error}") from None


def place(options: Options, addresses: list[str]) -> Options:
    """Put the bare arguments where they belong."""
    for address in addresses:
        checked(check_name, "address", address)
    if options.fd is not None:
        if addresses:
            raise UsageError(f"--fd has its place already, and takes no {told(addresses)}")
        return options
    if options.unixsock:
        return place_unix(options, addresses)
    if options.listen:
        return place_listener(options, addresses)
    if options.zero:
        return place_probe(options, addresses)
    if len(addresses) != 2:
        raise UsageError(f"HOST and PORT are needed, not {told(addresses)}; see pync --help")
    host, port = addresses
    return options._replace(host=host, port=checked(check_port, "port", port))


def place_probe(options: Options, addresses: list[str]) -> Options:
    """`-z HOST PORTS...`, and `-z --hosts-from FILE PORTS...`; one port alone is no scan."""
    hosts = [] if options.hosts_from else addresses[:1]
    ports = addresses[len(hosts) :]
    if not ports:
        raise UsageError(f"HOST and PORT are needed, not {told(addresses)}; see pync --help")
    simple = len(addresses) == 2 and "/" not in addresses[0] and is_one_port(ports[0])
    if simple and hosts and not (options.banner or options.json):
        return options._replace(host=hosts[0], port=checked(check_port, "port", ports[0]))
    if options.wait_open and "/" in addresses[0]:
        raise UsageError(f"--wait-open waits for one host, and {addresses[0]!r} is a network")
    from pync.scan.targets import read_host, read_ports

    for field in () if options.wait_open else BEYOND_CONNECTING:
        if getattr(options, field):
            alone = "a scan does no more than connect; ask for one port alone"
            raise UsageError(f"{option_name(field)}: {alone}")
    for host in hosts:
        checked(read_host, "host", host)
    for port in ports:
        checked(read_ports, "port", port)
    return options._replace(host=hosts[0] if hosts else None, ports=tuple(ports))


def place_unix(options: Options, addresses: list[str]) -> Options:
    if options.listen and options.source:
        raise UsageError("--source: a unix listener is where its path is")
    if len(addresses) != 1:
        raise UsageError(f"--unixsock needs one path, not {told(addresses)}")
    if options.mode is not None and addresses[0].startswith("@"):
        raise UsageError("--mode: @NAME is in no file system, and has no permissions; a path has")
    return options._replace(path=addresses[0])


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


def checked(check: Callable[..., object], what: str, text: str, *arguments: int) -> str:
    try:
        check(text, *arguments)
    except ValueError as error:
        raise UsageError(f"{what} {text!r} is {error}") from None
    return text


def told(addresses: list[str]) -> str:
    return " ".join(map(repr, addresses)) or "nothing"
