"""What goes with what: which options ask for others, need others, or exclude each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pync.errors import UsageError
from pync.options import ACCESS, Options, listed, option_name

# What makes no sense without TLS asks for it, as with ncat.
IMPLIES = (
    *((field, "ssl") for field in Options._fields if field.startswith("ssl_")),
    ("starttls", "ssl"),
    ("chat", "broker"),
    ("broker", "keep_open"),
)

# Whom to take for the server: of a relay, that concerns the target, and not its clients.
OF_A_SERVER = ("ssl_verify", "ssl_insecure", "ssl_trustfile", "ssl_fingerprint", "ssl_servername")

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
    *("recv_limit", "recv_only", "send_only", "stdin", "outbox", "label", "zero", "reconnect"),
)

# Who only looks whether a port is open moves none of the user's bytes.
NOT_WITHOUT_BYTES = (
    *("crlf", "telnet", "safe_tty", "recv_limit", "recv_only", "send_only", "quit"),
    *("no_shutdown", "idle_timeout"),
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
    ("udp", "reconnect"),
    ("zero", "fd_pass"),
    *(("zero", field) for field in NOT_WITHOUT_BYTES),
    ("unixsock", "zero", "interval"),
    ("wait_open", "interval"),
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


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, by field name, with what they imply.

    Raises UsageError for an option that lacks another, and for those that exclude each other.
    """
    found, relayed = dict(values), "relay" in values
    for field, other in IMPLIES:
        if field in found and not (relayed and field in OF_A_SERVER):
            found[other] = True
    for field, *others in NEEDS:
        if field in found and found.keys().isdisjoint(others):
            raise UsageError(f"{option_name(field)} needs {listed(others, 'or')}")
    for fields in EXCLUDES if relayed else (*EXCLUDES, *EXCLUDES_ALONE):
        if found.keys() >= set(fields):
            raise UsageError(excluding(fields))
    return found


def excluding(fields: Sequence[str]) -> str:
    *given, last = fields
    if len(given) == 1:
        return f"{listed(fields, 'and')} exclude each other"
    return f"{listed(given, 'and')} exclude {option_name(last)}"
