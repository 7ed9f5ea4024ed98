"""Who may connect to a real listener: by address, as each client has bound its own, or by user."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from authority import Authority
from harness import PATIENCE, PIPE, Program, descriptors, needs_ipv6
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
        ("--deny 0.0.0.0/0", ["::1"]),
        ("--deny ::ffff:127.0.0.0/127", ["127.0.0.2", "127.0.0.3", "::1"]),
        ("--allow 127.0.0.0/8 --deny 127.0.0.2", ["127.0.0.1", "127.0.0.3"]),
        ("--allow 127.0.0.2 --deny 127.0.0.0/8", []),
        ("--allowfile FILE", ["127.0.0.1", "127.0.0.3"]),
        ("--allowfile FILE --allow ::1", ["127.0.0.1", "127.0.0.3", "::1"]),
        ("--denyfile FILE --deny ::1", ["127.0.0.2"]),
    ],
)
def test_who_may_connect(rules: str, admitted: list[str], tmp_path: Path) -> None:
    """To a listener for both families, which gets IPv4's addresses as ::ffff:127.0.0.1."""
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


def test_one_who_is_denied_costs_nothing() -> None:
    """Nothing of what it sends is read, and nothing of it is left."""
    with (
        start("-lknv", "--deny", "127.0.0.2", "127.0.0.1", "0", stdin=PIPE) as pync,
        client_from("127.0.0.1") as good,
    ):
        connect(good, pync.port)
        pync.expect("received")
        before = descriptors(pync.pid)
        for _ in range(50):
            with client_from("127.0.0.2") as denied, suppress(ConnectionError):
                connect(denied, pync.port)
                denied.sendall(b"bad")
                drain(denied)
        assert descriptors(pync.pid) == before
        good.sendall(b"good")
        assert pync.receive(4) == b"good"


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


