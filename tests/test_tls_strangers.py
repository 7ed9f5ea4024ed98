"""Peers that speak no TLS, or none that pync wants, in both roles.

A client fails at once and says why; a listener tells of each in a line, and waits for the next.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from authority import Authority
from harness import PATIENCE, PIPE, Program
from plain_peer import HERE, ROLES, drain_until_any_end, joined, reset, start
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
    sock.sendall(b"\x16\3")
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
    "a few bytes and no more": (says(b"220"), rf"failed: {NO_TLS}b'220'"),
    "a record that is cut short": (cut_short, GONE),
    "a record of nonsense": (says(record(b"\3\3", b"\0nonsense")), "failed: unexpected message"),
    "a record that is too long": (
        says(b"\x16\3\3\xff\xff" + bytes(100)),
        "failed: (.*length.*|record layer failure)",
    ),
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
