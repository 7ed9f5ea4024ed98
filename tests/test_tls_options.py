"""What is agreed on and told: ALPN, ciphers, -v, the key log; and TLS beside the other options."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from authority import Authority
from harness import PIPE, Program
from plain_peer import HERE, ROLES, drain_until_any_end, joined, start
from plain_tls import VERSIONS, PlainTls, joined_tls, tls_options

Names = tuple[str, ...]

each_role = pytest.mark.parametrize("role", ROLES)
each_version = pytest.mark.parametrize("version", VERSIONS)
DATE = r"\w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} GMT"


def check_end(pync: Program, peer: PlainTls) -> None:
    """That both have ended well."""
    peer.send_close_notify()
    pync.end()
    assert peer.drain() == b""
    assert pync.finish().status == 0


# What is agreed on.


@each_role
@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        ("h2,http/1.1", ["http/1.1"], "http/1.1"),
        ("http/1.1", ["h2", "http/1.1"], "http/1.1"),
        ("h2", ["http/1.1"], None),
        ("h2", [], None),
        ("", ["h2"], None),
    ],
)
def test_the_application_protocol_is_one_that_both_have(
    authority: Authority, role: str, ours: str, theirs: list[str], agreed: str | None
) -> None:
    options = ("--ssl-alpn", ours) if ours else ()
    with joined_tls(authority, role, "-v", *options, alpn=theirs, stdin=PIPE) as (pync, peer):
        assert peer.tls.selected_alpn_protocol() == agreed
        line = pync.expect("TLS: (TLS.*)\n")[1]
        assert (f", ALPN {agreed}" if agreed else "ALPN") in line or not agreed
        assert ("ALPN" in line) == bool(agreed)
        check_end(pync, peer)


@each_role
def test_the_listeners_order_of_protocols_counts(authority: Authority, role: str) -> None:
    first, second = "one", "two"
    options = ("--ssl-alpn", f"{first},{second}")
    with joined_tls(authority, role, *options, alpn=[second, first], stdin=PIPE) as (pync, peer):
        listeners = first if role == "listens" else second
        assert peer.tls.selected_alpn_protocol() == listeners
        check_end(pync, peer)


@each_role
def test_a_cipher_of_tls_1_2_can_be_chosen(authority: Authority, role: str) -> None:
    wanted = "ECDHE-ECDSA-CHACHA20-POLY1305"
    options = ("-v", "--ssl-ciphers", wanted)
    with joined_tls(authority, role, *options, version="TLSv1.2", stdin=PIPE) as (pync, peer):
        pync.expect(f"TLS: TLSv1.2, {wanted}\n")
        check_end(pync, peer)


def test_a_cipher_that_nobody_knows_is_told_before_anything_is_opened() -> None:
    with socket.create_server((HERE, 0)) as server:
        server.setblocking(False)
        with start("--ssl-ciphers", "ROT13", HERE, f"{server.getsockname()[1]}") as pync:
            assert pync.finish() == (
                2,
                b"",
                "pync: --ssl-ciphers: OpenSSL knows no cipher in 'ROT13'\n",
            )
        with pytest.raises(BlockingIOError):
            server.accept()


# What is told.


@each_version
def test_v_says_what_was_agreed_on_and_who_the_server_is(
    authority: Authority, version: str
) -> None:
    with joined_tls(authority, "connects", "-nv", version=version, stdin=PIPE) as (pync, peer):
        check_end(pync, peer)
    leaf = authority.leaf["valid"]
    assert re.fullmatch(
        rf"Connection to 127\.0\.0\.1 \d+ port \[tcp/\*\] succeeded!\n"
        rf"TLS: {version}, [-A-Z0-9_]+\n"
        rf"TLS: certificate of CN=valid, issued by CN=intermediate, valid from {DATE} to {DATE}, "
        rf"{leaf.fingerprint}\n",
        pync.text(),
    )


@each_version
def test_v_says_it_of_a_client_without_a_certificate(authority: Authority, version: str) -> None:
    with joined_tls(authority, "listens", version=version, stdin=PIPE) as (pync, peer):
        check_end(pync, peer)
    assert re.fullmatch(
        rf"Listening on 127\.0\.0\.1 \d+\nConnection received on 127\.0\.0\.1 \d+\n"
        rf"TLS: {version}, [-A-Z0-9_]+\n",
        pync.text(),
    )


def test_without_v_nothing_is_said(authority: Authority) -> None:
    with joined_tls(authority, "connects", stdin=PIPE) as (pync, peer):
        check_end(pync, peer)
    assert pync.text() == ""


LOGGED = {
    "TLSv1.2": r"CLIENT_RANDOM [0-9a-f]{64} [0-9a-f]{96}",
    "TLSv1.3": r"CLIENT_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]{96}",
}


@each_role
@each_version
def test_the_keys_are_added_to_the_log_that_is_asked_for(
    authority: Authority, role: str, version: str, tmp_path: Path
) -> None:
    log = tmp_path / "keys"
    log.write_text("# kept\n")
    env = {"SSLKEYLOGFILE": f"{log}"}
    with joined_tls(authority, role, version=version, stdin=PIPE, env=env) as (pync, peer):
        check_end(pync, peer)
    lines = log.read_text().splitlines()
    assert lines[0] == "# kept"
    assert len([line for line in lines if re.fullmatch(LOGGED[version], line)]) == 1


# Beside other options.


def test_z_says_by_its_status_whether_tls_can_be_had(authority: Authority) -> None:
    trust = ("--ssl-trustfile", f"{authority.root}")
    with joined_tls(authority, "connects", "-z") as (pync, peer):
        assert peer.drain_until_any_end()[0] == b""  # tickets that nobody reads may reset it
        assert pync.finish() == (0, b"", "")
    with joined("connects", "-z", *trust) as (pync, sock):
        sock.sendall(b"SSH-2.0-plain\r\n")
        drain_until_any_end(sock)
        sock.close()
        assert pync.finish() == (1, b"", "")
    with joined("connects", "-zv", *trust) as (pync, sock):
        sock.sendall(b"SSH-2.0-plain\r\n")
        drain_until_any_end(sock)
        sock.close()
        assert pync.finish().err.endswith(
            "the peer does not speak TLS, but says b'SSH-2.0-plain'\n"
        )


@each_role
def test_telnet_is_spoken_within_tls(authority: Authority, role: str) -> None:
    with joined_tls(authority, role, "-t", stdin=PIPE) as (pync, peer):
        peer.sendall(b"login\xff\xfd\x01: \xff\xff")
        assert peer.recv_exactly(3) == b"\xff\xfc\x01"
        pync.send(b"\xff")
        assert peer.recv_exactly(2) == b"\xff\xff"
        assert pync.receive(8) == b"login: \xff"
        check_end(pync, peer)


@each_role
def test_lines_and_limits_are_those_of_what_tls_holds(authority: Authority, role: str) -> None:
    with joined_tls(authority, role, "-C", "-W", "1", stdin=PIPE) as (pync, peer):
        pync.send(b"a line\n")
        assert peer.recv_exactly(8) == b"a line\r\n"
        peer.sendall(b"one packet")
        assert peer.drain() == b""
        peer.send_close_notify()
        assert pync.finish()[:2] == (0, b"one packet")


def test_ssl_cert_and_key_may_be_in_one_file(authority: Authority) -> None:
    with (
        start("-lvn", "--ssl-cert", f"{authority.leaf['rsa'].combined}", HERE, "0") as server,
        start(
            *tls_options(authority, "connects", authority.leaf["rsa"]),
            HERE, f"{server.port}", stdin=b"x",
        ) as client,
    ):  # fmt: skip
        assert client.finish() == (0, b"", "")
        assert server.finish()[:2] == (0, b"x")
