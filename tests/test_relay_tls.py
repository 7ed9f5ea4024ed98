"""Which options for TLS are about a relay's clients, and which about its target."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from authority import Authority
from gateway_talk import digest, duplex
from harness import Program
from plain_peer import HERE, complaints, drain_until_any_end, start
from plain_tls import PlainTls, client_context, server_context
from relay_talk import Ground, Relay, relaying, target
from tls_socket import TlsSocket


@pytest.fixture
def ground(tmp_path: Path, authority: Authority) -> Ground:
    return Ground(tmp_path, authority)


@contextmanager
def to_tls(
    ground: Ground, *options: str, host: str = HERE, place: tuple[str, ...] = (HERE, "0")
) -> Iterator[Relay]:
    """A relay to a target that shows a certificate, of which pync knows what `options` say."""
    with target("ssl", ground) as listener:
        where = f"ssl://{host}:{listener.getsockname()[1]}"
        with start("-lvk", "--relay", where, *options, *place) as pync:
            relay = Relay(pync, ground, "tcp", "ssl")
            relay.listener = listener
            yield relay


def trustfile(ground: Ground) -> tuple[str, ...]:
    return "--ssl-trustfile", f"{ground.authority.root}"


def pinned(ground: Ground, leaf: str) -> tuple[str, ...]:
    return "--ssl-fingerprint", ground.authority.leaf[leaf].fingerprint


def test_a_target_is_believed_for_what_options_say(ground: Ground) -> None:
    for options in (trustfile(ground), pinned(ground, "valid"), ("--ssl-insecure",)):
        with to_tls(ground, *options) as relay, relay.join() as ends:
            assert duplex(ends, b"question", b"answer") == (digest(b"question"), digest(b"answer"))


@pytest.mark.parametrize(
    ("options", "host", "why"),
    [
        (lambda _: (), HERE, "CN=intermediate is not trusted; .*"),
        (lambda ground: pinned(ground, "expired"), HERE, "sha256:"),
        (
            lambda ground: (*trustfile(ground), "--ssl-servername", "else.test"),
            HERE,
            "name mismatch",
        ),
    ],
)
def test_one_that_is_not_believed_gets_nothing_of_the_client(
    options: object, host: str, why: str, ground: Ground
) -> None:
    with to_tls(ground, *options(ground), host=host) as relay:  # type: ignore[operator]
        with relay.dial() as client:
            client.sendall(b"a secret")
            assert relay.listener
            far, _ = relay.listener.accept()
            with far:
                far.settimeout(10)
                peer = PlainTls(far, server_context(ground.authority.leaf["valid"]))
                assert heard(peer) == b""
            assert drain_until_any_end(client) == (b"", "RST")
        relay.pync.expect(rf"pync: client {HERE} port \d+ to {host} port \d+: .*({why}).*\n")
        relay.pync.signal(signal.SIGTERM)
        assert len(complaints(relay.pync.finish())) == 1


def heard(peer: PlainTls) -> bytes:
    """What comes after a handshake that the other side may break off."""
    with suppress(OSError):
        peer.handshake()
        return peer.recv()
    return b""


def test_the_name_that_is_asked_for_is_the_target_s(ground: Ground) -> None:
    with to_tls(ground, *trustfile(ground), host="localhost") as relay, relay.dial() as client:
        assert relay.listener
        far, _ = relay.listener.accept()
        context = server_context(ground.authority.leaf["valid"])
        asked: list[str | None] = []
        context.sni_callback = lambda _tls, name, _context: asked.append(name)
        with far:
            secured = TlsSocket(far, context)
            secured.handshake()
            client.sendall(b"hello")
            assert secured.recv(100) == b"hello"
        assert asked == ["localhost"]


def test_clients_may_have_to_show_a_certificate_of_theirs(ground: Ground) -> None:
    authority = ground.authority
    options = ("--ssl-client-ca", f"{authority.root}")
    with relaying(("ssl", "tcp"), ground, *options) as relay:
        with socket.create_connection((HERE, relay.pync.port)) as sock:
            stranger = PlainTls(sock, client_context(authority.root))
            assert heard(stranger) == b""
        with socket.create_connection((HERE, relay.pync.port)) as sock:
            known = TlsSocket(sock, client_context(authority.root, leaf=authority.leaf["client"]))
            known.handshake()
            known.sendall(b"hello")
            with relay.accept() as far:
                assert far.recv(5) == b"hello"


def test_a_client_that_shakes_no_hands_holds_up_nobody(ground: Ground) -> None:
    with (
        relaying(("ssl", "tcp"), ground) as relay,
        socket.create_connection((HERE, relay.pync.port)),
        relay.join() as ends,
    ):
        assert duplex(ends, b"a", b"b") == (digest(b"a"), digest(b"b"))


def test_a_listener_s_own_certificate_in_front(ground: Ground) -> None:
    with (
        target("tcp", ground) as listener,
        start("-lvk", "--ssl", "--relay", f"{HERE}:{listener.getsockname()[1]}", HERE, "0") as pync,
    ):
        pin = pync.expect(r"SHA256 fingerprint (sha256:\S+|[0-9A-F:]+|\S+)")[1]
        with Program.pync("--ssl-fingerprint", pin, HERE, f"{pync.port}", stdin=b"hello") as client:
            far, _ = listener.accept()
            with far:
                assert far.recv(100) == b"hello"
            assert client.finish().status in (0, 1)
