"""Options: how values are read, what goes with what, where bare arguments belong."""

from __future__ import annotations

from typing import Any

import pytest

from pync.arguments import read_options
from pync.cli import parse
from pync.errors import (
    ConnectError,
    Interrupted,
    LocalError,
    NetworkError,
    OutputClosed,
    PyncError,
    ResolveError,
    TimedOut,
    UsageError,
)
from pync.options import Options
from pync.status import ExitStatus, status_of


def options(line: str) -> Options:
    return read(given_words(line))


def read(words: list[str]) -> Options:
    given, addresses = parse(words)
    return read_options(given, addresses)


def given_words(line: str) -> list[str]:
    return [word.replace("~", " ") for word in line.split()]


PIN = "0123456789abcdef" * 4  # of a certificate
PINNED = f"--ssl-fingerprint sha256:{PIN}"
COLONS = ":".join(PIN[at : at + 2] for at in range(0, 64, 2))


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("-w 1.5", "timeout", 1.5),
        ("-w 500ms", "timeout", 0.5),
        ("-w 2m", "timeout", 120),
        ("--timeout=1h", "timeout", 3600),
        ("-q 0", "quit", 0),
        ("-q -1", "quit", -1),
        ("-q.5", "quit", 0.5),
        ("-I 64k", "recv_buffer", 65536),
        ("-O 1M", "send_buffer", 1 << 20),
        ("-T ef", "tos", 0xB8),
        ("-T af11", "tos", 0x28),
        ("-T lowdelay", "tos", 0x10),
        ("-T Minimize-Cost", "tos", 0x02),
        ("-T 0x20", "tos", 0x20),
        ("-T 32", "tos", 32),
        ("-M 64", "ttl", 64),
        ("-vv", "verbose", 2),
        ("-v -v", "verbose", 2),
        ("-4", "ipv4", True),
        ("-6v", "ipv6", True),
        ("-W 3", "recv_limit", 3),
        ("--recv-lim 3", "recv_limit", 3),
        (PINNED, "ssl_fingerprint", f"sha256:{PIN}"),
        (f"--ssl-fingerprint SHA256:{PIN.upper()}", "ssl_fingerprint", f"sha256:{PIN}"),
        (f"--ssl-fingerprint sha256:{COLONS}", "ssl_fingerprint", f"sha256:{PIN}"),
        ("--ssl-alpn h2", "ssl_alpn", ("h2",)),
        ("--ssl-alpn h2,http/1.1", "ssl_alpn", ("h2", "http/1.1")),
        ("--ssl-servername bücher.example.", "ssl_servername", "bücher.example."),
    ],
)
def test_a_value_is_read(line: str, field: str, value: Any) -> None:
    assert getattr(options(f"{line} host 80"), field) == value


@pytest.mark.parametrize(
    "line",
    [
        *["-w 0", "-w -1", "-w 1x", "-w ", "-w 1e3", "-w inf", "-w ٣", "-q -2", "-i x"],
        *["-W 0", "-W -1", "-W 1.5", "-I 0", "-I 3T", "-I 4G", "-T 256", "-T loud", "-M 0"],
        *["-M 256", "-m x", "-p 8,0", "-p 65536", "--linger soon", "--tcp-keepalive 0"],
        *[f"--ssl-fingerprint {PIN}", f"--ssl-fingerprint sha1:{PIN}", "--ssl-fingerprint sha256:"],
        *[f"--ssl-fingerprint sha256:{PIN}0", f"--ssl-fingerprint sha256:{PIN[1:]}x"],
        *["--ssl-alpn ", "--ssl-alpn h2,,http/1.1", "--ssl-alpn h2,", "--ssl-alpn ü"],
        *[f"--ssl-alpn {'x' * 256}", "--ssl-servername .example", "--ssl-servername a..b"],
        *[f"--ssl-servername {'a' * 64}", "--ssl-servername a\tb"],
    ],
)
def test_a_bad_value_is_told_with_the_options_name(line: str) -> None:
    option, _, value = line.partition(" ")
    with pytest.raises(UsageError, match=r"^--[a-z-]+: .* is (not|neither) "):
        read([option, value, "host", "80"])


@pytest.mark.parametrize(
    ("line", "host", "port"),
    [
        ("-l 2389", None, "2389"),
        ("-l localhost 2389", "localhost", "2389"),
        ("-l -p 2389", None, "2389"),
        ("-lp 2389 localhost", "localhost", "2389"),
        ("-l -s 127.0.0.1 -p 2389", "127.0.0.1", "2389"),
        ("-l -s ::1 2389", "::1", "2389"),
        ("-l 0", None, "0"),
        ("-l http", None, "http"),
        ("host 2389", "host", "2389"),
        ("-- host 2389", "host", "2389"),
        ("host https", "host", "https"),
    ],
)
def test_bare_arguments_find_their_place(line: str, host: str | None, port: str) -> None:
    found = options(line)
    assert (found.host, found.port) == (host, port)


def test_a_path_takes_the_place_of_host_and_port() -> None:
    assert options("-lU /run/my~socket").path == "/run/my socket"


