"""-e with other netcats at the other end, through proxies, and with programs that serve."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from authority import Authority
from gateway_talk import dial
from harness import PEERS, PYNC, Program, free_port
from plain_peer import HERE, complaints, drain, drain_until_any_end, start
from plain_tls import tls_options

SOME = os.urandom(3_000_000)
GIT = shutil.which("git")

# Each sends its standard input, ends that, and writes what comes to the end of the connection.
CLIENTS = {
    "openbsd": (lambda port: ("nc.openbsd", "-N", HERE, port)),
    "ncat": (lambda port: ("ncat", HERE, port)),
    "socat": (lambda port: ("socat", "-t10", "-", f"TCP4:{HERE}:{port}")),
}
LISTENERS = {
    "openbsd": (lambda port: ("nc.openbsd", "-lvN", HERE, port)),
    "ncat": (lambda port: ("ncat", "-lv", HERE, port)),
    "socat": (lambda port: ("socat", "-d", "-d", "-t10", "-", f"TCP4-LISTEN:{port},bind={HERE}")),
}
LISTENS = r"(?i)listening on"


def needs(name: str) -> None:
    if not PEERS[name]:
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("keep", ["", "k"])
@pytest.mark.parametrize("line", ["cat", "cat >copy; sleep 0.1; cat copy"])
def test_another_netcat_as_a_client(name: str, keep: str, line: str, tmp_path: Path) -> None:
    needs(name)
    with start(f"-lnv{keep}", "-c", line, HERE, "0", cwd=tmp_path) as server:
        argv = CLIENTS[name](f"{server.port}")
        with Program(*argv, stdin=SOME) as client:
            result = client.finish()
        assert (result.status, result.out == SOME) == (0, True)
        if keep:
            server.signal(signal.SIGTERM)
        result = server.finish()
        assert (result.status, complaints(result)) == (-signal.SIGTERM if keep else 0, [])


@pytest.mark.parametrize("name", LISTENERS)
def test_another_netcat_as_a_listener(name: str, tmp_path: Path) -> None:
    needs(name)
    port, copy = f"{free_port()}", tmp_path / "copy"
    with (
        copy.open("wb") as file,
        Program(*LISTENERS[name](port), stdin=SOME, stdout=file) as server,
    ):
        server.expect(LISTENS)
        with start("-c", "cat; exit 3", HERE, port) as client:
            assert client.finish() == (3, b"", "")
        assert server.finish().status == 0
    assert copy.read_bytes() == SOME


@pytest.mark.parametrize(
    "words",
    [
        ("-e", "/usr/bin/head -n 2"),
        ("-c", "read a; echo $a; echo $NCAT_REMOTE_ADDR $NCAT_LOCAL_PORT $NCAT_PROTO"),
        ("-c", "echo one; echo two >&2; read a; exit 3"),
    ],
)
def test_a_client_gets_what_ncat_gives_it(words: tuple[str, ...]) -> None:
    """One that has not ended: ncat does not pass on what comes after that."""
    needs("ncat")
    port = f"{free_port()}"
    heard = []
    for argv in (PYNC, ("ncat",)):
        with Program(*argv, "-lv", *words, HERE, port) as server:
            server.expect(LISTENS)
            with dial(int(port)) as client:
                client.sendall(b"words\nand more\n")
                heard.append(drain_until_any_end(client)[0])
            server.finish()
    assert heard[0] == heard[1] != b""


def test_many_netcats_at_once() -> None:
    needs("openbsd")
    with start("-lkv", "-e", "cat", HERE, "0") as server:
        port = f"{server.port}"

        def ask(number: int) -> bool:
            data = SOME[: number * 10000]
            with Program(*CLIENTS["openbsd"](port), stdin=data) as client:
                return client.finish().out == data

        with ThreadPoolExecutor(10) as pool:
            assert all(pool.map(ask, range(30)))


# Through proxies.


@pytest.mark.parametrize("kind", ["socks4", "socks5", "http"])
def test_a_program_s_connection_may_lead_through_a_proxy(kind: str) -> None:
    with (
        start("-lkv", "-X", kind, HERE, "0") as proxy,
        socket.create_server((HERE, 0)) as listener,
        start(
            "-x", f"{kind}://{HERE}:{proxy.port}", "-c", "echo $PYNC_REMOTE_PORT; cat; exit 3",
            HERE, f"{listener.getsockname()[1]}",
        ) as client,
    ):  # fmt: skip
        listener.settimeout(20)
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(20)
            peer.sendall(SOME)
            peer.shutdown(socket.SHUT_WR)
            assert drain(peer) == f"{listener.getsockname()[1]}\n".encode() + SOME
        assert client.finish() == (3, b"", "")


def test_and_be_encrypted(authority: Authority, tmp_path: Path) -> None:
    leaf, copy = authority.leaf["valid"], tmp_path / "copy"
    with (
        start("-lkv", "-X", "socks5", HERE, "0") as proxy,
        copy.open("wb") as file,
        start(
            "-lv", *tls_options(authority, "listens", leaf), HERE, "0", stdin=SOME, stdout=file
        ) as server,
        start(
            "-x", f"{HERE}:{proxy.port}", *tls_options(authority, "connects", leaf),
            "-c", "cat; exit 3", HERE, f"{server.port}",
        ) as client,
    ):  # fmt: skip
        assert client.finish() == (3, b"", "")
        assert server.finish().status == 0
    assert copy.read_bytes() == SOME


def test_nothing_runs_where_there_is_no_connection(tmp_path: Path) -> None:
    port = f"{free_port()}"
    with start("-c", "touch run", HERE, port, cwd=tmp_path) as client:
        result = client.finish()
    assert result.status == 1
    assert complaints(result) == [
        f"pync: connect to {HERE} port {port} (tcp) failed: Connection refused"
    ]
    assert list(tmp_path.iterdir()) == []


def test_trying_again_is_for_the_connection(tmp_path: Path) -> None:
    """And the program runs once, when there is one."""
    port = free_port()
    with start(
        "--retry", "50", "--retry-delay", "0.05", "-c", "echo hi", HERE, f"{port}"
    ) as client:
        client.expect("failed")
        with socket.create_server((HERE, port)) as listener:
            listener.settimeout(20)
            peer, _ = listener.accept()
            with peer:
                assert drain(peer) == b"hi\n"
        assert client.finish().status == 0


# Who may connect.


def test_certificates_say_who_may_run_it(authority: Authority, tmp_path: Path) -> None:
    """A shell behind TLS; one without a certificate has not used up the one turn."""
    leaf, right = authority.leaf["valid"], authority.leaf["client"]
    shown = ("--ssl-cert", f"{right.chain}", "--ssl-key", f"{right.key}")
    trust = tls_options(authority, "connects", leaf)
    whom = (*tls_options(authority, "listens", leaf), "--ssl-client-ca", f"{authority.root}")
    with start("-lv", *whom, "-e", "sh", HERE, "0", cwd=tmp_path) as server:
        for certificate, status, said in (((), 1, b""), (shown, 0, b"42\n")):
            with start(
                *trust, *certificate, HERE, f"{server.port}", stdin=b"touch run; echo $((6*7))\n"
            ) as client:
                result = client.finish()
                assert (result.status, result.out) == (status, said), result.err
            assert (tmp_path / "run").exists() == (status == 0)
        assert server.finish().status == 0


# Programs that serve one client by their standard input and output, as inetd's do.


@pytest.mark.skipif(not GIT, reason="git is not installed")
def test_a_repository_is_cloned(tmp_path: Path) -> None:
    git = (f"{GIT}", "-c", "user.name=me", "-c", "user.email=me@invalid", "-C", f"{tmp_path}")
    for words in (("init", "-q", "it"), ("-C", "it", "commit", "-q", "--allow-empty", "-m", "one")):
        with Program(*git, *words) as made:
            assert made.finish().status == 0
    command = f"git daemon --inetd --export-all --base-path='{tmp_path}'"
    with start("-lkv", "-e", command, HERE, "0") as server:
        for copy in ("copy", "another"):
            with Program(*git, "clone", "-q", f"git://{HERE}:{server.port}/it", copy) as clone:
                assert clone.finish() == (0, b"", "")
        server.signal(signal.SIGTERM)
        assert complaints(server.finish()) == []
    with Program(*git, "-C", "copy", "log", "--format=%s") as log:
        assert log.finish().out == b"one\n"
