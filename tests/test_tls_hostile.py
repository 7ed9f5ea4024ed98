"""Certificates that are odd, or made to do harm: what stands in one reaches a person escaped, on
one line, and what cannot be read ends the one connection, and no listener."""

from __future__ import annotations

import re
from pathlib import Path

import authority as made
import pytest
from authority import Leaf
from cryptography import x509
from cryptography.hazmat.primitives.serialization import NoEncryption
from cryptography.x509.oid import ExtensionOID
from harness import PIPE, Program
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_peer import HERE, start
from plain_tls import VERSIONS
from tls_peers import openssl_client, openssl_server

from pync.wire.tls.contexts import first_certificate

FORGED = "evil\npync: all is well\x1b[2J\x9b"
ESCAPED = r"evil\x0apync: all is well\x1b[2J\x9b"


def names(*hosts: bytes) -> x509.UnrecognizedExtension:
    """Subject alternative names of any bytes, as few of them as DER's short form takes."""
    body = b"".join(bytes([0x82, len(host)]) + host for host in hosts)  # RFC 5280, 4.2.1.6
    sequence = bytes([0x30, len(body)]) + body
    return x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, sequence)


def write(directory: Path, subject: str, *hosts: bytes, signer: str = "") -> Leaf:
    """A certificate with that subject for those hosts, or for none; with a `signer`, its authority
    is in `directory`/root.pem, and has that name."""
    root = made.make_signer(signer, None) if signer else None
    if root:
        (directory / "root.pem").write_bytes(root.pem)
    named = [names(*hosts)] if hosts else []
    leaf = made.sign(subject, made.ecdsa_key(), root, (-1, 1), *named)
    return made.write_leaf(directory / "leaf", leaf, b"", NoEncryption())


@pytest.mark.parametrize(
    ("subject", "host", "signer", "trust", "told"),
    [
        ("x", b"a\nb\x1b\xc2\x9b", "", "leaf.chain", r"certificate is for a\x0ab\x1b\x9b"),
        ("x", b"localhost\0.evil", "", "leaf.chain", r"certificate is for localhost\x00.evil"),
        ("x", b"localhost", FORGED, "", f"CN={ESCAPED} is not trusted; "),
        ("x", b"\xff\xfe", "", "leaf.chain", "certificate is for (unreadable)"),
        ("x", b"\xff\xfe", "", "", "self-signed certificate; "),
        ("x", b"\xff\xfe", "stranger", "", "(unreadable) is not trusted; "),
    ],
)
def test_why_one_is_refused_is_told_in_one_line(
    subject: str, host: bytes, signer: str, trust: str, told: str, tmp_path: Path
) -> None:
    leaf = write(tmp_path, subject, host, signer=signer)
    options = ("--ssl-trustfile", f"{tmp_path / trust}") if trust else ("--ssl",)
    with (
        openssl_server(leaf, stdin=PIPE) as (_, port),
        start(*options, "localhost", f"{port}", stdin=b"payload") as pync,
    ):
        status, out, err = pync.finish()
    assert (status, out) == (1, b"")
    assert re.fullmatch(r"pync: [^\x00-\x1f\x7f-\x9f]+\n", err)
    assert told in err


@pytest.mark.parametrize(
    ("subject", "told"),
    [("localhost", ""), ("other.example", "name mismatch: certificate is for other.example\n")],
)
def test_one_that_names_no_host_is_for_its_subject(subject: str, told: str, tmp_path: Path) -> None:
    leaf = write(tmp_path, subject)
    with (
        openssl_server(leaf, stdin=PIPE) as (_, port),
        start("--ssl-trustfile", f"{leaf.chain}", "localhost", f"{port}", stdin=b"x") as pync,
    ):
        status, _, err = pync.finish()
    assert status == bool(told)
    assert err.endswith(told)


