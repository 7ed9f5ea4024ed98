"""Sockets that are handed in, and a port that is told."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import NULL, PATIENCE, PIPE, PYNC, Program, Result, free_port, needs_ipv6
from plain_peer import HERE, complaints, drain, run, start
from test_signals import until


def tcp() -> socket.socket:
    return socket.create_server((HERE, 0))


def tcp6() -> socket.socket:
    return socket.create_server(("::1", 0), family=socket.AF_INET6)


def udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HERE, 0))
    return sock


def unix() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("")
    sock.listen()
    return sock


def unix_datagrams() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind("")
    return sock


KINDS = [
    pytest.param((), tcp, id="TCP"),
    pytest.param((), tcp6, id="TCP over IPv6", marks=needs_ipv6),
    pytest.param(("-u", "-W", "1"), udp, id="UDP"),
    pytest.param(("-U",), unix, id="unix"),
    pytest.param(("-U", "-u", "-W", "1"), unix_datagrams, id="unix datagrams"),
]


def serving(sock: socket.socket, *options: str, **how: object) -> Program:
    return start("-lnv", "--fd", str(sock.fileno()), *options, pass_fds=[sock.fileno()], **how)


@contextmanager
def client_of(sock: socket.socket) -> Iterator[socket.socket]:
    with socket.socket(sock.family, sock.type) as client:
        client.settimeout(PATIENCE)
        client.connect(sock.getsockname())
        yield client


@pytest.mark.parametrize(("options", "make"), KINDS)
def test_a_listener_takes_the_socket_that_it_is_given(
    options: tuple[str, ...], make: Callable[[], socket.socket]
) -> None:
    with make() as sock, serving(sock, *options) as pync:
        pync.expect("Listening on")
        with client_of(sock) as client:
            client.send(b"hello")
            client.close()
        assert (pync.finish().status, pync.out) == (0, b"hello")


def test_as_inetd_gives_it_with_wait() -> None:
    """As standard input, which then is nothing to read."""
    with tcp() as sock, start("-ln", "--fd", "0", stdin=sock) as pync, client_of(sock) as client:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert drain(client) == b""
        assert (pync.finish().status, pync.out) == (0, b"hello")


def test_several_clients_of_one_that_is_handed_in() -> None:
    with (
        tcp() as sock,
        serving(sock, "-k", stdin=PIPE) as pync,
        client_of(sock) as one,
        client_of(sock) as two,
    ):
        pync.expect(r"(Connection received on \S+ \d+\n){2}")
        pync.send(b"hello")
        assert (one.recv(100), two.recv(100)) == (b"hello", b"hello")


@contextmanager
def as_systemd_does(
    *args: str, count: str = "1", pid: str = "$$"
) -> Iterator[tuple[socket.socket, Program]]:
    """pync with a listening socket as descriptor 3."""
    with tcp() as sock:
        script = (
            f'export LISTEN_PID={pid} LISTEN_FDS={count} LISTEN_FDNAMES=; exec "$@" 3<&0 </dev/null'
        )
        with run(*PYNC, *args, shell=script, stdin=sock) as pync:
            yield sock, pync


def test_what_systemd_hands_in_is_taken_without_a_word() -> None:
    with as_systemd_does("-lnv") as (sock, pync):
        assert pync.port == sock.getsockname()[1]
        with client_of(sock) as client:
            client.sendall(b"hello")
        assert (pync.finish().status, pync.out) == (0, b"hello")


HANDED_IN = r"LISTEN_(PID|FDS|FDNAMES)="


def test_programs_are_not_told_of_what_is_handed_in() -> None:
    with as_systemd_does("-ln", "-e", "env") as (sock, _), client_of(sock) as client:
        told = drain(client).decode()
    assert "PYNC_REMOTE_ADDR=" in told
    assert not re.search(HANDED_IN, told)


def test_what_is_handed_to_another_process_is_none_of_ours_to_keep_back() -> None:
    with (
        as_systemd_does("-lnv", HERE, "0", "-e", "env", pid="1") as (_, pync),
        socket.create_connection((HERE, pync.port), PATIENCE) as client,
    ):
        told = drain(client).decode()
    assert len(re.findall(HANDED_IN, told)) == 3


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd is not here")
def test_systemd_itself() -> None:
    port = free_port()
    activate = ("systemd-socket-activate", "--listen", f"{HERE}:{port}")
    with run(*activate, *PYNC, "-ln") as pync:
        pync.expect("Listening on")
        with socket.create_connection((HERE, port), PATIENCE) as client:
            client.sendall(b"hello")
        assert (pync.finish().status, pync.out) == (0, b"hello")


def test_a_port_that_is_named_goes_before_what_systemd_hands_in() -> None:
    with as_systemd_does("-lnv", HERE, "0") as (sock, pync):
        assert pync.port != sock.getsockname()[1]


def test_what_systemd_has_handed_to_another_process_is_not_ours() -> None:
    with as_systemd_does("-ln", pid="1") as (_, pync):
        check(pync.finish(), "--listen needs a port")


def test_of_several_sockets_that_systemd_hands_in_one_has_to_be_named() -> None:
    with as_systemd_does("-ln", count="2") as (_, pync):
        check(pync.finish(), "LISTEN_FDS says '2', and --fd which of them, from 3 on")
    with as_systemd_does("-lnv", "--fd", "3", count="2") as (sock, pync):
        assert pync.port == sock.getsockname()[1]


def connected() -> socket.socket:
    with tcp() as listener:
        return socket.create_connection(listener.getsockname())


def netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


WRONG = [
    ((), udp, "the socket that is descriptor {fd} needs --udp alone"),
    (("-u",), tcp, "the socket that is descriptor {fd} needs neither --unixsock nor --udp"),
    ((), unix, "the socket that is descriptor {fd} needs --unixsock alone"),
    (("-U",), unix_datagrams, "the socket that is descriptor {fd} needs --unixsock and --udp"),
    ((), connected, "descriptor {fd} is a socket that does not listen"),
    ((), netlink, "descriptor {fd} is a socket of a kind that pync does not know"),
]


@pytest.mark.parametrize(("options", "make", "told"), WRONG)
def test_what_is_no_such_listening_socket_is_told(
    options: tuple[str, ...], make: Callable[[], socket.socket], told: str
) -> None:
    with make() as sock, serving(sock, *options) as pync:
        check(pync.finish(), "--fd: " + told.format(fd=sock.fileno()))


@pytest.mark.parametrize(
    ("fd", "told"),
    [
        ("1", "descriptor 1: Socket operation on non-socket"),
        ("9", "descriptor 9: Bad file descriptor"),
        ("x", "'x' is not the number of a descriptor"),
    ],
)
def test_what_is_no_socket_is_told(fd: str, told: str) -> None:
    with start("-ln", "--fd", fd) as pync:
        check(pync.finish(), f"--fd: {told}")


def test_a_place_besides_makes_no_sense() -> None:
    with start("-ln", "--fd", "3", HERE, "2389") as pync:
        check(pync.finish(), "--fd has its place already, and takes no '127.0.0.1' '2389'")


def check(result: Result, told: str) -> None:
    assert (result.status, result.out) == (2, b"")
    assert [line.partition("; ")[0].partition(", as in")[0] for line in complaints(result)] == [
        f"pync: {told}"
    ]


# --- --port-file ---


@pytest.mark.parametrize("options", [(), ("-u",), ("-k",), ("-6",)])
def test_the_port_stands_in_a_file_once_it_is_open(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "port"
    with start("-lnv", *options, "--port-file", str(file), "0") as pync:
        until(file.exists)
        assert file.read_text() == f"{pync.port}\n"
        assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "port"
    file.write_text("1\n2\n3\n")
    before = file.stat().st_ino
    with start("-lnv", "--port-file", str(file), HERE, "0") as pync:
        until(lambda: file.stat().st_ino != before)
        assert file.read_text() == f"{pync.port}\n"


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "nowhere" / "port"
    with start("-ln", "--port-file", str(file), HERE, "0", stdin=NULL) as pync:
        check(pync.finish(), f"cannot write {file}: No such file or directory")
