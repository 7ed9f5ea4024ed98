"""Peers that speak no TLS, or none that pync wants, or that say nothing at all, in both roles.

A client fails at once, or when its time is up.  A listener tells of each in a line and waits for
the next, who is served at once even while others say nothing.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from authority import Authority
from harness import PATIENCE, PIPE, Program
from plain_peer import HERE, ROLES, drain_until_any_end, joined, reset, silent, start
from plain_tls import PlainTls, client_context, tls_options
from tls_peers import openssl_client, openssl_server

Act = Callable[[socket.socket], None]
Options = tuple[str, ...]

each_role = pytest.mark.parametrize("role", ROLES)


def says(words: bytes) -> Act:
    return lambda sock: sock.sendall(words)


def hello(version: bytes) -> bytes:
    """The hello of a client of TLS 1.0 or 1.1 (RFC 4346, 7.4.1.2)."""
    body = version + bytes(32) + b"\0" + b"\0\2\xc0\x13" + b"\1\0"
    return record(version, b"\1" + len(body).to_bytes(3, "big") + body)


def answer(version: bytes) -> bytes:
    """The hello of such a server (RFC 4346, 7.4.1.3)."""
    body = version + bytes(32) + b"\0" + b"\xc0\x13" + b"\0"
    return record(version, b"\2" + len(body).to_bytes(3, "big") + body)


def record(version: bytes, message: bytes) -> bytes:
    return b"\x16" + version + len(message).to_bytes(2, "big") + message


def cut_short(sock: socket.socket) -> None:
    sock.sendall(b"hm")
    sock.shutdown(socket.SHUT_WR)


# What they do, and what is said of it.
NO_TLS = "the peer does not speak TLS, but says "
GONE = "failed: the peer closed the connection during the handshake"
STRANGERS: dict[str, tuple[Act, str]] = {
    "garbage": (says(b"\0\1\2garbage\n"), rf"failed: {NO_TLS}b'\\x00\\x01\\x02garbage'"),
    "HTTP": (
        says(b"HTTP/1.0 400 Bad \x1b[31mRequest\r\nServer: web\r\n\r\n"),
        rf"failed: {NO_TLS}b'HTTP/1\.0 400 Bad \\x1b\[31mRequest'",
    ),
    "ssh": (says(b"SSH-2.0-OpenSSH_9.2p1\r\n"), rf"failed: {NO_TLS}b'SSH-2\.0-OpenSSH_9\.2p1'"),
    "a long line": (says(b"x" * 100_000), rf"failed: {NO_TLS}b'x{{80}}'"),
    "words that are cut short": (
        cut_short,
        rf"failed: {NO_TLS}b'hm'",
    ),
    "a record of nonsense": (says(record(b"\3\3", b"\0nonsense")), "failed: unexpected message"),
    "a record that is too long": (says(b"\x16\3\3\xff\xff" + bytes(100)), "failed: .*length.*"),
    "a refusal": (
        says(b"\x15\3\3\0\2\2\x28"),
        "failed: (the peer refuses: handshake failure|unexpected message)",
    ),
    "a close": (socket.socket.close, GONE),
    "an end": (lambda sock: sock.shutdown(socket.SHUT_WR), GONE),
    "a reset": (reset, "lost: Connection reset by peer"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_client_fails_at_once_and_says_why(authority: Authority, stranger: str) -> None:
    act, told = STRANGERS[stranger]
    with joined("connects", "--ssl-trustfile", f"{authority.root}", stdin=PIPE) as (pync, sock):
        pync.send(b"payload")
        said = sock.recv(1 << 16)
        act(sock)
        if sock.fileno() != -1:
            assert b"payload" not in said + drain_until_any_end(sock)[0]
            sock.close()
        status, out, err = pync.finish()
    assert re.fullmatch(rf"pync: (TLS|connection) with 127\.0\.0\.1 port \d+ .*{told}\n", err)
    assert (status, out) == (1, b"")


# Listeners.


def listening(authority: Authority, *options: str, **how: Any) -> Program:
    shown = tls_options(authority, "listens", authority.leaf["valid"])
    return start("-lvn", *shown, *options, HERE, "0", **how)


@contextmanager
def stranger_of(server: Program) -> Iterator[socket.socket]:
    with socket.create_connection((HERE, server.port), PATIENCE) as sock:
        yield sock


@contextmanager
def client_of(authority: Authority, server: Program) -> Iterator[PlainTls]:
    """Somebody who is open."""
    with stranger_of(server) as sock:
        peer = PlainTls(sock, client_context(authority.root))
        peer.handshake()
        yield peer


@contextmanager
def served(authority: Authority, server: Program, words: str) -> Iterator[PlainTls]:
    """Somebody whose words have come out."""
    with client_of(authority, server) as peer:
        peer.sendall(words.encode())
        peer.send_close_notify()
        server.expect(f"{words}$", "out")
        yield peer


def check_end(server: Program, peer: PlainTls) -> None:
    """That the listener ends with this one."""
    server.end()
    assert peer.drain() == b""
    assert server.finish().status == 0


@pytest.mark.parametrize("options", [(), ("-k",)], ids=["once", "-k"])
def test_a_listener_tells_of_strangers_and_waits_on(authority: Authority, options: Options) -> None:
    with listening(authority, *options, stdin=PIPE) as server:
        for act, told in STRANGERS.values():
            with stranger_of(server) as sock:
                act(sock)
                if sock.fileno() != -1:
                    with suppress(ConnectionError):
                        drain_until_any_end(sock)
            server.expect(rf"pync: (TLS|connection) with 127\.0\.0\.1 port \d+ .*{told}\n$")
        with served(authority, server, "good") as peer:
            assert server.text().count("Connection received") == 1
            if not options:
                check_end(server, peer)


def test_a_listener_that_keeps_open_serves_several_at_once(authority: Authority) -> None:
    with listening(authority, "-k", stdin=PIPE) as server, ExitStack() as stack:
        peers = [stack.enter_context(client_of(authority, server)) for _ in range(5)]
        for number, peer in enumerate(peers):
            peer.sendall(b"%d\n" % number)
        assert sorted(server.receive(10).split()) == [b"%d" % number for number in range(5)]
        server.send(b"to all of you")
        server.end()
        assert [peer.drain() for peer in peers] == [b"to all of you"] * 5


# Silence.


@pytest.mark.parametrize("option", ["-w", "--wait"])
def test_a_client_gives_up_a_server_that_says_nothing(authority: Authority, option: str) -> None:
    options = ("--ssl-trustfile", f"{authority.root}", option, "1")
    begin = time.monotonic()
    with joined("connects", *options, stdin=b"payload") as (pync, sock):
        status, out, err = pync.finish()
        took = time.monotonic() - begin
        assert b"payload" not in drain_until_any_end(sock)[0]
    assert (status, out) == (1, b"")
    assert re.fullmatch(r"pync: TLS handshake with 127\.0\.0\.1 port \d+ \(tcp\) timed out\n", err)
    assert 1 <= took < 5


@pytest.mark.parametrize("options", [("-w", "1"), ("-k", "--wait", "1")], ids=" ".join)
def test_a_listener_drops_a_client_that_says_nothing(
    authority: Authority, options: Options
) -> None:
    with listening(authority, *options, stdin=PIPE) as server:
        begin = time.monotonic()
        with stranger_of(server) as silent, stranger_of(server) as slow:
            slow.sendall(hello(b"\3\3")[:20])
            assert drain_until_any_end(silent)[0] == b""
            assert 1 <= time.monotonic() - begin < 5
            assert drain_until_any_end(slow)[0] == b""
        server.expect(r"(pync: TLS handshake with 127\.0\.0\.1 port \d+ \(tcp\) timed out\n){2}$")
        with served(authority, server, "good"):
            pass


@pytest.mark.parametrize("options", [(), ("-k",)], ids=["once", "-k"])
def test_others_are_served_at_once_meanwhile(authority: Authority, options: Options) -> None:
    with listening(authority, *options, "--wait", "1m", stdin=PIPE) as server, ExitStack() as stack:
        strangers = [stack.enter_context(stranger_of(server)) for _ in range(5)]
        with served(authority, server, "good") as peer:
            assert "timed out" not in server.text()
            if not options:
                for sock in strangers:  # there is no turn left for them
                    assert drain_until_any_end(sock)[0] == b""
                check_end(server, peer)


def test_they_do_not_keep_all_the_descriptors(authority: Authority) -> None:
    few = 'ulimit -n 16; exec "$@"'
    options = ("-k", "--wait", "300ms")
    with listening(authority, *options, shell=few, stdin=PIPE) as server, ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(stranger_of(server))
        with served(authority, server, "good"):
            assert "open files" in server.text()


IN_A_HURRY = 20  # times as fast as the world
HURRY = f"""
import sys, time
from pync import cli, environment

