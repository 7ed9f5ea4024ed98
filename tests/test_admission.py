"""Who may connect to a real listener: by address, as each client has bound its own."""

from __future__ import annotations

import socket
import ssl
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from authority import Authority
from harness import PATIENCE, PIPE, Program, needs_ipv6
from plain_peer import complaints, drain, drain_until_any_end, start

CLIENTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1")


def client_from(host: str) -> socket.socket:
    """A socket that will come from `host`."""
    client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    client.settimeout(PATIENCE)
    client.bind((host, 0))
    return client


def connect(client: socket.socket, port: int) -> None:
    client.connect(("::1" if client.family == socket.AF_INET6 else "127.0.0.1", port))


def is_reset(client: socket.socket, port: int) -> bool:
    """Whether it is reset before anything comes; that may be before it learns it is connected."""
    try:
        connect(client, port)
    except ConnectionResetError:
        return True
    return drain_until_any_end(client) == (b"", "RST")


def is_admitted(host: str, pync: Program) -> bool:
    """Whether it may connect; otherwise it is told of, and reset."""
    with client_from(host) as client:
        own = client.getsockname()[1]
        with suppress(ConnectionResetError):
            connect(client, pync.port)
        told = pync.expect(f"received on {host} {own}\n|from {host} port {own} denied\n")[0]
        return told.startswith("received")


@needs_ipv6
@pytest.mark.parametrize(
    ("rules", "admitted"),
    [
        ("--allow 127.0.0.2", ["127.0.0.2"]),
        ("--allow 127.0.0.2,::1", ["127.0.0.2", "::1"]),
        ("--allow ::ffff:127.0.0.2", ["127.0.0.2"]),
        ("--allow 127.0.0.0/8", ["127.0.0.1", "127.0.0.2", "127.0.0.3"]),
        ("--allow ::/0", ["::1"]),
        ("--allow 127.0.0.2-3", ["127.0.0.2", "127.0.0.3"]),
        ("--allow 127.0.0.2-127.0.0.3", ["127.0.0.2", "127.0.0.3"]),
        ("--allow localhost", ["127.0.0.1", "::1"]),
        ("--deny localhost", ["127.0.0.2", "127.0.0.3"]),
        ("--deny 127.0.0.2", ["127.0.0.1", "127.0.0.3", "::1"]),
        ("--deny ::/0", ["127.0.0.1", "127.0.0.2", "127.0.0.3"]),
        ("--allow 127.0.0.0/8 --deny 127.0.0.2", ["127.0.0.1", "127.0.0.3"]),
        ("--allow 127.0.0.2 --deny 127.0.0.0/8", []),
        ("--allowfile FILE", ["127.0.0.1", "127.0.0.3"]),
        ("--allowfile FILE --allow ::1", ["127.0.0.1", "127.0.0.3", "::1"]),
        ("--denyfile FILE --deny ::1", ["127.0.0.2"]),
    ],
)
def test_who_may_connect(rules: str, admitted: list[str], tmp_path: Path) -> None:
    """To one listener that serves both families."""
    file = tmp_path / "file"
    file.write_text("127.0.0.1 # here\n127.0.0.3\n")
    with start("-lkvn", "-d", *rules.replace("FILE", f"{file}").split(), "0") as pync:
        assert [host for host in CLIENTS if is_admitted(host, pync)] == admitted


def test_many_that_are_denied_do_not_use_up_the_one_turn() -> None:
    with start("-lvn", "--deny", "127.0.0.2", "127.0.0.1", "0", stdin=b"for you") as pync:
        for _ in range(200):
            with client_from("127.0.0.2") as denied:
                assert is_reset(denied, pync.port)
        with client_from("127.0.0.1") as good:
            connect(good, pync.port)
            good.sendall(b"good")
            good.shutdown(socket.SHUT_WR)
            assert drain(good) == b"for you"
        result = pync.finish()
    assert (result.status, result.out) == (0, b"good")
    assert len(complaints(result)) == 200
    assert "received on 127.0.0.2" not in result.err


FLOOD = """
import socket, sys
while True:
    with socket.socket() as client:
        client.bind(("127.0.0.2", 0))
        try:
            client.connect(("127.0.0.1", int(sys.argv[1])))
        except ConnectionError:
            pass
"""


