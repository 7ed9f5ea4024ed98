"""A start that is fast: docopt is given no more of the usage text, and no more is imported,
than the arguments ask for.  What they mean is the same."""

from __future__ import annotations

import re
import sys
from typing import Any
from unittest.mock import patch

import pytest
from authority import Authority
from harness import Program
from hypothesis import given, settings
from hypothesis import strategies as st

from pync import cli
from pync.errors import UsageError

# --- the usage text ---

NAMES = sorted({*re.findall(r"(?<!\w)--?\w[-a-z]*", cli.USAGE)})


def meaning(arguments: list[str]) -> Any:
    try:
        given, addresses = cli.parse(arguments)
    except UsageError as error:
        return str(error)
    return {"linger": "2s", **given}, addresses  # a default that docopt tells only if it sees it


def check_same_by_the_whole_text(arguments: list[str]) -> None:
    with patch.object(cli, "usage_for", return_value=cli.USAGE):
        expected = meaning(arguments)
    assert meaning(arguments) == expected


@pytest.mark.parametrize("name", NAMES)
def test_an_option_means_the_same(name: str) -> None:
    for words in ([name, "1", "2"], [name[:4]], [name[:-1], name], [name + "=x", "-v"], [name] * 3):
        check_same_by_the_whole_text(words)


@pytest.mark.parametrize(
    "line",
    [
        *["", "host 80", "-z host 80", "-lvnp80", "-lvnp 80", "-vvv", "-v -v", "-vzv", "-zv -vv"],
        *["-w", "-w 1 -w 2", "-w500ms", "-zw5", "-w -v", "-s -h", "-s --help", "-W-h", "-q -1"],
        *["--timeout", "--timeout=", "--timeout=--idle", "--timeout -- x", "--timeout --listen"],
        *["--no", "--no-s", "--recv", "--recv-only=1", "--li --listen", "--l", "--=x", "---", "-="],
        *["-- -l --help", "-z -- host 80", "-z -- -4 --", "-- --", "-", "- -", "-4", "-46", "-6v4"],
        *["-4-4", "-4 -v 6-", "-1e5", "--nonsense", "--nons=1 --nons", "--nonsense --nons"],
        *["-x -x", "-zx3", "-a-b", "-ü", "--ü", "-?", "-V 3", "-g 1 -v", "--sctp --sc"],
    ],
)
def test_odd_lines_mean_the_same(line: str) -> None:
    check_same_by_the_whole_text(line.split())


LETTERS = "".join(name[1] for name in NAMES) + "=x"
words = st.one_of(
    st.sampled_from([*NAMES, "-4", "-6", "-1", "--", "-", "", "1", "host", "x=y"]),
    st.text(LETTERS, max_size=5).map("-{}".format),
    st.builds("{:.{}}".format, st.sampled_from(NAMES), st.integers(3, 9)),
    st.builds("{:.{}}={}".format, st.sampled_from(NAMES), st.integers(3, 9), st.text(max_size=2)),
)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(words, max_size=6))
def test_any_arguments_mean_the_same(arguments: list[str]) -> None:
    check_same_by_the_whole_text(arguments)


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("host 80", []),
        ("-z -- host 80", ["--zero"]),
        ("-zn host 80", ["--nodns", "--zero"]),
        ("--timeout=3 host 80", ["--timeout"]),
        ("--no-s host 80", ["--no-stdin", "--no-shutdown"]),
    ],
)
def test_docopt_sees_what_could_be_meant(line: str, seen: list[str]) -> None:
    shown = re.findall(r"^  (?:-\w.*?)?(--[-a-z]+)", cli.usage_for(line.split()), re.M)
    assert shown == [*seen, "--verbose"]


# --- imports ---

COSTLY = {
    "argparse", "asyncio", "dataclasses", "encodings.idna", "h11", "inspect", "logging", "pathlib",
    "random", "ssl", "subprocess", "tempfile", "threading",
}  # fmt: skip
RARE = {
    "pync.hub", "pync.layers", "pync.opening", "pync.scan", "pync.stage", "pync.staged",
    "pync.taps", "pync.transports.datagrams", "pync.transports.udp", "pync.transports.unix",
    "pync.waiting", "pync.wire",
}  # fmt: skip
FOREIGN = {"asyncio", "cryptography", "dataclasses", "h11", "inspect", "logging", "subprocess"}
TALK = {
    "pync.endings", "pync.flow", "pync.movers", "pync.session",
    "pync.transports.memory", "pync.transports.stdio",
}  # fmt: skip

TELL = """
import sys
def start(): pass
{}
start()
print(*sys.modules, file=sys.stderr)
"""


def telling_modules(start: str, *arguments: str) -> Program:
    """Python, which in the end tells on stderr what it has imported."""
    return Program(sys.executable, "-c", TELL.format(start), *arguments)


def pync_telling_modules(*arguments: str) -> Program:
    return telling_modules("from pync.__main__ import start", *arguments)


def modules(program: Program) -> set[str]:
    result = program.finish()
    assert result.status == 0, result.err
    return set(result.err.splitlines()[-1].split())


@pytest.fixture(scope="module")
def usual() -> set[str]:
    """What this Python imports for itself."""
    with telling_modules("pass") as python:
        return modules(python)


@pytest.mark.parametrize(
    ("line", "needless"),
    [
        ("-z 127.0.0.1", COSTLY | RARE | TALK),
        ("-zvn 127.0.0.1", COSTLY | RARE | TALK),
        ("-z localhost", COSTLY | RARE | TALK),
        ("127.0.0.1", COSTLY | RARE),
    ],
)
def test_who_connects_imports_what_that_needs(
    line: str, needless: set[str], usual: set[str]
) -> None:
    with (
        Program.pync("-lv", "127.0.0.1", "0") as server,
        pync_telling_modules(*line.split(), str(server.port)) as client,
    ):
        told = modules(client) - usual
    assert "pync.transports.tcp" in told
    assert told & needless == set()


def test_who_listens_imports_what_that_needs(usual: set[str]) -> None:
    with (
        pync_telling_modules("-lv", "127.0.0.1", "0") as server,
        Program.pync("127.0.0.1", str(server.port)) as client,
    ):
        told = modules(server) - usual
        client.finish()
    assert told & (COSTLY | RARE) == set()
    assert told >= TALK


@pytest.mark.parametrize(
    ("listening", "connecting"), [("-lv", "--ssl-insecure"), ("-lvt", "-t --ssl-insecure")]
)
def test_tls_imports_what_that_needs(
    authority: Authority, listening: str, connecting: str, usual: set[str]
) -> None:
    shown = ("--ssl-cert", f"{authority.leaf['valid'].combined}")
    with (
        pync_telling_modules(listening, *shown, "127.0.0.1", "0") as server,
        pync_telling_modules(*connecting.split(), "127.0.0.1", f"{server.port}") as client,
    ):
        told = [modules(end) - usual for end in (server, client)]
    for end in told:
        assert {"ssl", "pync.wire.tls.engine"} <= end
        assert (
            end & {*FOREIGN, "pync.hub", "pync.wire.starttls", "pync.wire.tls.ephemeral"} == set()
        )
        assert ("pync.wire.telnet" in end) == ("t" in listening)
