"""A host with several addresses, in a mount namespace with an /etc/hosts of the test's own."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from harness import PYNC, Program, free_port, needs_ipv6
from namespaces import DROPPING_IPV6, SILENT_IPV6, Namespace
from plain_peer import HERE

NAMED = ("127.0.0.2", "127.0.0.1", "::1")


def may_unshare() -> bool:
    try:
        done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


pytestmark = pytest.mark.skipif(
    not may_unshare(), reason="a mount namespace, by unshare, is not allowed here"
)


@pytest.fixture
def pync(tmp_path: Path) -> tuple[str, ...]:
    """A command: pync in a place where `several` has the addresses above."""
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"{address} several\n" for address in NAMED))
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ("unshare", "-m", "sh", "-c", script, str(hosts), *PYNC)


def test_one_address_after_the_other_is_tried_until_one_accepts(pync: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with Program(*pync, "-v", "several", str(port), stdin=b"hello") as client:
            peer, _ = server.accept()
            with peer:
                assert peer.recv(100) == b"hello"
            result = client.finish()
    assert result.status == 0
    assert f"Connection to several (127.0.0.1) {port} port" in result.err


def test_when_none_accepts_each_is_told_with_its_reason(pync: tuple[str, ...]) -> None:
    port = free_port()
    with Program(*pync, "several", str(port)) as client:
        result = client.finish()
    assert result.status == 1
    assert sorted(result.err.splitlines()) == sorted(
        f"pync: connect to several ({address}) port {port} (tcp) failed: Connection refused"
        for address in NAMED
    )


@pytest.mark.parametrize(
    "options",
    [
        ("-v", "--retry", "2", "--retry-delay", "50ms"),
        ("-vz", "--retry", "2", "--retry-delay", "50ms"),
        ("-vvz", "--wait-open", "400ms"),
    ],
    ids=" ".join,
)
def test_each_has_a_line_of_its_own_each_time(
    options: tuple[str, ...], pync: tuple[str, ...]
) -> None:
    port = free_port()
    with Program(*pync, *options, "several", str(port)) as client:
        lines = client.finish().err.splitlines()
    for address in NAMED:
        told = f"pync: connect to several ({address}) port {port} (tcp) failed: Connection refused"
        assert lines.count(told) == len(lines) / 3
    assert len(lines) > 3


@pytest.mark.parametrize(("option", "addresses"), [("-4", NAMED[:2]), ("-6", NAMED[2:])])
def test_a_family_that_is_asked_for_leaves_the_other_out(
    pync: tuple[str, ...], option: str, addresses: tuple[str, ...]
) -> None:
    with Program(*pync, option, "several", str(free_port())) as client:
        told = client.finish().err
    assert [address for address in NAMED if f"({address})" in told] == list(addresses)


def test_the_source_address_leaves_out_what_it_cannot_reach(pync: tuple[str, ...]) -> None:
    with Program(*pync, "-s", "::1", "several", str(free_port())) as client:
        told = client.finish().err
    assert [address for address in NAMED if f"({address})" in told] == ["::1"]


# Says in the end how many milliseconds the command has taken.
CLOCKED = """
mount --bind "$0" /etc/hosts
begin=$(date +%s%N)
"$@" || exit
echo $((($(date +%s%N) - begin) / 1000000))
"""
TRIES = 10  # on a machine that is busy with something else


@needs_ipv6
@pytest.mark.parametrize("limit", [(), ("-w", "10")], ids=" ".join)
def test_where_ipv6_leads_nowhere_ipv4_is_reached_within_400_ms(
    limit: tuple[str, ...], tmp_path: Path
) -> None:
    """100 ms of it are for all that is no waiting, or what that takes on this machine."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"{SILENT_IPV6} dual\n{HERE} dual\n{HERE} single\n")

    def milliseconds(name: str) -> int:
        client = (*PYNC, "-zv", *limit, name, str(server.port))
        with network.program("unshare", "-m", "sh", "-c", CLOCKED, str(hosts), *client) as run:
            status, took, err = run.finish()
        assert status == 0
        assert err.count("given up: another was quicker") == (name == "dual")
        return int(took)

    with Namespace(DROPPING_IPV6) as network, network.pync("-lkn", "-v", HERE, "0") as server:
        for _ in range(TRIES):
            start = max(100, milliseconds("single"))
            took = milliseconds("dual")
            if took < start + 300:
                break
    assert 250 <= took < start + 300


def test_the_namespace_is_the_tests_own() -> None:
    assert "several" not in Path("/etc/hosts").read_text()