@pytest.mark.parametrize(
    "line",
    [
        *["", "-l", "host", "host 1 2", "-l a b 1", "-l -p 1 2", "-l -s a b 1", "-U", "-U a b"],
        *["host 0", "host 65536", "host ٣", "host +80", "host 8,0"],
        *["a\x01b 80", "host 80\n", "-U a\x00b", "-l -80"],
    ],
)
def test_bare_arguments_that_make_no_sense_are_refused(line: str) -> None:
    words = line.split(" ") if line else []
    with pytest.raises(UsageError):
        read(words)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("-k host 1", ["--keep-open", "--listen"]),
        ("-4 -6 host 1", ["--ipv4", "--ipv6"]),
        ("-N --no-shutdown host 1", ["--half-close", "--no-shutdown"]),
        ("--recv-only --send-only host 1", ["--recv-only", "--send-only"]),
        ("-z -l 1", ["--zero", "--listen"]),
        ("-u -S host 1", ["--udp", "--md5sig"]),
        ("--ssl-key x host 1", ["--ssl-key", "--ssl-cert"]),
        ("--ssl-client-ca x host 1", ["--ssl-client-ca", "--listen"]),
        ("-u --ssl host 1", ["--udp", "--ssl"]),
        ("-u --ssl-alpn h2 host 1", ["--udp", "--ssl"]),
        ("-lku --ssl 1", ["--udp", "--ssl"]),
        ("-Uu --ssl path", ["--udp", "--ssl"]),
        ("-F --ssl host 1", ["--fd-pass", "--ssl"]),
        ("-F --starttls smtp host 1", ["--fd-pass", "--ssl"]),
        ("-l --starttls smtp 1", ["--listen", "--starttls"]),
        ("-l --ssl-servername x 1", ["--listen", "--ssl-servername"]),
        ("-l --ssl-trustfile x 1", ["--listen", "--ssl-trustfile"]),
        ("-l --ssl-insecure 1", ["--listen", "--ssl-insecure"]),
        ("--ssl-insecure --ssl-verify host 1", ["--ssl-insecure", "--ssl-verify"]),
        ("--ssl-insecure --ssl-trustfile x host 1", ["--ssl-insecure", "--ssl-trustfile"]),
        (f"--ssl-insecure {PINNED} host 1", ["--ssl-insecure", "--ssl-fingerprint"]),
        (f"--ssl-trustfile x {PINNED} host 1", ["--ssl-fingerprint", "--ssl-trustfile"]),
        (f"-l --ssl-client-ca x {PINNED} 1", ["--ssl-fingerprint", "--ssl-client-ca"]),
    ],
)
def test_what_does_not_go_together_is_named(line: str, names: list[str]) -> None:
    with pytest.raises(UsageError) as told:
        options(line)
    assert all(name in str(told.value) for name in names)


@pytest.mark.parametrize(
    "line",
    [
        *["--ssl", "--ssl-verify", "--ssl-insecure", "--ssl-trustfile x", "--ssl-servername x"],
        *[PINNED, "--ssl-cert x", "--ssl-cert x --ssl-key x"],
        *["-l --ssl-client-ca x", "--ssl-alpn h2", "--ssl-ciphers x", "--starttls smtp"],
    ],
)
def test_what_makes_no_sense_without_tls_asks_for_it(line: str) -> None:
    assert options(f"{line} localhost 1").ssl


def test_nothing_else_does() -> None:
    assert not options("-lkntvC -w 1 localhost 1").ssl


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--nonsense host 1", "no such option: --nonsense"),
        ("-? host 1", "no such option: -?"),
        ("-l -l 1", "--listen is given twice"),
        ("-w", "-w requires argument"),
        ("--listen=yes 1", "--listen must not have an argument"),
        ("-V 3 host 1", "-V: there are no routing tables"),
        ("-g 1.2.3.4 host 1", "-g: kernels drop"),
        ("--sctp host 1", "--sctp: "),
        ("--lua-exec x host 1", "--lua-exec: "),
    ],
)
def test_what_is_wrong_with_an_option_is_one_line_that_names_it(line: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(given_words(line))
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError(), ExitStatus.LOCAL),
        (LocalError(), ExitStatus.LOCAL),
        (NetworkError(), ExitStatus.NETWORK),
        (ResolveError(), ExitStatus.NETWORK),
        (ConnectError("refused"), ExitStatus.NETWORK),
        (TimedOut(), ExitStatus.NETWORK),
        (OutputClosed(), ExitStatus.OUTPUT_CLOSED),
        (Interrupted(2), 130),
        (Interrupted(15), 143),
    ],
)
def test_each_error_has_its_exit_status(error: PyncError, status: int) -> None:
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "lost"), (1, "lost; 1 byte not delivered"), (7, "lost; 7 bytes not delivered")],
)
def test_a_network_error_tells_what_was_not_delivered(count: int, told: str) -> None:
    error = NetworkError("lost")
    error.undelivered = count
    assert str(error) == told
