"""The certificates are good or bad as LEAVES says, and the TLS peers do what they say."""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from authority import LEAVES, Authority
from harness import PATIENCE, PEERS, PIPE, Program
from plain_peer import HERE, reset
from plain_tls import VERSIONS, PlainTls, client_context, server_context
from tls_peers import CLIENTS, SERVERS, openssl_server, socat_server
from web_servers import ROMEO, make_pages, nginx

# What a client has against them, in OpenSSL's words.
BAD = {
    "client": "certificate purpose",
    "expired": "certificate has expired",
    "not-yet-valid": "certificate is not yet valid",
    "wrong-name": "[Hh]ostname mismatch",
    "wrong-ca": "unable to get local issuer certificate",
    "self-signed": "self.signed certificate",
}
GOOD = sorted(LEAVES.keys() - BAD.keys())
MIB = 1 << 20

Server = Callable[..., AbstractContextManager[tuple[Program, int]]]

needs_openssl = pytest.mark.skipif(not PEERS["openssl"], reason="openssl is not installed")
both_versions = pytest.mark.parametrize("version", VERSIONS)


@contextmanager
def pair(
    authority: Authority, version: str = "", leaf: str = "valid"
) -> Iterator[tuple[PlainTls, PlainTls]]:
    """A client and a server that have shaken hands."""
    with socket.create_server((HERE, 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far, ThreadPoolExecutor(1) as pool:
        client = PlainTls(near, client_context(authority.root, version=version))
        server = PlainTls(far, server_context(authority.leaf[leaf], version=version))
        meeting = pool.submit(server.handshake)
        client.handshake()
        meeting.result(PATIENCE)
        yield client, server


@contextmanager
def dialled(port: int, context: ssl.SSLContext) -> Iterator[PlainTls]:
    """A client that has shaken hands with the server on that port."""
    with socket.create_connection((HERE, port)) as sock:
        peer = PlainTls(sock, context)
        peer.handshake()
        yield peer


# --- certificates ---


def objections(authority: Authority, name: str, purpose: str, *options: str) -> str:
    """What `openssl verify` has against the certificate."""
    chain = f"{authority.leaf[name].chain}"
    known = ("-x509_strict", "-CAfile", f"{authority.root}", "-untrusted", chain)
    with Program("openssl", "verify", "-purpose", purpose, *known, *options, chain) as verify:
        status, _, err = verify.finish()
    assert (status == 0) == (err == "")
    return err


@needs_openssl
@pytest.mark.parametrize("name", GOOD)
def test_openssl_has_nothing_against_the_good_ones(authority: Authority, name: str) -> None:
    assert objections(authority, name, "sslserver", "-verify_hostname", "localhost") == ""
    assert objections(authority, name, "sslserver", "-verify_ip", "127.0.0.1") == ""
    assert objections(authority, name, "sslserver", "-verify_ip", "::1") == ""


@needs_openssl
@pytest.mark.parametrize("name", BAD)
def test_openssl_says_what_is_bad(authority: Authority, name: str) -> None:
    told = objections(authority, name, "sslserver", "-verify_hostname", "localhost")
    assert re.search(BAD[name], told)


@needs_openssl
def test_a_client_is_no_server(authority: Authority) -> None:
    assert objections(authority, "client", "sslclient") == ""
    assert "purpose" in objections(authority, "valid", "sslclient")


@pytest.mark.parametrize("name", GOOD)
def test_the_good_ones_are_shown_with_their_fingerprints(authority: Authority, name: str) -> None:
    with pair(authority, leaf=name) as (client, _):
        certificate = client.tls.getpeercert(binary_form=True)
    assert certificate
    fingerprint = hashlib.sha256(certificate).hexdigest()
    assert authority.leaf[name].fingerprint == f"sha256:{fingerprint}"


@pytest.mark.parametrize("name", BAD)
def test_the_bad_ones_are_refused(authority: Authority, name: str) -> None:
    with (
        pytest.raises(ssl.SSLCertVerificationError, match=BAD[name]),
        pair(authority, leaf=name),
    ):
        pass


def test_the_encrypted_key_needs_its_passphrase(authority: Authority) -> None:
    leaf = authority.leaf["encrypted-key"]
    with pytest.raises(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(leaf.chain, leaf.key, "wrong")


# --- the peer by hand ---


@both_versions
@pytest.mark.parametrize("first", ["client", "server"])
def test_each_direction_ends_by_itself(authority: Authority, version: str, first: str) -> None:
    with pair(authority, version) as ends:
        one, other = ends if first == "client" else ends[::-1]
        assert one.tls.version() == version
        other.sendall(b"before")
        one.sendall(b"all")
        one.send_close_notify()
        assert other.drain() == b"all"
        other.sendall(b" and after")
        assert one.recv_exactly(9) == b"before an"
        assert one.recv_exactly(7) == b"d after"
        assert one.silent(0.1)
        other.sendall(b"late")
        assert not one.silent(PATIENCE)
        other.send_close_notify()
        assert one.drain() == b"late"


ENDS: dict[str, Callable[[PlainTls], None]] = {
    "close_notify": PlainTls.send_close_notify,
    "FIN": lambda peer: peer.sock.shutdown(socket.SHUT_WR),
    "RST": lambda peer: reset(peer.sock),
}


@both_versions
@pytest.mark.parametrize("end", ENDS)
def test_the_ends_are_told_apart(authority: Authority, version: str, end: str) -> None:
    with pair(authority, version) as (client, server):
        client.sendall(b"all")
        assert server.recv_exactly(3) == b"all"
        ENDS[end](client)
        assert server.drain_until_any_end() == (b"", end)


def test_one_thread_sends_while_another_receives(authority: Authority) -> None:
    sent = bytes(range(256)) * (8 * MIB // 256)
    with pair(authority) as ends, ThreadPoolExecutor() as pool:
        receiving = [pool.submit(end.drain) for end in ends]
        sending = [pool.submit(end.sendall, sent) for end in ends]
        for end, done in zip(ends, sending, strict=True):
            done.result(PATIENCE)
            end.send_close_notify()
        assert [done.result(PATIENCE) == sent for done in receiving] == [True, True]


def test_a_flood_stops_when_nobody_takes_it(authority: Authority) -> None:
    with pair(authority) as (client, server), ThreadPoolExecutor(1) as pool:
        client.flood()
        taking = pool.submit(server.drain)
        client.sendall(b"end")
        client.send_close_notify()
        received = taking.result(PATIENCE)
    assert received.lstrip(b"\0") == b"end"
    assert len(received) > MIB


# --- programs ---


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_talks(authority: Authority, name: str) -> None:
    with (
        SERVERS[name](authority.leaf["valid"], stdin=PIPE) as (program, port),
        dialled(port, client_context(authority.root)) as peer,
    ):
        talk(program, peer)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_talks(authority: Authority, name: str) -> None:
    with client_of(authority, name, "valid") as (program, peer):
        peer.handshake()
        talk(program, peer)


def talk(program: Program, peer: PlainTls) -> None:
    program.send(b"a question")
    assert peer.recv_exactly(10) == b"a question"
    peer.sendall(b"an answer")
    assert program.receive(9) == b"an answer"
    peer.send_close_notify()
    program.end()
    assert peer.drain_until_any_end()[0] == b""
    assert program.finish().status == 0


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_verifies(authority: Authority, name: str) -> None:
    with client_of(authority, name, "wrong-name") as (program, peer):
        with suppress(ssl.SSLError):  # some look at the name only afterwards
            peer.handshake()
        assert program.finish().status > 0


@contextmanager
def client_of(authority: Authority, name: str, leaf: str) -> Iterator[tuple[Program, PlainTls]]:
    """A program that connects to a server with that certificate."""
    with socket.create_server((HERE, 0)) as listener:
        port = listener.getsockname()[1]
        with CLIENTS[name](port, trust=authority.root, stdin=PIPE) as program:
            sock, _ = listener.accept()
            with sock:
                yield program, PlainTls(sock, server_context(authority.leaf[leaf]))


@pytest.mark.parametrize("server", [openssl_server, socat_server])
def test_a_server_wants_the_clients_certificate(authority: Authority, server: Server) -> None:
    valid, root = authority.leaf["valid"], authority.root
    with (
        server(valid, client_ca=root, stdin=b"welcome") as (_, port),
        dialled(port, client_context(root, leaf=authority.leaf["client"])) as peer,
    ):
        assert peer.drain() == b"welcome"
    with (
        server(valid, client_ca=root, stdin=b"welcome") as (_, port),
        pytest.raises(OSError, match=r"certificate required|reset|EOF"),
        dialled(port, client_context(root)) as peer,
    ):
        peer.drain()


def test_nginx_gives_a_page(authority: Authority, tmp_path: Path) -> None:
    make_pages(tmp_path)
    with (
        nginx(tmp_path, authority.leaf["reversed-chain"]) as port,
        dialled(port, client_context(authority.root, alpn=["http/1.1"])) as peer,
    ):
        assert peer.tls.selected_alpn_protocol() == "http/1.1"
        peer.sendall(b"GET /romeo.txt HTTP/1.0\r\n\r\n")
        assert peer.drain().endswith(ROMEO.encode())