@pytest.mark.parametrize(
    ("days", "told"),
    [((-30, -1), "certificate has expired"), ((1, 30), "certificate is not yet valid")],
)
def test_the_dates_that_are_told_are_not_those_of_another(
    days: tuple[int, int], told: str, tmp_path: Path
) -> None:
    root = made.make_signer("root", None)
    authority = x509.BasicConstraints(ca=True, path_length=None)
    usage = made.key_usage(made.CERTIFICATES)
    late = made.sign("late", made.ecdsa_key(), root, days, authority, usage)
    leaf = made.sign("leaf", made.ecdsa_key(), late, (-1, 1), names(b"localhost"))
    shown = made.write_leaf(tmp_path / "leaf", leaf, late.pem, NoEncryption())
    (tmp_path / "root.pem").write_bytes(root.pem)
    with (
        openssl_server(shown, stdin=PIPE) as (_, port),
        start("--ssl-trustfile", f"{tmp_path / 'root.pem'}", "localhost", f"{port}") as pync,
    ):
        assert pync.finish().err.endswith(f"failed: an authority's {told}\n")


@pytest.mark.parametrize("host", [b"localhost", b"\xff\xfe"])
def test_who_the_peer_is_is_told_in_one_line(host: bytes, tmp_path: Path) -> None:
    leaf = write(tmp_path, FORGED, host)
    with (
        openssl_server(leaf, stdin=PIPE) as (_, port),
        start("-v", "--ssl-fingerprint", leaf.fingerprint, "localhost", f"{port}") as pync,
    ):
        status, _, err = pync.finish()
    assert status == 0
    *_, line = err.splitlines()
    name = re.escape(f"CN={ESCAPED}") if host == b"localhost" else r"\(unreadable\)"
    assert re.fullmatch(
        rf"TLS: certificate of {name}, issued by {name}, .*{leaf.fingerprint}", line
    )


@pytest.mark.parametrize("option", ["--ssl-client-ca", "--ssl-fingerprint"])
def test_no_client_ends_a_listener_by_what_is_in_its_certificate(
    authority: made.Authority, option: str, tmp_path: Path
) -> None:
    leaf = write(tmp_path, FORGED, b"\xff\xfe", signer=FORGED)
    whom = f"{tmp_path / 'root.pem'}" if option == "--ssl-client-ca" else leaf.fingerprint
    shown = ("--ssl-cert", f"{authority.leaf['valid'].combined}")
    with Program.pync("-klv", *shown, option, whom, HERE, "0", stdin=PIPE) as server:
        for count in (1, 2):
            words = ("-cert", f"{leaf.chain}", "-key", f"{leaf.key}", "-no_ign_eof")
            with openssl_client(server.port, *words, stdin=b"hello\n") as client:
                assert client.finish().status == 0
            server.expect(rf"(hello\n){{{count}}}", "out")
        server.end()
        assert not [line for line in server.text().splitlines() if line.startswith("pync: ")]


def test_names_that_are_cut_short_are_passed_over_where_they_do_not_matter(tmp_path: Path) -> None:
    cut = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\3\x82\7x")
    signed = made.sign("x", made.ecdsa_key(), None, (-1, 1), cut)
    leaf = made.write_leaf(tmp_path / "leaf", signed, b"", NoEncryption())
    pinned = ("-v", "--ssl-fingerprint", leaf.fingerprint)
    with (
        openssl_server(leaf, stdin=PIPE) as (openssl, port),
        start(*pinned, "localhost", f"{port}", stdin=b"payload") as pync,
    ):
        status, _, err = pync.finish()
        assert openssl.finish().out == b"payload"
    assert status == 0
    assert "TLS: certificate of CN=x, " in err


@settings(deadline=None, derandomize=True, database=None)
@given(st.binary(max_size=12), st.sampled_from(list(VERSIONS.values())))
def test_a_certificate_is_looked_for_in_anything(message: bytes, version: int) -> None:
    assert first_certificate(bytes([11, 0, 0, len(message)]) + message, version) in message
