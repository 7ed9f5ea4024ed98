"""pync as a proxy: where it listens, how clients come to it, and which way the bytes take."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from authority import Authority
from gateway_talk import (
    ASKING,
    KINDS,
    accept,
    dial,
    drain_to_any_end,
    port_of,
    read_grant,
    receive,
    serving,
    socks5_request,
    target,
    tunnel,
)
from harness import PATIENCE, needs_ipv6
from plain_peer import HERE, drain, reset, start
from socks_scripts import message

from pync import movers
from pync.bypass import Conduit
from pync.errors import NetworkError
from pync.gateway.routes import Routes
from pync.gateway.server import KINDS as SERVED
from pync.gateway.server import limits, rules
from pync.gateway.visit import Service, Visit
from pync.loop import Loop
from pync.options import Options
from pync.stream import WouldBlock
from pync.transports.sockets import SocketEndpoint, TcpSink
from pync.transports.unix import UnixAddress

ELSEWHERE = "127.0.0.2"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with target() as listening:
        yield listening


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ((), True),
        (("--proxy-allow", "localhost"), False),
        (("--allow", HERE), False),
        (("--proxy-auth", "me:secret"), False),
    ],
)
def test_one_that_anybody_may_use_says_so(options: tuple[str, ...], warned: bool) -> None:
    with serving("socks5", *options, place=("0",)) as pync:
        pync.expect("Listening on ::.*\n")
        dial(pync.port).close()
        pync.expect("Connection received")
        assert ("Anybody may go anywhere" in pync.err.decode()) == warned


def test_it_listens_where_it_is_told_and_nowhere_else(listener: socket.socket) -> None:
    with serving("http", place=(ELSEWHERE, "0")) as pync:
        assert re.findall("Listening on (.*) ", pync.expect("Listening.*\n")[0]) == [ELSEWHERE]
        for host in (HERE, "::1"):
            with pytest.raises(OSError):  # noqa: PT011
                dial(pync.port, host)
        with tunnel("http", pync.port, listener, address=ELSEWHERE) as (client, far):
            client.sendall(b"hello")
            assert receive(far, 5) == b"hello"


@needs_ipv6
@pytest.mark.parametrize(
    ("family", "wanted", "other"), [("-4", HERE, "::1"), ("-6", "::1", HERE)], ids=["-4", "-6"]
)
def test_a_family_is_that_of_clients_and_of_targets(family: str, wanted: str, other: str) -> None:
    with (
        serving("socks5", family, place=("0",)) as pync,
        target(wanted) as listener,
        target(other) as unwanted,
    ):
        with pytest.raises(ConnectionRefusedError):
            dial(pync.port, other)
        with tunnel("socks5", pync.port, listener, wanted, address=wanted) as (client, far):
            client.sendall(b"hello")
            assert receive(far, 5) == b"hello"
        with dial(pync.port, wanted) as client:
            client.sendall(socks5_request(other, port_of(unwanted)))
            assert drain(client)[:4] == message("05 00 05 04")


@pytest.mark.parametrize(("name", "kind"), [("4", "socks4"), ("4a", "socks4a"), ("5", "socks5")])
def test_debians_names_for_kinds_will_do(name: str, kind: str, listener: socket.socket) -> None:
    host = "localhost" if kind == "socks4a" else HERE
    with (
        start("-lkv", "-X", name, HERE, "0") as pync,
        tunnel(kind, pync.port, listener, host),
    ):
        pass


def test_one_kind_of_socks4_serves_both(listener: socket.socket) -> None:
    with serving("socks4") as pync, tunnel("socks4a", pync.port, listener, "localhost"):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_clients_may_come_by_a_path(kind: str, tmp_path: Path, listener: socket.socket) -> None:
    path = tmp_path / "proxy"
    host = "localhost" if kind == "socks4a" else HERE
    with serving(kind, "-U", place=(f"{path}",)) as pync:
        pync.expect("Listening")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(f"{path}")
            client.sendall(ASKING[kind](host, port_of(listener)))
            read_grant(kind, client)
            with accept(listener) as far:
                client.sendall(b"hello")
                far.sendall(b"and back")
                assert receive(far, 5) + receive(client, 8) == b"helloand back"


# Over TLS.


@contextmanager
def over_tls(authority: Authority, port: int) -> Iterator[ssl.SSLSocket]:
    """A client's connection with a proxy that has TLS in front."""
    context = ssl.create_default_context(cafile=f"{authority.root}")
    with (
        dial(port) as plain,
        context.wrap_socket(plain, server_hostname=HERE, suppress_ragged_eofs=False) as client,
    ):
        yield client