cli.Environment = lambda: environment.Environment(clock=lambda: {IN_A_HURRY} * time.monotonic())
sys.exit(cli.main())
"""
HURRYING: dict[str, Any] = {
    "shell": 'python=$1; shift 3; exec "$python" -c "$HURRY" "$@"',
    "env": {"HURRY": HURRY},
}


@each_role
def test_without_an_option_a_handshake_may_take_ten_seconds(
    authority: Authority, role: str
) -> None:
    """Although something comes all the time.  pync's clock is fast, and only seen when it does."""
    options = tls_options(authority, role, authority.leaf["valid"])
    with joined(role, *options, stdin=PIPE, **HURRYING) as (pync, sock):
        begin = time.monotonic()
        if role == "connects":
            assert sock.recv(1 << 16)
        sock.sendall(b"\x16\3\3\x40\0")
        while silent(sock, 0.02):
            sock.sendall(b"\0")
        took = (time.monotonic() - begin) * IN_A_HURRY
        assert drain_until_any_end(sock)[0] == b""
        pync.expect("pync: TLS handshake with .* timed out\n")
    assert 10 <= took < 60


# Versions.

OLD = {"TLS 1.0": b"\3\1", "TLS 1.1": b"\3\2"}
REFUSAL = b"\x15.{2}\0\2\2\x46"  # protocol_version (RFC 8446, 6.2)


