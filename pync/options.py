"""What was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pync.values import Login, Proxy, Target

# Programs at a time for peers that may be nobody: a datagram names any sender.
DATAGRAM_PROGRAMS = 64

ACCESS = ("allow", "allowfile", "deny", "denyfile")


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
        if self.max_conns is not None:
            return self.max_conns
        return DATAGRAM_PROGRAMS if self.command and self.udp else float("inf")

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


def option_name(field: str) -> str:
    return "--" + field.replace("_", "-")


def listed(fields: Sequence[str], conjunction: str) -> str:
    """`--one, --two and --three`."""
    *names, last = map(option_name, fields)
    return f"{', '.join(names)} {conjunction} {last}" if names else last
