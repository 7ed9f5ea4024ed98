"""Peers that want memory, or time, of a TLS that is up: none gets more than its share."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
from authority import Authority
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from harness import PIPE, descriptors
from plain_peer import HERE, ROLES, start
from plain_tls import joined_tls

from pync.errors import ProtocolError
from pync.wire.tls import contexts
from pync.wire.tls.engine import ANSWERS, Tls

ROOM = 16 << 20  # bytes that a process may grow by


@pytest.mark.parametrize("role", ROLES)
def test_what_a_peer_sends_after_its_end_is_not_kept(authority: Authority, role: str) -> None:
    with joined_tls(authority, role, "--linger", "1m", stdin=PIPE) as (pync, peer):
        peer.sendall(b"the last words")
        assert pync.receive(14) == b"the last words"
        before = pync.peak_memory
        peer.send_close_notify()
        flood = bytes(1 << 20)
        for _ in range(64):
            peer.sock.sendall(flood)
        assert pync.peak_memory < before + ROOM


def test_a_peer_that_asks_for_answers_and_takes_none_is_given_up(
    authority: Authority, tmp_path: Path
) -> None:
    leaf = authority.leaf["valid"]
    server_context = contexts.for_server(None)
    contexts.show(server_context, f"{leaf.chain}", f"{leaf.key}", bytes)
    server = Tls(server_context, "the peer")
    updates = key_updates(server, tmp_path / "keys")
    with pytest.raises(ProtocolError, match="takes no answer"):
        list(map(partial(answer, server), updates))


def answer(server: Tls, update: bytes) -> None:
    server.receive(update)
    assert server.data_received(1) == b""
    assert server.send_backlog < 2 * ANSWERS


def key_updates(server: Tls, key_log: Path) -> Iterator[bytes]:
    """Shake hands with `server`; then records that each ask for a new key (RFC 8446, 4.6.3)."""
    context = contexts.for_client()
    contexts.trust_anybody(context)
    context.keylog_filename = f"{key_log}"
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing)
    while not server.established:
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        server.receive(outgoing.read())
        incoming.write(server.data_to_send(1 << 20))
    assert (cipher := client.cipher())
    assert cipher[0] == "TLS_AES_256_GCM_SHA384"
    found = re.search(r"^CLIENT_TRAFFIC_SECRET_0 \S+ (\S+)", key_log.read_text(), re.M)
    assert found
    secret = bytes.fromhex(found[1])
    while True:
        yield key_update(secret)
        secret = expand_label(secret, b"traffic upd", 48)


def key_update(secret: bytes) -> bytes:
    """The first record under the secret: update_requested (RFC 8446, 5.2 and 7.3)."""
    handshake_record, application_data, update = b"\x16", b"\x17\x03\x03", b"\x18\0\0\1\1"
    content = update + handshake_record
    header = application_data + struct.pack(">H", len(content) + 16)
    key, nonce = expand_label(secret, b"key", 32), expand_label(secret, b"iv", 12)
    return header + AESGCM(key).encrypt(nonce, content, header)


def expand_label(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with SHA-384, of one block (RFC 8446, 7.1)."""
    name = b"tls13 " + label
    info = struct.pack(">HB", length, len(name)) + name + b"\0\1"
    return hmac.digest(secret, info, hashlib.sha384)[:length]


def test_a_client_that_does_not_even_hear_the_certificate_is_dropped_in_time(
    authority: Authority, tmp_path: Path
) -> None:
    leaf = authority.leaf["valid"]
    long = tmp_path / "long.pem"
    long.write_bytes(leaf.combined.read_bytes() + authority.root.read_bytes() * 100)
    options = ("-lknv", "-w", "1", "--ssl-cert", f"{long}")
    with start(*options, HERE, "0") as pync, ExitStack() as deaf:
        port, before = pync.port, descriptors(pync.pid)
        for _ in range(3):
            client = deaf.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.connect((HERE, port))
            client.sendall(first_flight())
        pync.expect(r"(pync: TLS handshake with .* timed out\n){3}")
        assert descriptors(pync.pid) == before


def first_flight() -> bytes:
    outgoing = ssl.MemoryBIO()
    context = contexts.for_client()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