@pytest.mark.parametrize("version", OLD)
@each_role
def test_an_old_version_is_refused(authority: Authority, role: str, version: str) -> None:
    options = tls_options(authority, role, authority.leaf["valid"])
    with joined(role, *options, stdin=PIPE) as (pync, sock):
        if role == "connects":
            sock.recv(1 << 16)
        sock.sendall((answer if role == "connects" else hello)(OLD[version]))
        assert re.fullmatch(REFUSAL, drain_until_any_end(sock)[0], re.DOTALL)
        sock.close()
        pync.expect("pync: TLS with .* failed: unsupported protocol\n")
        if role == "connects":
            assert pync.finish()[:2] == (1, b"")


def test_openssl_with_an_old_version_is_refused(authority: Authority) -> None:
    old = ("-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
    with (
        openssl_server(authority.leaf["rsa"], *old, stdin=PIPE) as (_, port),
        start("--ssl-trustfile", f"{authority.root}", "localhost", f"{port}") as client,
    ):
        status, _, err = client.finish()
        assert status == 1
        assert err.endswith("failed: the peer refuses: protocol version\n")
    with (
        listening(authority, stdin=PIPE) as server,
        openssl_client(server.port, *old, stdin=PIPE) as openssl,
    ):
        assert "alert protocol version" in openssl.finish().err
        server.expect("pync: TLS with .* failed: unsupported protocol\n")


# Signals.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@each_role
def test_a_signal_ends_a_handshake(authority: Authority, role: str, number: int) -> None:
    options = tls_options(authority, role, authority.leaf["valid"])
    with joined(role, *options, stdin=PIPE) as (pync, sock):
        if role == "connects":
            assert sock.recv(1 << 16)
        else:
            sock.sendall(b"\x16\3\3")
        pync.signal(number)
        assert pync.finish().status == -number
        drain_until_any_end(sock)
