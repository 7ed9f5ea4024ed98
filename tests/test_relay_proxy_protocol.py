"""--proxy-protocol: the target is told first whom a connection is for."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
from authority import Authority
from gateway_talk import receive
from harness import Program, needs_ipv6
from plain_peer import HERE, drain, start
from relay_talk import Ground, Relay, relaying, target
from web_servers import NGINX, ROMEO, make_pages, nginx

from pync.wire.proxy_protocol import VERSIONS, Connection

# --- the words ---

IPV4 = Connection(("192.0.2.1", 53682), ("198.51.100.2", 80))
IPV6 = Connection(("2001:db8::1", 1), ("2001:db8::2%eth0", 65535))
MIXED = Connection(("192.0.2.1", 1), ("2001:db8::2", 2))
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


@pytest.mark.parametrize(
    ("connection", "line"),
    [
        (IPV4, b"PROXY TCP4 192.0.2.1 198.51.100.2 53682 80\r\n"),
        (IPV6, b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"),
        (MIXED, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n"),
        (None, b"PROXY UNKNOWN\r\n"),
    ],
)
def test_version_1(connection: Connection | None, line: bytes) -> None:
    said = VERSIONS[1](connection, "/run/front")
    assert said == line.replace(b"::ffff:192.0.2.1", str(ip_address("::ffff:192.0.2.1")).encode())
    assert len(said) <= 107  # section 2.1


@pytest.mark.parametrize(
    ("connection", "path", "hexadecimal"),
    [
        (IPV4, "", "21 11 000c c0000201 c6336402 d1b2 0050"),
        (IPV6, "", f"21 21 0024 20010db8{'00' * 11}01 20010db8{'00' * 11}02 0001 ffff"),
        (MIXED, "", f"21 21 0024 {'00' * 10}ffffc0000201 20010db8{'00' * 11}02 0001 0002"),
        (None, "/run/x", f"21 31 00d8 {'00' * 108} 2f72756e2f78{'00' * 102}"),
        (None, "@x", f"21 31 00d8 {'00' * 108} 0078{'00' * 106}"),
    ],
)
def test_version_2(connection: Connection | None, path: str, hexadecimal: str) -> None:
    assert VERSIONS[2](connection, path) == SIGNATURE + bytes.fromhex(hexadecimal)


# --- where they are said ---


@pytest.fixture
def ground(tmp_path: Path, authority: Authority) -> Ground:
    return Ground(tmp_path, authority)


def of(client: socket.socket) -> Connection:
    source, destination = client.getsockname(), client.getpeername()
    return Connection(source[:2], destination[:2])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("front", ["tcp", "ssl"])
def test_it_comes_before_the_first_byte(version: int, front: str, ground: Ground) -> None:
    option = ("--proxy-protocol", f"v{version}")
    with relaying((front, "tcp"), ground, *option) as relay, relay.join() as (client, far):
        words = VERSIONS[version](of(client), "")
        assert receive(far, len(words)) == words
        client.sendall(b"hello")
        assert far.recv(5) == b"hello"
        far.sendall(b"and back")
        assert client.recv(100) == b"and back"


@pytest.mark.parametrize("version", VERSIONS)
def test_of_a_unix_client_the_socket_alone_is_known(version: int, ground: Ground) -> None:
    option = ("--proxy-protocol", f"{version}")
    with relaying(("unix", "unix"), ground, *option) as relay, relay.join() as (client, far):
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert drain(far) == VERSIONS[version](None, ground.front) + b"hello"


@needs_ipv6
@pytest.mark.parametrize("host", [HERE, "::1"])
def test_a_listener_of_both_families_says_what_the_client_sees(host: str, ground: Ground) -> None:
    with target("tcp", ground) as listener:
        where = f"{HERE}:{listener.getsockname()[1]}"
        with (
            start("-lnvk", "--proxy-protocol", "v1", "--relay", where, "0") as pync,
            socket.create_connection((host, pync.port)) as client,
        ):
            relay = Relay(pync, ground, "tcp", "tcp")
            relay.listener = listener
            with relay.accept() as far:
                words = VERSIONS[1](of(client), "")
                assert receive(far, len(words)) == words


def test_it_is_said_before_tls(ground: Ground) -> None:
    with target("tcp", ground) as listener:
        where = f"ssl://{HERE}:{listener.getsockname()[1]}"
        with start("-lnvk", "--proxy-protocol", "v2", "--relay", where, HERE, "0") as pync:
            relay = Relay(pync, ground, "tcp", "tcp")
            relay.listener = listener
            with relay.dial() as client, relay.accept() as far:
                words = VERSIONS[2](of(client), "")
                assert receive(far, len(words)) == words
                assert receive(far, 2) == b"\x16\x03"  # a record of a handshake


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")
@pytest.mark.parametrize("version", VERSIONS)
def test_nginx_believes_it(version: int, tmp_path: Path) -> None:
    """It shows in a header whom it has been told of."""
    make_pages(tmp_path)
    with nginx(tmp_path, knows_clients=True) as port:
        option = ("--proxy-protocol", f"v{version}")
        with start("-lnvk", *option, "--relay", f"{HERE}:{port}", HERE, "0") as pync:
            request = b"GET /romeo.txt HTTP/1.0\r\n\r\n"
            source = ("-s", "127.0.0.9")
            with Program.pync(
                "--no-shutdown", *source, HERE, f"{pync.port}", stdin=request
            ) as client:
                status, out, err = client.finish()
    assert (status, err) == (0, "")
    assert b"X-Client: 127.0.0.9\r\n" in out
    assert out.endswith(ROMEO.encode())
