"""Mistakes, and networks that fail: one clear line, the right exit status, never a traceback.

2 for a bad option and for what this machine refuses, before anything is opened;
1 for what the network or the peer refuses.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from harness import Program, Result, free_port, full_backlog, needs_ipv6
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_peer import HERE, joined

from pync.address import printable
from pync.arguments import read_options
from pync.cli import USAGE, parse
from pync.errors import UsageError

PORT = "2389"  # nothing here gets as far as to use it


def run(*args: str) -> Result:
    with Program.pync(*args) as pync:
        return pync.finish()


def check_refused(result: Result, status: int, told: str) -> None:
    """That it ended with one line on stderr and nothing on stdout."""
    assert re.fullmatch(rf"pync: .*{told}.*\n", result.err)
    assert "internal error" not in result.err
    assert (result.status, result.out) == (status, b"")


def complaint(arguments: list[str]) -> str:
    """What pync would say of these arguments; nothing if it can make sense of them."""
    try:
        values, addresses = parse(arguments)
        if values.keys().isdisjoint({"help", "version"}):
            read_options(values, addresses)
    except UsageError as error:
        return str(error)
    return ""


# Options.

BAD_VALUES = {
    "--quit": ["x", "-2", "1s5", "1e3", "٣"],
    "--timeout": ["x", "0", "-1", "5 s"],
    "--wait": ["x", "0", "1d"],
    "--idle-timeout": ["x", "0"],
    "--linger": ["x", "-1"],
    "--interval": ["x", "1.2.3"],
    "--recv-limit": ["x", "0", "1.5", "-1", "99999999999"],
    "--recv-buffer": ["x", "0", "4G", "1.5k"],
    "--send-buffer": ["x", "-1", "64kb"],
    "--tos": ["nosuch", "256", "0x100", "-1"],
    "--ttl": ["0", "256", "x"],
    "--min-ttl": ["0", "256", "x"],
    "--tcp-keepalive": ["x", "0"],
    "--mode": ["x", "", "0o600", "8", "0800", "1777", "00600", "-1", "u=rw", "٣"],
    "--source-port": ["x y", "65536", "80abc!"],
}
SHORT = {
    "--quit": "-q", "--timeout": "-w", "--interval": "-i", "--recv-limit": "-W",
    "--recv-buffer": "-I", "--send-buffer": "-O", "--tos": "-T", "--ttl": "-M",
    "--min-ttl": "-m", "--source-port": "-p", "--source": "-s",
}  # fmt: skip
CONFLICTS = [
    "-4 -6", "-4 -U", "-6 -U", "-N --no-shutdown", "--recv-only --send-only", "-d --send-only",
    "-z -l", "-z -F", "-k -F -l", "-U -S", "-u -S", "-u --tcp-keepalive=1m", "-U --tos=ef", "-u -t",
]  # fmt: skip
UNKNOWN = {"--frobnicate": "--frobnicate", "-y": "-y", "--jason=1": "--jason", "-vy": "-y"}
NOT_OFFERED = ["-V 1", "-Z", "-g 1", "-G 4", "--lua-exec=x", "--sctp"]


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option in BAD_VALUES for value in BAD_VALUES[option]]
)
def test_a_bad_value_is_told_with_its_option(option: str, value: str) -> None:
    told = complaint([f"{option}={value}", HERE, PORT])
    assert re.fullmatch(rf"{option}: {re.escape(repr(value))} is (not|neither) .+", told)


@pytest.mark.parametrize("option", [*BAD_VALUES, "--source", *SHORT.values()])
def test_a_missing_value_is_told_with_its_option(option: str) -> None:
    assert option in complaint([HERE, PORT, option])


@pytest.mark.parametrize("options", CONFLICTS)
def test_two_that_exclude_each_other_are_told(options: str) -> None:
    told = complaint([*options.split(), HERE, PORT])
    assert re.fullmatch("--[-0-9a-z]+ and --[-0-9a-z]+ exclude each other", told)


@pytest.mark.parametrize(("given", "told"), UNKNOWN.items())
def test_an_unknown_option_is_told(given: str, told: str) -> None:
    assert complaint([given, HERE, PORT]) == f"no such option: {told}"


@pytest.mark.parametrize("options", NOT_OFFERED)
def test_what_pync_does_not_offer_is_refused_with_a_way_out(options: str) -> None:
    option = re.match(r"[-\w]+", options)
    assert option
    assert re.fullmatch(rf"{option[0]}: .+; .+", complaint([*options.split(), HERE, PORT]))


def test_keep_open_needs_listen() -> None:
    assert complaint(["-k", HERE, PORT]) == "--keep-open needs --listen"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("-U path", "--mode needs --listen"),
        (f"-l {PORT}", "--mode needs --unixsock"),
        ("-lU @name", "--mode: @NAME is in no file system, and has no permissions; a path has"),
        ("-lU --fd 3", "--fd and --mode exclude each other"),
        ("-lUu @name", "--mode: @NAME is in no file system, and has no permissions; a path has"),
    ],
)
def test_a_mode_is_for_the_path_of_a_listener(options: str, told: str) -> None:
    assert complaint(["--mode=600", *options.split()]) == told


@pytest.mark.parametrize("mistake", ["-q x", "-k", "-4 -6", "--frobnicate", "-y", "-Z", "-p"])
def test_a_mistake_ends_with_2_and_one_line(mistake: str) -> None:
    check_refused(run(HERE, PORT, *mistake.split()), 2, "")


# Arguments.


@pytest.mark.parametrize(
    "arguments",
    [(), (HERE,), (HERE, PORT, "3"), ("", PORT), ("-l",), ("-l", HERE, PORT, "3"), ("-U",),
     ("-U", ""), ("-U", "a", "b"), ("-l", "-p", PORT, "a", "b"), ("ho\nst", PORT)],
)  # fmt: skip
def test_arguments_that_are_too_few_or_too_many_are_told(arguments: tuple[str, ...]) -> None:
    check_refused(run(*arguments), 2, "")


@pytest.mark.parametrize("role", [(HERE,), ("-l", HERE)], ids=["connects", "listens"])
@pytest.mark.parametrize(
    "port",
    ["80abc", "1e3", "", "٣", "65536", "99999999999", "+80", " 80", "0x50", "8.0", "\x1b[1m"],
)
def test_a_bad_port_is_told(role: tuple[str, ...], port: str) -> None:
    check_refused(run(*role, port), 2, "(port|address) .* is ")


def test_port_0_is_for_listeners_only() -> None:
    check_refused(run(HERE, "0"), 2, "port '0'")


def test_a_name_is_not_looked_up_when_that_is_forbidden() -> None:
    check_refused(run("-n", "localhost", PORT), 2, "'localhost' .*--nodns")
    check_refused(run("-n", HERE, "http"), 2, "'http' .*--nodns")
    check_refused(run("-n", "-l", "localhost", PORT), 2, "'localhost' .*--nodns")


# The network.


@pytest.mark.parametrize("name", ["no.such.host.invalid", "a" * 64, "a..b", "1.2.3.4.5"])
def test_a_name_that_does_not_resolve_is_told(name: str) -> None:
    check_refused(run(name, PORT), 1, f"{re.escape(name)}: ")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x85", "\\x85"),
        ("\u202e", "\\u202e"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_is_shown_is_what_is_there(name: str, shown: str) -> None:
    """No character moves the cursor, breaks the line or turns it around."""
    assert printable(f"a{name}b é 日") == f"a{shown}b é 日"


def test_a_peer_that_refuses_is_told() -> None:
    port = free_port()
    refused = (
        rf"connect to localhost \(127\.0\.0\.1\) port {port} \(tcp\) failed: Connection refused"
    )
    for options in ("-4", "-4v"):
        result = run(options, "localhost", str(port))
        assert result.err == refused.replace("\\", "").join(("pync: ", "\n"))
        assert result[:2] == (1, b"")


def test_a_peer_that_refuses_a_number_is_told() -> None:
    port = free_port()
    told = rf"connect to 127\.0\.0\.1( \(127\.0\.0\.1\))? port {port} \(tcp\) failed: "
    check_refused(run(HERE, str(port)), 1, f"{told}Connection refused")


@pytest.mark.parametrize("option", ["-w", "--wait"])
def test_a_peer_that_does_not_answer_is_given_up(option: str) -> None:
    with full_backlog() as port:
        result = run(option, "300ms", HERE, str(port))
    check_refused(result, 1, rf"connect to .* port {port} \(tcp\) failed: .*timed out")


@needs_ipv6
def test_an_address_without_a_route_is_told() -> None:
    check_refused(run("fe80::1", PORT), 1, r"connect to fe80::1 port 2389 \(tcp\) failed: ")


@pytest.mark.parametrize("options", ["-U", "-Uu"])
def test_a_path_where_nobody_listens_is_told(options: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    check_refused(run(options, str(path)), 1, re.escape(str(path)))


@pytest.mark.parametrize("options", ["-U", "-lU"])
def test_a_path_that_is_too_long_is_told(options: str, tmp_path: Path) -> None:
    status, out, err = run(options, str(tmp_path / ("long" * 30)))
    assert (status, out) in ((1, b""), (2, b""))
    assert re.fullmatch("pync: .*too long.*\n", err)


def test_a_udp_peer_that_refuses_is_told() -> None:
    port = free_port(socket.SOCK_DGRAM)
    with Program.pync("-u", HERE, str(port), stdin=b"hello") as pync:
        check_refused(pync.finish(), 1, "Connection refused")


# -z.


def test_z_says_by_its_status_whether_it_is_open() -> None:
    with socket.create_server((HERE, 0)) as server:
        assert run("-z", HERE, str(server.getsockname()[1])) == (0, b"", "")
    assert run("-z", HERE, str(free_port())) == (1, b"", "")


def test_z_with_v_says_so_in_words() -> None:
    port = free_port()
    check_refused(run("-zv", HERE, str(port)), 1, f"{port} .*Connection refused")


def test_z_is_not_silent_about_mistakes() -> None:
    check_refused(run("-z", HERE, "nosuchservice"), 2, "nosuchservice")


# This machine.


def test_an_address_that_is_not_ours_cannot_be_listened_on() -> None:
    check_refused(run("-l", "192.0.2.77", PORT), 2, "192.0.2.77")
    check_refused(run("-s", "192.0.2.77", HERE, PORT), 2, "192.0.2.77")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "socket"
    check_refused(run("-lU", str(path)), 2, re.escape(str(path)))


@pytest.mark.parametrize("role", ["connects", "listens"])
def test_a_full_disk_is_told(role: str) -> None:
    with Path("/dev/full").open("wb") as full, joined(role, stdout=full) as (pync, peer):
        peer.sendall(b"hello")
        status, _, err = pync.finish()
    assert status == 2
    assert re.fullmatch("pync: .*No space left on device", err.splitlines()[-1])
    assert err.count("pync: ") == 1


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_help_does_not_hide_a_full_disk(option: str) -> None:
    with Path("/dev/full").open("wb") as full, Program.pync(option, stdout=full) as pync:
        check_refused(pync.finish(), 2, "No space left on device")


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_help_may_be_read_by_nobody(option: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Program.pync(option, stdout=writer) as pync:
        os.close(writer)
        assert pync.finish() == (141, b"", "")


# Anything at all.

WORDS = sorted({*re.findall(r"(?<!\w)--?[a-zA-Z][-a-z]*", USAGE), "-4", "-6", "--"})
argv = st.lists(
    st.one_of(
        st.sampled_from(WORDS),
        st.sampled_from([HERE, "::1", "localhost", PORT, "0", "80-90", "1.5", "64k", "ef", "-1"]),
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8),
        st.builds("{}={}".format, st.sampled_from(WORDS), st.text(max_size=4)),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(argv)
def test_any_arguments_are_read_or_refused_in_one_line(arguments: list[str]) -> None:
    assert re.fullmatch(r"[^\x00-\x1f\x7f-\x9f]*", complaint(arguments))


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=3))
def test_any_words_end_in_a_known_way(words: list[str]) -> None:
    with Program.pync("-z", "-n", *words) as pync:
        status, _, err = pync.finish()
    assert status in (0, 1, 2)
    assert re.fullmatch(r"(pync: [^\n]+\n)?", err)
    assert "internal error" not in err
