"""Options: how values are read, what goes with what, where bare arguments belong."""

from __future__ import annotations

from typing import Any

import pytest

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
from pync.options import Options, read_options
from pync.status import ExitStatus, status_of


def options(line: str) -> Options:
    return read(given_words(line))


def read(words: list[str]) -> Options:
    given, addresses = parse(words)
    return read_options(given, addresses)


def given_words(line: str) -> list[str]:
    return [word.replace("~", " ") for word in line.split()]


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
    ],
)
def test_what_does_not_go_together_is_named(line: str, names: list[str]) -> None:
    with pytest.raises(UsageError) as told:
        options(line)
    assert all(name in str(told.value) for name in names)


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
        (ConnectError(), ExitStatus.NETWORK),
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
