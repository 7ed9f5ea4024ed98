"""Listeners that want to know their clients: by an authority of theirs, or one by its fingerprint.

A client that is refused learns why, and does not use up the one turn of a listener without -k.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import authority as made
import pytest
from authority import Authority, Leaf
from cryptography.hazmat.primitives.serialization import NoEncryption
from harness import PIPE, Program, Result
from plain_peer import HERE, start
from tls_peers import SERVERS, openssl_client, socat_client

HELLO = b"hello\n"


def shown(leaf: Leaf | None) -> tuple[str, ...]:
    """What makes a pync show this certificate, or none."""
    return ("--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}") if leaf else ()


# Clients.


def pync(root: Path, port: int, leaf: Leaf | None, **how: Any) -> Program:
    return start("--ssl-trustfile", f"{root}", *shown(leaf), "localhost", f"{port}", **how)


def openssl(version: str) -> Callable[..., Program]:
    def connect(root: Path, port: int, leaf: Leaf | None, **how: Any) -> Program:
        options = [version, "-no_ign_eof"]
        options += ["-cert", f"{leaf.chain}", "-key", f"{leaf.key}"] if leaf else []
        options += ["-cert_chain", f"{leaf.issuers}"] if leaf and leaf.issuers else []
        return openssl_client(port, *options, trust=root, **how)

    return connect


def socat(root: Path, port: int, leaf: Leaf | None, **how: Any) -> Program:
    """With TLS 1.3 it would take the refusal for an end, and call that a success."""
    options = ["openssl-max-proto-version=TLS1.2", *([f"cert={leaf.combined}"] if leaf else [])]
    return socat_client(port, *options, trust=root, **how)


CLIENTS: dict[str, Callable[..., Program]] = {
    "pync": pync,
    "openssl, TLS 1.2": openssl("-tls1_2"),
    "openssl, TLS 1.3": openssl("-tls1_3"),
    "socat, TLS 1.2": socat,
}

# What a client shows, what it is told, and what the listener says, if it trusts an authority and
# if it trusts one certificate.
ANOTHER = "certificate is another, not the pinned one"
NOTHING = "peer did not return a certificate"
UNWANTED = {
    "wrong-ca": ("unknown ca", "unable to get local issuer certificate", ANOTHER),
    "self-signed": ("unknown ca", "self.signed certificate", ANOTHER),
    "valid": ("un(supported certificate|known ca)", "unsuitable certificate purpose", ANOTHER),
    "": ("certificate required|handshake failure", NOTHING, NOTHING),  # the first is TLS 1.3's
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("pinned", [False, True], ids=["--ssl-client-ca", "--ssl-fingerprint"])
def test_a_listener_waits_for_who_shows_the_right_certificate(
    authority: Authority, pinned: bool, client: str
) -> None:
    connect, right = CLIENTS[client], authority.leaf["client"]
    whom = ("--ssl-client-ca", f"{authority.root}")
    if pinned:
        whom = ("--ssl-fingerprint", right.fingerprint)
    with start("-lvn", *shown(authority.leaf["valid"]), *whom, HERE, "0") as server:
        for name, (told, *says) in UNWANTED.items():
            leaf = authority.leaf[name] if name else None
            with connect(authority.root, server.port, leaf, stdin=PIPE) as program:
                result = program.finish()
            assert result.status != 0
            assert re.search(told, result.err)
            server.expect(rf"pync: TLS with 127\.0\.0\.1 port \d+ .* failed: {says[pinned]}\n")
        with connect(authority.root, server.port, right, stdin=HELLO) as program:
            assert program.finish()[:2] == (0, b"")
        assert server.finish()[:2] == (0, HELLO)
        assert "TLS: certificate of CN=client, issued by CN=intermediate, " in server.text()


# What an authority may have signed, and a fingerprint stand for.


@pytest.fixture
def clients(tmp_path: Path) -> dict[str, Leaf]:
    """Certificates for clients, of an authority in root.pem, or that signed themselves."""
    root = made.make_signer("clients", None)
    (tmp_path / "root.pem").write_bytes(root.pem)
    kinds = {
        "good": (root, (-1, 1)),
        "expired": (root, (-30, -1)),
        "self-signed": (None, (-1, 1)),
        "self-signed-expired": (None, (-30, -1)),
    }
    leaves = {}
    for name, (signer, days) in kinds.items():
        leaf = made.sign(name, made.ecdsa_key(), signer, days)
        leaves[name] = made.write_leaf(tmp_path / name, leaf, b"", NoEncryption())
    return leaves


def served(
    authority: Authority, whom: tuple[str, str], leaf: Leaf, connect: Callable[..., Program]
) -> tuple[Result, str]:
    """How the client ends, and what has become of it at the listener."""
    with (
        start("-lvn", *shown(authority.leaf["valid"]), *whom, HERE, "0") as server,
        connect(authority.root, server.port, leaf, stdin=HELLO) as client,
    ):
        result = client.finish()
        return result, server.expect(r"(Connection received|pync: .*)")[1]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("good", "Connection received"),
        ("expired", "certificate has expired"),
        ("self-signed", "self.signed certificate"),
    ],
)
def test_an_authority_is_not_trusted_beyond_its_word(
    authority: Authority, clients: dict[str, Leaf], name: str, says: str, tmp_path: Path
) -> None:
    whom = ("--ssl-client-ca", f"{tmp_path / 'root.pem'}")
    result, became = served(authority, whom, clients[name], pync)
    assert re.search(says, became)
    assert (result.status == 0) == (name == "good")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", ["expired", "self-signed", "self-signed-expired"])
def test_a_pinned_client_needs_no_authority_and_no_date(
    authority: Authority, clients: dict[str, Leaf], name: str, client: str
) -> None:
    whom = ("--ssl-fingerprint", clients[name].fingerprint)
    result, became = served(authority, whom, clients[name], CLIENTS[client])
    assert became == "Connection received"
    assert result.status == 0


@pytest.mark.parametrize("client", CLIENTS)
def test_a_pinned_client_that_may_be_none_is_told_so(authority: Authority, client: str) -> None:
    leaf = authority.leaf["valid"]  # for servers
    result, became = served(
        authority, ("--ssl-fingerprint", leaf.fingerprint), leaf, CLIENTS[client]
    )
    assert became.endswith("failed: unsuitable certificate purpose")
    assert result.status != 0


# pync as the client.


@pytest.mark.parametrize("server", ["openssl", "socat"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_server_that_asks_is_shown_the_certificate(
    authority: Authority, server: str, version: str
) -> None:
    option = f"openssl-max-proto-version=TLS{version}"
    if server == "openssl":
        option = f"-tls{version.replace('.', '_')}"
    opened = SERVERS[server](authority.leaf["valid"], option, client_ca=authority.root, stdin=PIPE)
    with opened as (peer, port):
        with pync(authority.root, port, authority.leaf["client"], stdin=HELLO) as client:
            assert peer.receive(len(HELLO)) == HELLO
            peer.end()
            assert client.finish() == (0, b"", "")
        assert peer.finish().status == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [("wrong-ca", "unknown ca"), ("", "certificate required|handshake failure")],
)
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_server_that_refuses_it_is_quoted(
    authority: Authority, name: str, told: str, version: str
) -> None:
    leaf = authority.leaf[name] if name else None
    asking = {"client_ca": authority.root, "stdin": PIPE}
    with (
        SERVERS["openssl"](authority.leaf["valid"], version, **asking) as (_, port),
        pync(authority.root, port, leaf, stdin=PIPE) as client,
    ):
        status, out, err = client.finish()
    assert (status, out) == (1, b"")
    assert re.fullmatch(rf"pync: TLS with .* failed: the peer refuses: ({told})\n", err)
