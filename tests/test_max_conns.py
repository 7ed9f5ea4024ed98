"""--max-conns: so many clients at a time, whatever is done for them; the others wait."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from authority import Authority
from harness import NULL, PATIENCE, PIPE, Program
from plain_peer import HERE, complaints, drain, ended_within, reset, silent, start
from plain_tls import PlainTls, client_context
from programs import programs
from test_many_peers import client_of, stopped
from test_tls_strangers import listening as listening_with_tls
from test_tls_strangers import stranger_of
from test_unix_sockets import a_socket

# What a listener may do for its clients.
MODES = {
    "all": "",
    "first": "--stdin first",
    "each": "--stdin each",
    "broker": "--broker",
    "chat": "--chat",
    "relay": "--relay {target}",
    "HTTP proxy": "-X http",
    "SOCKS5 proxy": "-X socks5",
}


@contextmanager
def target() -> Iterator[str]:
    with socket.create_server((HERE, 0)) as listener:
        yield f"{HERE}:{listener.getsockname()[1]}"


def welcomes(server: Program, count: int) -> None:
    """Wait for so many clients in all, and for no more."""
    server.expect(rf"(Connection received on (?s:.*)){{{count}}}")
    server.receive(1 << 20, within=0.1)
    assert server.text().count("Connection received on") == count


@pytest.mark.parametrize("mode", MODES)
def test_whoever_is_one_too_many_waits_until_one_leaves(mode: str) -> None:
    with (
        target() as place,
        start(
            "-lknv", "--max-conns", "2", *MODES[mode].format(target=place).split(), HERE, "0",
            stdin=PIPE,
        ) as server,
        ExitStack() as stack,
    ):  # fmt: skip
        clients = [stack.enter_context(client_of(server)) for _ in range(5)]
        for count in (2, 3, 4, 5):
            welcomes(server, count)
            reset(clients.pop(0))
        assert "as may be" not in server.text()


def test_those_who_wait_are_served_in_turn_and_lose_nothing() -> None:
    with (
        start("-lknv", "--stdin", "each", "--max-conns", "1", HERE, "0", stdin=b"page") as server,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(client_of(server)) for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall(b"client %02d\n" % number)
        for number, client in enumerate(clients):
            assert drain(client) == b"page"
            assert server.receive(10 * (number + 1)).endswith(b"client %02d\n" % number)
            if number + 1 < len(clients):
                assert number % 5 or silent(clients[number + 1], 0.05)
            client.close()
        assert stopped(server) == []


def test_a_listener_that_is_full_waits_in_peace() -> None:
    with (
        start("-lknv", "--max-conns", "1", HERE, "0", stdin=NULL) as server,
        client_of(server),
        client_of(server),
    ):
        welcomes(server, 1)
        before = server.cpu_seconds
        assert not ended_within(server, 1.0)
        assert server.cpu_seconds - before < 0.05


def test_clients_of_a_unix_socket_wait_too(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        start("-lkUv", "--max-conns", "1", f"{path}", stdin=PIPE) as server,
        a_socket("") as first,
        a_socket("") as second,
    ):
        server.expect("Listening")
        for client in (first, second):
            client.connect(str(path))
        welcomes(server, 1)
        first.close()
        welcomes(server, 2)


# Handshakes count.


def test_a_client_in_its_handshake_counts(authority: Authority) -> None:
    with (
        listening_with_tls(authority, "-k", "--max-conns", "2", stdin=PIPE) as server,
        stranger_of(server) as staller,
        ExitStack() as stack,
    ):
        peers = []
        for _ in range(3):
            sock = stack.enter_context(stranger_of(server))
            peers.append(PlainTls(sock, client_context(authority.root)))
        peers[0].handshake()
        peers[1].sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peers[1].handshake()
        peers[0].sock.close()  # while the one that stalls is still there
        peers[1].sock.settimeout(PATIENCE)
        peers[1].handshake()
        staller.close()
        peers[2].handshake()
        peers[2].sendall(b"hello")
        assert server.receive(5) == b"hello"


# Datagrams, which cannot wait.


@contextmanager
def peer_of(server: Program) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE)
        peer.connect((HERE, server.port))
        yield peer


def test_datagrams_of_one_peer_too_many_are_dropped_and_that_is_told_once() -> None:
    options = ("-luknv", "--max-conns", "2", "--idle-timeout", "2s")
    with start(*options, HERE, "0", stdin=PIPE) as server, ExitStack() as stack:
        one, two, three = (stack.enter_context(peer_of(server)) for _ in range(3))
        heard = b""
        for number in range(5):
            for peer, words in ((one, b"one "), (two, b"two "), (three, b"bad ")):
                peer.send(words)
            heard += b"one two "
            assert server.receive(len(heard)) == heard, number
        server.send(b"answer")
        assert one.recv(100) == two.recv(100) == b"answer"
        assert silent(three, 0.05)
        told = "pync: there are as many peers as may be; datagrams of others are dropped\n"
        assert server.text().count(told) == server.text().count("pync: ") == 1
        server.expect("(timed out: idle for 2 s(?s:.*)){2}")
        three.send(b"three")
        assert server.receive(len(heard) + 5) == heard + b"three"


def test_as_many_peers_may_be_as_is_said() -> None:
    """Also more than there are without a word, and none is pushed out."""
    count = 1050
    with (
        start("-luknvd", "--max-conns", f"{count}", HERE, "0") as server,
        ExitStack() as stack,
    ):
        peers = [stack.enter_context(peer_of(server)) for _ in range(count)]
        for turn in (1, 2):
            for number, peer in enumerate(peers, start=1):
                peer.send(b"x")
                if number % 50 == 0:  # a socket holds only so many
                    assert len(server.receive((turn - 1) * count + number)) % 50 == 0
        assert server.text().count("Connection received") == count


@pytest.mark.parametrize(("options", "most"), [((), 64), (("--max-conns", "70"), 70)])
def test_single_datagrams_start_so_many_programs(options: tuple[str, ...], most: int) -> None:
    with start("-lukn", "-v", *options, "-e", "cat", HERE, "0") as server, ExitStack() as stack:
        peers = [stack.enter_context(peer_of(server)) for _ in range(most + 5)]
        for number, peer in enumerate(peers):
            peer.send(b"%d" % number)
            if number < most:
                assert peer.recv(100) == b"%d" % number
        server.expect("as many peers as may be")
        assert len(programs(server, most)) == most
        assert stopped(server) == [
            "pync: there are as many peers as may be; datagrams of others are dropped"
        ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-l --max-conns 3 0", "--max-conns needs --keep-open"),
        ("-lk --max-conns 0 0", "--max-conns: '0' is not a whole number above zero"),
    ],
)
def test_a_mistake_is_told(line: str, told: str) -> None:
    with start(*line.split()) as pync:
        result = pync.finish()
    assert (result.status, complaints(result)) == (2, [f"pync: {told}"])
