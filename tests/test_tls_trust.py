"""Whom a TLS client trusts: openssl s_server shows certificates that are good, or bad in one way.

A server that is refused gets not a byte of standard input, and the line on stderr says why in
words, and what to do about it where something can be done.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from authority import Authority, Leaf
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from harness import PIPE, Program, Result
from plain_peer import HERE, complaints, joined, start
from plain_tls import PlainTls, server_context
from tls_peers import openssl_server

PAYLOAD = b"for the right server alone"
ANYBODY = "The peer may be anybody: --ssl-insecure checks no certificate\n"

GOOD = ("valid", "rsa", "reversed-chain")
DATE = r"\w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} GMT"
BAD = {
    "expired": f"certificate has expired, on {DATE}",
    "not-yet-valid": f"certificate is not yet valid, but from {DATE}",
    "wrong-name": "name mismatch: certificate is for other.example",
    "wrong-ca": "CN=stranger is not trusted; name its authority with --ssl-trustfile, "
    "or pin it with --ssl-fingerprint PIN",
    "self-signed": "self-signed certificate; pin it with --ssl-fingerprint PIN",
    "client": "unsuitable certificate purpose",
}
VERSIONS = ("-tls1_2", "-tls1_3")

each_version = pytest.mark.parametrize("version", VERSIONS)


def met(
    leaf: Leaf, *options: str, host: str = "localhost", version: str = "-tls1_3", **how: object
) -> tuple[Result, Result]:
    """How pync ends, with the payload for a server that shows `leaf`, and how the server does."""
    with (
        openssl_server(leaf, version, stdin=PIPE) as (openssl, port),
        start(*options, host, f"{port}", stdin=PAYLOAD, **how) as pync,
    ):
        return pync.finish(), openssl.finish()


def check_accepted(ends: tuple[Result, Result], told: str = "") -> None:
    pync, openssl = ends
    assert pync == (0, b"", told)
    assert openssl.out == PAYLOAD


def check_refused(ends: tuple[Result, Result], why: str) -> None:
    pync, openssl = ends
    assert re.fullmatch(rf"pync: TLS with \S.* port \d+ \(tcp\) failed: {why}\n", pync.err)
    assert pync[:2] == (1, b"")
    assert openssl.out == b""
    assert "alert" in openssl.err


# An authority's certificates.


@pytest.mark.parametrize("host", ["localhost", HERE])
@pytest.mark.parametrize("name", GOOD)
def test_a_good_certificate_is_accepted(authority: Authority, name: str, host: str) -> None:
    check_accepted(met(authority.leaf[name], "--ssl-trustfile", f"{authority.root}", host=host))


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize(("version", "options"), [("-tls1_2", ()), ("-tls1_3", ("--ssl-verify",))])
def test_a_bad_one_is_refused_before_anything_is_sent(
    authority: Authority, name: str, version: str, options: tuple[str, ...]
) -> None:
    leaf = authority.leaf[name]
    ends = met(leaf, "--ssl-trustfile", f"{authority.root}", *options, version=version)
    check_refused(ends, BAD[name].replace("PIN", leaf.fingerprint))


@pytest.mark.parametrize("option", ["--ssl", "--ssl-verify"])
def test_the_system_says_which_authorities_are_good(authority: Authority, option: str) -> None:
    valid, stranger = authority.leaf["valid"], authority.leaf["wrong-ca"]
    ours = {"SSL_CERT_FILE": f"{authority.root}"}
    check_accepted(met(valid, option, env=ours))
    check_refused(met(stranger, option, env=ours), "CN=stranger is not trusted; .*")
    check_refused(met(valid, option), "CN=intermediate is not trusted; .*")


def test_what_a_file_names_is_trusted_in_the_place_of_the_systems(authority: Authority) -> None:
    ours, theirs = f"{authority.root}", f"{authority.leaf['self-signed'].chain}"
    ends = met(authority.leaf["valid"], "--ssl-trustfile", theirs, env={"SSL_CERT_FILE": ours})
    check_refused(ends, "CN=intermediate is not trusted; .*")


def test_a_certificate_in_the_file_need_not_be_an_authoritys(authority: Authority) -> None:
    for leaf in (authority.leaf["self-signed"], authority.leaf["wrong-ca"]):
        check_accepted(met(leaf, "--ssl-trustfile", f"{leaf.chain}"))


# Names.


@pytest.mark.parametrize(
    ("name", "options", "host", "accepted"),
    [
        ("wrong-name", ("--ssl-servername", "other.example"), "localhost", True),
        ("wrong-name", ("--ssl-servername", "OTHER.example."), HERE, True),
        ("valid", ("--ssl-servername", "::1"), HERE, True),
        ("valid", ("--ssl-servername", "localhost"), HERE, True),
        ("valid", ("--ssl-servername", "127.0.0.2"), HERE, False),
        ("valid", (), "127.0.0.2", False),
        ("valid", ("--ssl-servername", "other.example"), "localhost", False),
        ("valid", ("--ssl-servername", "localhost.example"), "localhost", False),
    ],
)
def test_the_name_is_checked(
    authority: Authority, name: str, options: tuple[str, ...], host: str, accepted: bool
) -> None:
    leaf = authority.leaf[name]
    trust = ("--ssl-trustfile", f"{authority.root}")
    with (
        openssl_server(leaf, "-accept", "0.0.0.0:0", stdin=PIPE) as (openssl, port),
        start(*trust, *options, host, f"{port}", stdin=PAYLOAD) as pync,
    ):
        ends = pync.finish(), openssl.finish()
    if accepted:
        check_accepted(ends)
    else:
        check_refused(ends, "name mismatch: certificate is for localhost, 127.0.0.1, .*1")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("localhost", "localhost"),
        ("other.example.", "other.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        (HERE, None),  # RFC 6066, 3: an address is no name
        ("::1", None),
    ],
)
def test_the_server_is_asked_for_the_name(
    authority: Authority, name: str, asked: str | None
) -> None:
    heard: list[str | None] = []
    context = server_context(authority.leaf["valid"])
    context.sni_callback = lambda _tls, server_name, _context: heard.append(server_name)
    with joined("connects", "--ssl-insecure", "--ssl-servername", name) as (pync, sock):
        peer = PlainTls(sock, context)
        peer.handshake()
        peer.send_close_notify()
        assert pync.finish().status == 0
    assert heard == [asked]


# Anybody.


@pytest.mark.parametrize("name", BAD)
def test_insecure_accepts_anybody_and_says_so(authority: Authority, name: str) -> None:
    check_accepted(met(authority.leaf[name], "--ssl-insecure"), ANYBODY)


# One certificate.

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is printed": str,
    "upper case": str.upper,
    "colons": lambda pin: "SHA256:" + ":".join(re.findall("..", pin.removeprefix("sha256:"))),
}


def pin_of(pem: bytes) -> str:
    return f"sha256:{x509.load_pem_x509_certificate(pem).fingerprint(SHA256()).hex()}"


@each_version
@pytest.mark.parametrize("name", ["valid", *(name for name in BAD if name != "client")])
def test_a_pinned_certificate_is_accepted_whatever_it_is(
    authority: Authority, name: str, version: str
) -> None:
    leaf = authority.leaf[name]
    check_accepted(met(leaf, "--ssl-fingerprint", leaf.fingerprint, version=version))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_fingerprint_is_read_as_people_write_it(authority: Authority, spelling: str) -> None:
    leaf = authority.leaf["self-signed"]
    check_accepted(met(leaf, "--ssl-fingerprint", SPELLINGS[spelling](leaf.fingerprint)))


@each_version
@pytest.mark.parametrize("name", ["rsa", "self-signed", "client"])
def test_every_other_is_refused(authority: Authority, name: str, version: str) -> None:
    leaf, pinned = authority.leaf[name], authority.leaf["valid"].fingerprint
    ends = met(leaf, "--ssl-fingerprint", pinned, version=version)
    check_refused(ends, f"certificate is {leaf.fingerprint}, not the pinned one")


def test_to_pin_an_authority_is_not_to_trust_what_it_signs(authority: Authority) -> None:
    leaf = authority.leaf["valid"]
    assert leaf.issuers
    ends = met(leaf, "--ssl-fingerprint", pin_of(leaf.issuers.read_bytes()))
    check_refused(ends, f"certificate is {leaf.fingerprint}, not the pinned one")


@each_version
def test_the_pinned_one_is_told_what_else_is_wrong_with_it(
    authority: Authority, version: str
) -> None:
    leaf = authority.leaf["client"]
    ends = met(leaf, "--ssl-fingerprint", leaf.fingerprint, version=version)
    check_refused(ends, "unsuitable certificate purpose")


# A path is no name.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--ssl-servername localhost --ssl-trustfile {root}", ""),
        ("--ssl-fingerprint {pin}", ""),
        ("--ssl-insecure", ANYBODY),
    ],
)
def test_a_unix_socket_leads_to_a_name_that_is_given(
    authority: Authority, options: str, told: str, tmp_path: Path
) -> None:
    leaf, path = authority.leaf["valid"], f"{tmp_path / 'socket'}"
    words = options.format(root=authority.root, pin=leaf.fingerprint).split()
    with Program.pync("-lvU", "--ssl-cert", f"{leaf.combined}", path) as server:
        server.expect("Listening on")
        with start("-U", *words, path, stdin=PAYLOAD) as client:
            assert client.finish() == (0, b"", told)
        assert server.finish()[:2] == (0, PAYLOAD)


def test_without_one_a_path_is_a_mistake(tmp_path: Path) -> None:
    with start("-U", "--ssl", f"{tmp_path / 'nobody'}") as pync:
        result = pync.finish()
    assert result[:2] == (2, b"")
    assert complaints(result) == [
        "pync: --ssl: a path is no name to check; --ssl-servername gives one"
    ]
