"""pync as a relay whose way to the target leads through proxies."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from gateway_talk import accept, digest, duplex, port_of, receive, send_all, target
from gateway_talk import serving as gateway
from plain_peer import HERE, complaints, drain, start
from plain_tls import server_context
from proxy_servers import PASSWORD, USER, serving
from relay_talk import Ground, Relay
from test_proxy_peers import SPOKEN
from tls_socket import TlsSocket

from pync.wire.proxy_protocol import VERSIONS, Connection

QUESTION = bytes(range(256)) * 200
ANSWER = QUESTION[::-1] * 20


@contextmanager
def through(
    listener: socket.socket, *options: str, host: str = HERE, scheme: str = "", **how: Any
) -> Iterator[Relay]:
    where = f"{scheme}{host}:{port_of(listener)}"
    with start("-lvk", "--relay", where, *options, HERE, "0", **how) as pync:
        relay = Relay(pync, Ground(Path(), None), "tcp", "tcp")  # type: ignore[arg-type]
        relay.listener = listener
        yield relay


@pytest.mark.parametrize(("name", "protocol"), SPOKEN)
@pytest.mark.parametrize("host", [HERE, "localhost"])
def test_a_client_that_has_said_all_gets_its_answer(
    name: str, protocol: str, host: str, tmp_path: Path
) -> None:
    """Its end is kept back, which some proxies would take for the end of both directions."""
    with (
        serving(name, tmp_path) as port,
        target() as listener,
        through(listener, "-X", protocol, "-x", f"{HERE}:{port}", host=host) as relay,
    ):
        for _ in range(2):
            with relay.join() as (client, far):
                send_all(client, QUESTION)
                assert digest(receive(far, len(QUESTION))) == digest(QUESTION)
                send_all(far, ANSWER)
                assert digest(drain(client)) == digest(ANSWER)
        relay.pync.signal(signal.SIGTERM)
        assert complaints(relay.pync.finish()) == []


def test_many_clients_have_a_dialogue_each_with_a_proxy_that_asks(tmp_path: Path) -> None:
    env = {"PYNC_PROXY_PASSWORD": PASSWORD}
    with serving("tinyproxy", tmp_path, guarded=True) as port, target() as listener:
        way = ("--proxy", f"{HERE}:{port}", "-P", USER)
        with through(listener, *way, env=env) as relay:
            clients = [relay.dial() for _ in range(10)]
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
            heard = set()
            for _ in clients:
                with relay.accept() as far:
                    heard.add(far.recv(1))
            assert heard == {b"%d" % number for number in range(10)}
            for client in clients:
                client.close()


def test_from_one_to_the_next_and_then_what_is_said_first(
    tmp_path: Path, authority: Authority
) -> None:
    """Two proxies, the PROXY header, TLS, in this order."""
    with (
        gateway("http") as last,
        serving("microsocks", tmp_path) as first,
        target() as listener,
    ):
        way = ("-x", f"{HERE}:{first}", "-x", f"http://{HERE}:{last.port}")
        options = (*way, "--proxy-protocol", "v1", "--ssl-trustfile", f"{authority.root}")
        with (
            through(listener, *options, scheme="ssl://", host="localhost") as relay,
            relay.dial() as client,
            accept(listener) as far,
        ):
            source, destination = client.getsockname(), client.getpeername()
            words = VERSIONS[1](Connection(source, destination), "")
            assert receive(far, len(words)) == words
            secured = TlsSocket(far, server_context(authority.leaf["valid"]))
            secured.handshake()
            client.sendall(b"hello")
            assert secured.recv(100) == b"hello"


@pytest.mark.parametrize("kind", ["socks4", "socks5", "http"])
@pytest.mark.parametrize("where", ["local", "both"])
def test_the_target_may_be_looked_up_here_for_each_client(kind: str, where: str) -> None:
    with (
        gateway(kind) as proxy,
        target() as listener,
        through(
            listener,
            *("-x", f"{kind}://localhost:{proxy.port}", "-4", "--proxy-dns", where),
            host="localhost",
        ) as relay,
    ):
        for _ in range(2):
            with relay.join() as ends:
                assert duplex(ends, b"a", b"b") == (digest(b"a"), digest(b"b"))
        if where == "local":
            proxy.expect(rf"wants {HERE} port {port_of(listener)}")


def nobody() -> int:
    with target() as listener:
        return port_of(listener)


@pytest.mark.parametrize(
    ("proxy", "why"),
    [
        (lambda _: f"socks5://{HERE}:{nobody()}", "SOCKS5 proxy .*: connect to .* refused"),
        (lambda port: f"socks5://{HERE}:{port}", ".* port .* refuses to connect.*"),
        (lambda _: "socks5://nobody.invalid", "cannot resolve nobody.invalid: .*"),
    ],
)
def test_what_fails_on_the_way_costs_the_client_alone(
    proxy: Callable[[int], str], why: str
) -> None:
    with gateway("socks5") as gate, target() as listener:
        port = port_of(listener)
        listener.close()
        with start("-lvk", "--relay", f"{HERE}:{port}", "-x", proxy(gate.port), HERE, "0") as pync:
            relay = Relay(pync, Ground(Path(), None), "tcp", "tcp")  # type: ignore[arg-type]
            for _ in range(2):
                assert relay.what_comes() == (b"", "RST")
            pync.expect(rf"(pync: client {HERE} port \d+ to {HERE} port {port}: {why}\n[^p]*){{2}}")


def test_a_unix_listener_in_front_and_a_proxy_behind(tmp_path: Path) -> None:
    with gateway("socks5") as proxy, target() as listener:
        where = f"{HERE}:{port_of(listener)}"
        way = ("-x", f"{HERE}:{proxy.port}")
        with start("-lvkU", "--relay", where, *way, f"{tmp_path}/front") as pync:
            pync.expect("Listening")
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{tmp_path}/front")
                client.sendall(b"hello")
                with accept(listener) as far:
                    assert far.recv(100) == b"hello"


def test_datagrams_through_a_proxy() -> None:
    with (
        gateway("socks5") as proxy,
        socket.socket(type=socket.SOCK_DGRAM) as far,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        far.bind((HERE, 0))
        far.settimeout(10)
        client.settimeout(10)
        where = f"{HERE}:{far.getsockname()[1]}"
        way = ("-x", f"{HERE}:{proxy.port}")
        with start("-luvk", "--relay", where, *way, HERE, "0") as pync:
            client.connect((HERE, pync.port))
            client.send(b"ping")
            data, sender = far.recvfrom(100)
            assert data == b"ping"
            far.sendto(b"pong", sender)
            assert client.recv(100) == b"pong"
