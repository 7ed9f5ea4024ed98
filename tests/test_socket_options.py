"""The options that set something on the socket, read back from that very socket.

With --fd-pass pync hands the connected socket to the test, so the test can ask
the kernel what was set on it, which proves --fd-pass as well.  Where a setting
shows on the wire, it is also seen there.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness import PATIENCE, Program, needs_ipv6, needs_tcp_md5
from plain_peer import HERE

SO_DEBUG = 1  # Linux, asm-generic/socket.h
IP_MINTTL = 21  # Linux, linux/in.h
IP_RECVTTL = 12  # Linux, linux/in.h
IPV6_MINHOPCOUNT = 73  # Linux, linux/in6.h

Setting = tuple[int, int]  # level and number, for getsockopt


def may(level: int, number: int, value: int) -> bool:
    """Whether this system and its user can set that."""
    with socket.socket() as probe:
        try:
            probe.setsockopt(level, number, value)
        except OSError:
            return False
    return True


may_debug = pytest.mark.skipif(
    not may(socket.SOL_SOCKET, SO_DEBUG, 1), reason="SO_DEBUG needs a privilege"
)
has_min_ttl = pytest.mark.skipif(
    not may(socket.IPPROTO_IP, IP_MINTTL, 2), reason="the system has no least TTL"
)


@contextmanager
def somebody(kind: socket.SocketKind = socket.SOCK_STREAM, host: str = HERE) -> Iterator[str]:
    """A plain socket to connect to; its port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as plain:
        plain.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            plain.listen()
        yield str(plain.getsockname()[1])