def test_a_flood_of_those_who_are_denied_holds_nobody_up() -> None:
    """One is served while they come."""
    with (
        start("-lkdnv", "--deny", "127.0.0.2", "127.0.0.1", "0") as pync,
        client_from("127.0.0.1") as good,
        Program(sys.executable, "-c", FLOOD, f"{pync.port}"),
    ):
        connect(good, pync.port)
        for number in range(1, 101):
            pync.expect("denied")
            pync.err = b""
            good.sendall(b"x")
            assert len(pync.receive(number)) == number


def test_one_who_is_denied_gets_no_handshake(authority: Authority) -> None:
    shown = ("--ssl-cert", f"{authority.leaf['valid'].combined}")
    with start("-lnv", "--allow", "127.0.0.1", *shown, "127.0.0.1", "0", stdin=b"for you") as pync:
        with client_from("127.0.0.2") as denied:
            assert is_reset(denied, pync.port)
        context = ssl.create_default_context(cafile=f"{authority.root}")
        with client_from("127.0.0.1") as plain:
            connect(plain, pync.port)
            with context.wrap_socket(plain, server_hostname="localhost") as good:
                assert good.recv(100) == b"for you"
        result = pync.finish()
    assert result.err.count("denied\n") == 1
    assert "handshake" not in result.err


# --- datagrams ---


def sender(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.connect(("127.0.0.1", port))
    sock.settimeout(PATIENCE)
    return sock


@pytest.mark.parametrize("options", ["-ulnv", "-ulknv"])
def test_datagrams_of_those_who_are_denied_are_dropped(options: str) -> None:
    """They capture nothing, are told of once, and nobody else's is lost."""
    with (
        start(options, "--deny", "127.0.0.2", "127.0.0.1", "0", stdin=PIPE) as pync,
        sender("127.0.0.2", pync.port) as denied,
        sender("127.0.0.1", pync.port) as good,
    ):
        for _ in range(200):
            denied.send(b"bad ")
        good.send(b"good")
        assert pync.receive(4) == b"good"
        denied.send(b"bad ")
        good.send(b" again")
        pync.send(b"answer")
        assert good.recv(100) == b"answer"
        assert pync.receive(10) == b"good again"
        denied.setblocking(False)
        with pytest.raises((BlockingIOError, ConnectionRefusedError)):
            denied.recv(100)
        assert pync.text().count("denied") == 1
        assert "received on 127.0.0.2" not in pync.text()


def test_those_who_are_denied_push_no_peer_out_of_the_table() -> None:
    """More of them than it has room for, each from a port of its own."""
    with (
        start("-ulkdnv", "--deny", "127.0.0.2-3", "127.0.0.1", "0") as pync,
        sender("127.0.0.1", pync.port) as good,
    ):
        good.send(b"a")
        assert pync.receive(1) == b"a"
        port = pync.port
        for number in range(1100):
            pync.err = b""
            with sender(f"127.0.0.{2 + number % 2}", port) as denied:
                denied.send(b"bad")
                pync.expect("denied\n")
        good.send(b"b")
        assert pync.receive(2) == b"ab"
        assert "received" not in pync.text()  # it is no newcomer


# --- what is told before anything is opened ---


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-l --allow 10.0.0.0/33 0", "--allow: '10.0.0.0/33' is not a network such as 10.0.0.0/8"),
        ("-l --deny 10.0.0.1,10.0.0.9-1 0", "--deny: '10.0.0.9-1' is a range that ends before"),
        ("-l --allow 10.0.0.1, 0", "--allow: '10.0.0.1,' is not a list such as"),
        ("-l --allow= 0", "--allow: '' is not a list such as"),
        ("-l --allowfile= 0", "--allowfile: '' is empty"),
        ("-l --denyfile /nowhere/at/all 0", "cannot read /nowhere/at/all: No such file"),
        ("-ln --allow a.test 0", "'a.test' is a name, and --nodns forbids to look it up"),
        ("--allow 10.0.0.1 localhost 80", "--allow needs --listen"),
        ("--denyfile x localhost 80", "--denyfile needs --listen"),
        ("-lU --deny 10.0.0.1 x", "--unixsock and --deny exclude each other"),
    ],
)
def test_a_mistake_is_told(line: str, told: str) -> None:
    with start(*line.split()) as pync:
        result = pync.finish()
    assert result.status == 2
    assert [complaint.startswith(f"pync: {told}") for complaint in complaints(result)] == [True]
