"""--wait-open: until it accepts, and no longer than that."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import pytest
from authority import Authority
from harness import PATIENCE, Program, Result, free_port
from plain_peer import HERE

from pync.arguments import read_options
from pync.cli import parse
from pync.errors import UsageError

LONG = "20s"  # which no test here takes


def wait(*words: object, limit: str = LONG) -> Program:
    return Program.pync("-z", "--wait-open", limit, *map(str, words))


def waited(*words: object, limit: str = LONG) -> Result:
    with wait(*words, limit=limit) as pync:
        return pync.finish()


def has_tried(pync: Program, times: int = 2) -> None:
    """Wait until it has failed so often; it was started with -vv."""
    pync.expect(f"(?s)(failed: .*){{{times}}}")


def test_what_is_open_ends_it_at_once() -> None:
    with socket.create_server((HERE, 0)) as server:
        assert waited(HERE, server.getsockname()[1]) == (0, b"", "")


def test_it_ends_as_soon_as_it_is_open() -> None:
    port = free_port()
    with wait("-vvn", HERE, port) as pync:
        has_tried(pync)
        with socket.create_server((HERE, port)):
            opened = time.monotonic()
            status, _, err = pync.finish()
            assert time.monotonic() - opened < PATIENCE / 2
    assert status == 0
    assert err.endswith(f"Connection to {HERE} {port} port [tcp/*] succeeded!\n")


def test_time_is_up_with_the_last_reason() -> None:
    port = free_port()
    begun = time.monotonic()
    assert waited(HERE, port, limit="300ms") == (1, b"", "")
    assert time.monotonic() - begun >= 0.3
    told = f"pync: connect to {HERE} port {port} (tcp) failed: Connection refused\n"
    assert waited("-v", HERE, port, limit="300ms") == (1, b"", told)


def test_all_have_to_be_open() -> None:
    first, second = free_port(), free_port()
    with wait("-vvn", HERE, f"{first},{second}") as pync:
        has_tried(pync)
        with socket.create_server((HERE, first)):
            pync.expect(rf"{first} port \[tcp/\*\] succeeded")
            pync.expect(rf"(?s)succeeded.*port {second} .*failed")
            with socket.create_server((HERE, second)):
                assert pync.finish().status == 0
    with socket.create_server((HERE, first)):
        assert waited(HERE, first, second, limit="200ms").status == 1


@pytest.mark.parametrize("kind", ["", "u"], ids=["streams", "datagrams"])
def test_a_unix_socket_is_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with wait(f"-vvU{kind}", path) as pync:
        has_tried(pync)
        type_ = socket.SOCK_DGRAM if kind else socket.SOCK_STREAM
        with socket.socket(socket.AF_UNIX, type_) as sock:
            sock.bind(str(path))
            if not kind:
                sock.listen()
            assert pync.finish().status == 0


def test_a_udp_port_is_waited_for() -> None:
    port = free_port(socket.SOCK_DGRAM)
    with wait("-vvu", HERE, port) as pync:
        pync.expect("Connection refused")
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind((HERE, port))
            assert pync.finish().status == 0


def test_a_name_that_does_not_exist_yet_is_waited_for() -> None:
    status, out, err = waited("-vv", "no.such.host.invalid", "80", limit="400ms")
    assert (status, out) == (1, b"")
    lines = err.splitlines()
    assert len(lines) > 1
    for line in lines:
        assert line.startswith("pync: cannot resolve no.such.host.invalid: ")


def test_a_mistake_is_not_waited_for() -> None:
    assert waited("-n", "localhost", "80").status == 2
    assert waited(HERE, "nosuchservice").status == 2


def test_tls_is_waited_for_until_the_handshake_succeeds(authority: Authority) -> None:
    """A port that is open, and ends whatever is begun with it, is not enough."""
    trust = ("--ssl-trustfile", f"{authority.root}", "--ssl-servername", "localhost")
    port = free_port()
    with wait("-vv", *trust, HERE, port) as pync:
        with socket.create_server((HERE, port)) as starting:
            starting.settimeout(PATIENCE)
            for _ in range(2):
                starting.accept()[0].close()
        leaf = authority.leaf["valid"]
        with Program.pync("-lkv", "--ssl-cert", f"{leaf.combined}", HERE, f"{port}"):
            assert pync.finish().status == 0


def test_an_attempt_that_hangs_is_given_up() -> None:
    """With the time of -w, so that the next one may get through."""
    port = free_port()
    trust = "--ssl-insecure"
    with wait("-vvw", "200ms", trust, HERE, port) as pync, socket.create_server((HERE, port)):
        pync.expect("TLS handshake with .* timed out")
    with wait(trust, HERE, port, limit="300ms") as pync, socket.create_server((HERE, port)):
        assert pync.finish().status == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--wait-open 5s h 80", "--wait-open needs --zero"),
        ("-z --wait-open 0 h 80", "--wait-open: '0' is not a time above zero"),
        ("-z --wait-open x h 80", "--wait-open: 'x' is not a time"),
        ("-z --wait-open 5s --json h 80", "--wait-open and --json exclude each other"),
        ("-z --wait-open 5s --hosts-from f 80", "--wait-open and --hosts-from exclude each other"),
        ("-z --wait-open 5s 10.0.0.0/24 80", "waits for one host, and '10.0.0.0/24'"),
    ],
)
def test_a_mistake_is_told(line: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        read_options(*parse(line.split()))