@contextmanager
def tls_tunnel(
    authority: Authority, listener: socket.socket
) -> Iterator[tuple[ssl.SSLSocket, socket.socket]]:
    leaf = authority.leaf["valid"]
    options = ("--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}")
    with serving("socks5", *options) as pync, over_tls(authority, pync.port) as client:
        client.sendall(ASKING["socks5"](HERE, port_of(listener)))
        read_grant("socks5", client)
        with accept(listener) as far:
            client.sendall(b"hello")
            assert receive(far, 5) == b"hello"
            yield client, far


def test_an_end_behind_tls_is_one(authority: Authority, listener: socket.socket) -> None:
    with tls_tunnel(authority, listener) as (client, far):
        far.sendall(b"and back")
        far.shutdown(socket.SHUT_WR)
        assert receive(client, 100) == b"and back"
        client.sendall(b"more")
        assert receive(far, 4) == b"more"


def test_a_reset_behind_tls_is_no_end(authority: Authority, listener: socket.socket) -> None:
    with tls_tunnel(authority, listener) as (client, far):
        reset(far)
        with pytest.raises(OSError):  # noqa: PT011  # an SSLEOFError, or a reset
            client.recv(1)


def test_nobody_is_advised_what_no_proxy_can_do(
    authority: Authority, listener: socket.socket
) -> None:
    """--no-shutdown is for whose own input has ended."""
    leaf = authority.leaf["valid"]
    tls = ("--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}")
    with serving("socks5", *tls) as pync, over_tls(authority, pync.port) as client:
        client.sendall(ASKING["socks5"](HERE, port_of(listener)))
        read_grant("socks5", client)
        accept(listener).close()
        assert client.recv(1) == b""
        client.shutdown(socket.SHUT_WR)  # without a word of TLS
        who = "{} port {}".format(*client.getsockname())
        pync.expect(f"pync: client {who}: .* without close_notify, something may be missing\n")


def test_silence_before_tls_is_ended(authority: Authority, listener: socket.socket) -> None:
    leaf = authority.leaf["valid"]
    options = ("-w", "0.3", "--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}")
    with serving("socks5", *options) as pync, dial(pync.port) as silent:
        drain_to_any_end(silent)
        with over_tls(authority, pync.port) as client:
            client.sendall(b"\5\1")
            with pytest.raises(OSError):  # noqa: PT011
                receive(client, 1)
        pync.expect("pync: TLS .*timed out\n(?s:.*)pync: client .*: timed out: .*\n")


# Which way the bytes take.


class Chosen:
    """The movers that are made while it is in their place, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kinds: list[type] = []
        monkeypatch.setattr("pync.flow.choose_mover", self._choose)

    def _choose(self, *ends: object) -> movers.Mover:
        mover = movers.choose_mover(*ends)  # type: ignore[arg-type]
        self.kinds.append(type(mover))
        return mover


class Until:
    """A task that is over once that is so."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition

    def advance(self) -> bool:
        if not self._condition():
            raise WouldBlock(after=0.005)
        return False


class HostOfAll:
    """left: whether a visit is over."""

    def __init__(self, routes: Routes) -> None:
        self.find_way = routes.find
        self.left = False

    def take_turn(self, visit: Visit) -> None:
        pass

    def part(self, visit: Visit, error: NetworkError | None) -> None:
        self.left = True


@pytest.mark.skipif(not hasattr(os, "splice"), reason="splice is for Linux")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("glued", "chosen"),
    [(b"", [Conduit, Conduit]), (b"more", [movers.Copy, Conduit])],
    ids=["nothing", "something"],
)
def test_a_tunnel_is_moved_by_the_kernel_where_nothing_is_glued_to_the_request(
    kind: str,
    glued: bytes,
    chosen: list[type],
    listener: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The visit is led here, so that it can be seen."""
    options = Options(proxy_type=kind)
    service = Service(kind, SERVED[kind].dialogues(None), SERVED[kind].codes)
    host = "localhost" if kind == "socks4a" else HERE
    with target() as door, dial(port_of(door)) as client, Loop() as loop:
        routes = Routes(loop, options, rules(options), 5.0, lambda line: None)
        visitor = SocketEndpoint(accept(door), UnixAddress("visitor"), TcpSink)
        client.sendall(ASKING[kind](host, port_of(listener)) + glued)
        seen = Chosen(monkeypatch)
        host_of_all = HostOfAll(routes)
        loop.spawn(Visit(loop, visitor, service, limits(options), host_of_all))
        loop.run(Until(lambda: len(seen.kinds) == 2))
        assert seen.kinds == chosen
        client.shutdown(socket.SHUT_WR)
        accept(listener).close()
        loop.run(Until(lambda: host_of_all.left))
        routes.close()