@pytest.mark.parametrize("place", [["127.0.0.1"], pytest.param([], marks=needs_ipv6)])
@pytest.mark.parametrize("options", ["-ulnv", "-ulknv"])
def test_datagrams_of_those_who_are_denied_are_dropped(options: str, place: list[str]) -> None:
    """They capture nothing, are told of once, and nobody else's is lost."""
    with (
        start(options, "--deny", "127.0.0.2", *place, "0", stdin=PIPE) as pync,
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


# --- users, over a unix socket ---

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root can be somebody else")


class User(NamedTuple):
    """Somebody whom this process can be for a while."""

    uid: int
    gid: int
    groups: Sequence[int] = ()


USERS = {
    "root": User(0, 0),
    "ada": User(1001, 100, (100, 50)),
    "bob": User(1002, 100),
    "eve": User(1003, 60, range(2000, 2300)),  # in more groups than can be told
}


@contextmanager
def being(user: User) -> Iterator[None]:
    """What is connected meanwhile is that user's."""
    groups = os.getgroups()
    os.setgroups(user.groups)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def place(tmp_path: Path) -> str:
    """The name of an abstract socket, to which everybody may connect."""
    return f"@{str(tmp_path)[-100:]}"


@contextmanager
def unix_client(name: str, place: str) -> Iterator[socket.socket]:
    """One of `name`, who is connected."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        with being(USERS[name]):
            client.connect("\0" + place[1:])
        yield client


def is_cut_off(client: socket.socket) -> bool:
    return drain_until_any_end(client)[0] == b""


@needs_root
@pytest.mark.parametrize(
    ("rules", "admitted"),
    [
        ("--allow uid:1001", "ada"),
        ("--allow uid:0,gid:100", "root ada bob"),
        ("--allow gid:50", "ada"),
        ("--allow gid:60", "eve"),
        ("--deny gid:50", "root bob"),
        ("--deny uid:1002,gid:60", "root ada"),
        ("--allow gid:100 --deny uid:1002", "ada"),
        ("--allowfile FILE", "root bob"),
        ("--denyfile FILE", "ada eve"),
        ("--allow uid:1001 --denyfile FILE", "ada"),
    ],
)
def test_which_users_may_connect(rules: str, admitted: str, place: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("uid:0 # root\nuid:1002\n")
    options = rules.replace("FILE", f"{file}").split()
    with start("-lkdUv", *options, place) as pync:
        pync.expect("Listening on .*\n")
        assert [name for name in USERS if is_welcome(name, pync, place)] == admitted.split()


def is_welcome(name: str, pync: Program, place: str) -> bool:
    """Whether it may connect; otherwise it is told of, and cut off."""
    pync.err = b""
    user = USERS[name]
    with unix_client(name, place) as client:
        denied = rf"from @\S+ \(uid {user.uid}, gid {user.gid}\) denied"
        told = pync.expect(rf"(received on @\S+|{denied}.*)\n")[0]
        return told.startswith("received") or not is_cut_off(client)


def test_one_s_own_user_can_be_let_in_and_kept_out(tmp_path: Path) -> None:
    """As the path's owner and without any privilege."""
    path = tmp_path / "socket"
    for option, admitted in (("--allow", True), ("--deny", False)):
        with (
            start("-lUv", option, f"uid:{os.geteuid()}", f"{path}", stdin=b"for you") as pync,
            socket.socket(socket.AF_UNIX) as client,
        ):
            pync.expect("Listening on")
            client.connect(str(path))
            client.settimeout(PATIENCE)
            assert client.recv(100) == (b"for you" if admitted else b"")


@needs_root
def test_users_that_are_denied_do_not_use_up_the_one_turn(place: str) -> None:
    with start("-lUv", "--deny", "uid:1001", place, stdin=b"for you") as pync:
        pync.expect("Listening on")
        for _ in range(200):
            with unix_client("ada", place) as denied:
                assert is_cut_off(denied)
        with unix_client("bob", place) as good:
            good.sendall(b"good")
            good.shutdown(socket.SHUT_WR)
            assert drain(good) == b"for you"
        result = pync.finish()
    assert (result.status, result.out) == (0, b"good")
    told = f"pync: connection from {place} (uid 1001, gid 100) denied"
    assert complaints(result) == [told]  # once, as it is always the same one


@needs_root
def test_a_user_who_is_denied_costs_nothing(place: str) -> None:
    """Nothing of what it sends is read, and nothing of it is left."""
    with start("-lkUv", "--allow", "uid:0", place, stdin=PIPE) as pync:
        pync.expect("Listening on")
        with unix_client("root", place):
            pync.expect("received")
            before = descriptors(pync.pid)
            for _ in range(50):
                with unix_client("bob", place) as denied:
                    with suppress(ConnectionError):
                        denied.sendall(b"bad")
                    assert is_cut_off(denied)
            assert descriptors(pync.pid) == before
        pync.signal(signal.SIGTERM)
        assert pync.finish().out == b""


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
        ("-l --allow nowhere.invalid 0", "--allow: cannot resolve nowhere.invalid: "),
        ("-ln --allow a.test 0", "'a.test' is a name, and --nodns forbids to look it up"),
        ("--allow 10.0.0.1 localhost 80", "--allow needs --listen"),
        ("--denyfile x localhost 80", "--denyfile needs --listen"),
        ("-lU --deny 10.0.0.1 x", "--deny: '10.0.0.1' is not a user or a group such as uid:1000"),
        ("-lU --allow uid:no-such x", "--allow: 'uid:no-such' is not the name of a user"),
        ("-l --allow uid:0 0", "--allow: 'uid:0' is for unix sockets alone: "),
        ("-ul --deny gid:0 0", "--deny: 'gid:0' is for unix sockets alone: "),
        ("-lUu --deny uid:0 x", "--allow and --deny: datagrams do not tell who sent them; --mode"),
        ("-lUu --allowfile y x", "--allow and --deny: datagrams do not tell who sent them; "),
    ],
)
def test_a_mistake_is_told(line: str, told: str) -> None:
    with start(*line.split()) as pync:
        result = pync.finish()
    assert result.status == 2
    assert [complaint.startswith(f"pync: {told}") for complaint in complaints(result)] == [True]