@contextmanager
def passed_on(*arguments: str, peer: str = "") -> Iterator[socket.socket]:
    """The connected socket that `pync --fd-pass` hands over.

    peer: connect to pync from there, since it listens.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, Program.pync("--fd-pass", *arguments, stdout=theirs) as pync:
        theirs.close()
        with socket.socket() as client:
            if peer:
                client.connect((peer, pync.port))
            ours.settimeout(PATIENCE)
            _, (descriptor, *others), _, _ = socket.recv_fds(ours, 1, 4)
            assert not others
            with socket.socket(fileno=descriptor) as passed:
                assert pync.finish().status == 0
                yield passed


# --fd-pass itself.


def test_the_connected_socket_is_handed_over() -> None:
    with (
        socket.create_server((HERE, 0)) as server,
        passed_on(HERE, str(server.getsockname()[1])) as passed,
    ):
        peer, _ = server.accept()
        with peer:
            passed.sendall(b"hello")
            assert peer.recv(100) == b"hello"
            assert passed.getpeername() == server.getsockname()


def test_a_listener_hands_over_who_connected() -> None:
    with passed_on("-lv", HERE, "0", peer=HERE) as passed:
        assert passed.getsockname()[0] == passed.getpeername()[0] == HERE


def test_a_descriptor_cannot_be_handed_over_a_pipe() -> None:
    with somebody() as port, Program.pync("-F", HERE, port) as pync:
        status, out, err = pync.finish()
    assert (status, out) == (2, b"")
    assert err.startswith("pync: --fd-pass")
    assert err.count("\n") == 1


# Settings that can be read back.

DOUBLED = 2  # Linux gives twice the buffer that it is asked for

TCP_SETTINGS = [
    ("-I 20000", (socket.SOL_SOCKET, socket.SO_RCVBUF), 20_000 * DOUBLED),
    ("-O 20000", (socket.SOL_SOCKET, socket.SO_SNDBUF), 20_000 * DOUBLED),
    ("-T lowdelay", (socket.IPPROTO_IP, socket.IP_TOS), 0x10),
    ("-T ef", (socket.IPPROTO_IP, socket.IP_TOS), 0xB8),
    ("-T af11", (socket.IPPROTO_IP, socket.IP_TOS), 0x28),
    ("-M 7", (socket.IPPROTO_IP, socket.IP_TTL), 7),
    pytest.param("-m 3", (socket.IPPROTO_IP, IP_MINTTL), 3, marks=has_min_ttl),
    pytest.param("-D", (socket.SOL_SOCKET, SO_DEBUG), 1, marks=may_debug),
    ("--tcp-keepalive 7", (socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1),
    ("--tcp-keepalive 7", (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 7),
    ("--tcp-keepalive 2m", (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), 120),
]
UDP_SETTINGS = [
    ("-b", (socket.SOL_SOCKET, socket.SO_BROADCAST), 1),
    ("-I 64k", (socket.SOL_SOCKET, socket.SO_RCVBUF), 65_536 * DOUBLED),
    ("-O 64k", (socket.SOL_SOCKET, socket.SO_SNDBUF), 65_536 * DOUBLED),
    ("-T critical", (socket.IPPROTO_IP, socket.IP_TOS), 0xA0),
    ("-T Minimize-Cost", (socket.IPPROTO_IP, socket.IP_TOS), 0x02),
    ("-T 0x20", (socket.IPPROTO_IP, socket.IP_TOS), 0x20),
    ("-T 255", (socket.IPPROTO_IP, socket.IP_TOS), 255),
    ("-M 255", (socket.IPPROTO_IP, socket.IP_TTL), 255),
]
IPV6_SETTINGS = [
    ("-T ef", (socket.IPPROTO_IPV6, socket.IPV6_TCLASS), 0xB8),
    ("-M 7", (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS), 7),
    pytest.param("-m 3", (socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT), 3, marks=has_min_ttl),
]


@pytest.mark.parametrize(("option", "setting", "value"), TCP_SETTINGS)
def test_a_client_sets_it(option: str, setting: Setting, value: int) -> None:
    with (
        somebody() as port,
        socket.socket() as plain,
        passed_on(*option.split(), HERE, port) as passed,
    ):
        assert passed.getsockopt(*setting) == value
        assert plain.getsockopt(*setting) != value


@pytest.mark.parametrize(("option", "setting", "value"), UDP_SETTINGS)
def test_a_udp_client_sets_it(option: str, setting: Setting, value: int) -> None:
    with (
        somebody(socket.SOCK_DGRAM) as port,
        socket.socket(type=socket.SOCK_DGRAM) as plain,
        passed_on("-u", *option.split(), HERE, port) as passed,
    ):
        assert passed.getsockopt(*setting) == value
        assert plain.getsockopt(*setting) != value


@needs_ipv6
@pytest.mark.parametrize(("option", "setting", "value"), IPV6_SETTINGS)
def test_a_client_sets_it_on_ipv6(option: str, setting: Setting, value: int) -> None:
    with (
        somebody(host="::1") as port,
        passed_on(*option.split(), "::1", port) as passed,
    ):
        assert passed.getsockopt(*setting) == value


@pytest.mark.parametrize(("option", "setting", "value"), TCP_SETTINGS)
def test_a_listener_sets_it_on_its_connection(option: str, setting: Setting, value: int) -> None:
    """Without a host one socket serves both families; an IPv4 client gets what is for IPv4."""
    with passed_on("-lv", *option.split(), "0", peer=HERE) as passed:
        assert passed.getsockopt(*setting) == value


# Settings that show on the wire.


@pytest.mark.parametrize(
    ("option", "wanted", "told", "value"),
    [
        ("-T af11", socket.IP_RECVTOS, socket.IP_TOS, 0x28),
        ("-M 9", IP_RECVTTL, socket.IP_TTL, 9),
    ],
)
def test_a_datagram_shows_it(option: str, wanted: int, told: int, value: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE)
        peer.setsockopt(socket.IPPROTO_IP, wanted, 1)
        peer.bind((HERE, 0))
        where = (HERE, str(peer.getsockname()[1]))
        with Program.pync("-u", "-q", "0", *option.split(), *where, stdin=b"hello") as pync:
            data, ((level, kind, content),), _, _ = peer.recvmsg(100, 100)
            assert pync.finish().status == 0
    assert (data, level, kind) == (b"hello", socket.IPPROTO_IP, told)
    assert int.from_bytes(content, "little") == value


@has_min_ttl
@pytest.mark.parametrize(("ttl", "status"), [("99", 1), ("100", 0)])
def test_who_is_too_far_away_cannot_connect(ttl: str, status: int) -> None:
    with (
        Program.pync("-lkv", "-m", "100", HERE, "0") as server,
        Program.pync("-z", "-w", "500ms", "-M", ttl, HERE, str(server.port)) as client,
    ):
        assert client.finish().status == status


@needs_tcp_md5
@pytest.mark.parametrize("host", [(HERE,), ()], ids=["here", "anywhere"])
@pytest.mark.parametrize(
    ("key", "status", "received"),
    [("right", 0, b"hello"), ("wrong", 1, b""), ("", 1, b"")],
    ids=["the same key", "another key", "no key"],
)
def test_only_who_has_the_key_is_heard(
    host: tuple[str, ...], key: str, status: int, received: bytes
) -> None:
    with Program.pync("-lSv", *host, "0", env={"PYNC_MD5SIG_KEY": "right"}) as server:
        option = ("-S",) if key else ()
        client_env = {"PYNC_MD5SIG_KEY": key}
        with Program.pync(
            *option, "-w", "1", HERE, str(server.port), stdin=b"hello", env=client_env
        ) as client:
            assert client.finish().status == status
        assert server.receive(len(received)) == received


@pytest.mark.parametrize("key", ["", "k" * 81])
def test_a_key_has_1_to_80_bytes(key: str) -> None:
    with Program.pync("-S", HERE, "9", env={"PYNC_MD5SIG_KEY": key}) as pync:
        status, out, err = pync.finish()
    assert (status, out) == (2, b"")
    assert err.startswith("pync: --md5sig")
    assert err.count("\n") == 1


@needs_tcp_md5
def test_a_key_that_nobody_can_be_asked_for_is_told() -> None:
    with Program.pync("-S", HERE, "9", start_new_session=True) as pync:  # without a terminal
        status, out, err = pync.finish()
    assert (status, out) == (2, b"")
    assert err.startswith("pync: --md5sig")
    assert err.count("\n") == 1
