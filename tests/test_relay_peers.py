"""pync as a relay between real programs, and with many clients at once."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from authority import Authority
from gateway_talk import Tunnel, digest, duplex, send_all, wait_for
from harness import NULL, PEERS, Program, descriptors, free_port
from plain_peer import HERE, complaints, drain, start
from relay_talk import Ground, relaying
from test_relay import settled
from web_servers import LARGE, ROMEO, http_server, make_pages

SOME = os.urandom(300_000)
CURL, RSYNC = shutil.which("curl"), shutil.which("rsync")
QUIET = ("-q", "-sS", "--noproxy", "*", "--max-time", "20")


@pytest.fixture
def ground(tmp_path: Path, authority: Authority) -> Ground:
    return Ground(tmp_path, authority)


@contextmanager
def leading_to(where: str, *options: str) -> Iterator[Program]:
    with start("-lnvk", "--relay", where, *options, HERE, "0") as pync:
        yield pync


# Programs.

# How each sends its standard input to a port's other end, or receives from there; as a client
# and as a listener.  Both ways at once most of them lose something, without a relay as well.
SENDS = {
    "openbsd": (lambda port: ("nc.openbsd", "-N", HERE, port)),
    "ncat": (lambda port: ("ncat", "--send-only", HERE, port)),
    "socat": (lambda port: ("socat", "-u", "-", f"TCP4:{HERE}:{port}")),
}
RECEIVES = {
    "openbsd": (lambda port: ("nc.openbsd", "-d", HERE, port)),
    "ncat": (lambda port: ("ncat", "--recv-only", HERE, port)),
    "socat": (lambda port: ("socat", "-u", f"TCP4:{HERE}:{port}", "-")),
}
SENDS_TO_A_CLIENT = {
    "openbsd": (lambda port: ("nc.openbsd", "-lN", HERE, port)),
    "ncat": (lambda port: ("ncat", "-l", "--send-only", HERE, port)),
    "socat": (lambda port: ("socat", "-u", "-", f"TCP4-LISTEN:{port},bind={HERE}")),
}
RECEIVES_FROM_A_CLIENT = {
    "openbsd": (lambda port: ("nc.openbsd", "-ld", HERE, port)),
    "ncat": (lambda port: ("ncat", "-l", "--recv-only", HERE, port)),
    "socat": (lambda port: ("socat", "-u", f"TCP4-LISTEN:{port},bind={HERE}", "-")),
}


@pytest.mark.parametrize("server", SENDS)
@pytest.mark.parametrize("client", SENDS)
@pytest.mark.parametrize("upload", [True, False], ids=["upload", "download"])
def test_between_other_netcats(upload: bool, client: str, server: str) -> None:
    if not (PEERS[client] and PEERS[server]):
        pytest.skip(f"{client} or {server} is not installed")
    near = SENDS if upload else RECEIVES
    far = RECEIVES_FROM_A_CLIENT if upload else SENDS_TO_A_CLIENT
    port = f"{free_port()}"
    with (
        leading_to(f"{HERE}:{port}") as pync,
        Program(*far[server](port), stdin=NULL if upload else SOME) as behind,
    ):
        wait_for(lambda: listens(int(port)))
        with Program(*near[client](f"{pync.port}"), stdin=SOME if upload else NULL) as front:
            got, sent = (behind, front) if upload else (front, behind)
            assert digest(got.finish().out) == digest(SOME)
            assert sent.finish().status == 0
        pync.signal(signal.SIGTERM)
        assert complaints(pync.finish()) == []


def listens(port: int) -> bool:
    """Without a connection, which would be the one that the listener takes."""
    rows = Path("/proc/net/tcp").read_text(encoding="ascii")
    return f"0100007F:{port:04X} 00000000:0000 0A" in rows


@pytest.mark.skipif(not CURL, reason="curl is not installed")
def test_a_web_server_behind_one(tmp_path: Path) -> None:
    make_pages(tmp_path)
    with http_server(tmp_path) as port, leading_to(f"{HERE}:{port}") as pync:
        place = f"http://{HERE}:{pync.port}"
        with Program("curl", *QUIET, f"{place}/romeo.txt", f"{place}/large") as curl:
            assert curl.finish() == (0, ROMEO.encode() + LARGE, "")


@pytest.mark.skipif(not CURL, reason="curl is not installed")
def test_a_web_server_that_gets_tls_by_one(tmp_path: Path, authority: Authority) -> None:
    make_pages(tmp_path)
    shown = ("--ssl-cert", f"{authority.leaf['valid'].combined}")
    with http_server(tmp_path) as port, leading_to(f"{HERE}:{port}", *shown) as pync:
        place = f"https://localhost:{pync.port}"
        trust = ("--cacert", f"{authority.root}", "-4")
        with Program("curl", *QUIET, *trust, f"{place}/large") as curl:
            assert curl.finish() == (0, LARGE, "")


RSYNCD = """\
use chroot = no
log file = /dev/stderr
uid = {uid}
[stuff]
path = {path}
read only = no
"""


@pytest.mark.skipif(not RSYNC, reason="rsync is not installed")
def test_rsync_both_ways(tmp_path: Path) -> None:
    there, here, back = (tmp_path / name for name in ("there", "here", "back"))
    for folder in (there, here, back):
        folder.mkdir()
    for number in range(20):
        (here / f"file{number}").write_bytes(SOME[: number * 10_000])
    configuration = tmp_path / "rsyncd.conf"
    configuration.write_text(RSYNCD.format(path=there, uid=os.getuid()))
    port = free_port()
    daemon = ("--daemon", "--no-detach", "--address", HERE, "--port", f"{port}")
    with (
        Program("rsync", *daemon, "--config", f"{configuration}") as server,
        leading_to(f"{HERE}:{port}") as pync,
    ):
        wait_for(lambda: listens(port))
        stuff = f"rsync://{HERE}:{pync.port}/stuff/"
        for source, target in ((f"{here}/", stuff), (stuff, f"{back}/")):
            with Program("rsync", "-r", source, target) as client:
                assert client.finish().status == 0
        server.signal(signal.SIGTERM)
        server.finish()
    assert files(here) == files(there) == files(back)


def files(folder: Path) -> dict[str, str]:
    return {path.name: digest(path.read_bytes()) for path in folder.iterdir()}


# Many.


@pytest.mark.parametrize(("kind", "count"), [("tcp", 200), ("unix", 100), ("ssl", 40)])
def test_many_at_once_get_what_is_theirs(kind: str, count: int, ground: Ground) -> None:
    def ask(number: int) -> bool:
        question = SOME[number * 1000 :]
        client = relay.dial()
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        answer = drain(client)
        client.close()
        return digest(answer) == digest(question[::-1])

    def answer(_: int) -> None:
        far = relay.accept()
        send_all(far, drain(far)[::-1])
        far.close()

    with relaying((kind, kind), ground) as relay:
        before = settled(relay)
        with ThreadPoolExecutor(count) as near, ThreadPoolExecutor(count) as behind:
            answers = behind.map(answer, range(count))
            assert all(near.map(ask, range(count)))
            assert len([*answers]) == count
        wait_for(lambda: len(descriptors(relay.pync.pid)) == before)
        relay.pync.signal(signal.SIGTERM)
        assert complaints(relay.pync.finish()) == []


def test_many_that_stand_cost_one_that_moves_nothing(ground: Ground) -> None:
    """pync reads and writes for the one alone, so it needs no more time for it than before."""
    with relaying(("tcp", "tcp"), ground) as relay, ExitStack() as stack:
        one = stack.enter_context(relay.join())
        alone = effort(relay.pync, one)
        for _ in range(300):
            stack.enter_context(relay.join())
        assert effort(relay.pync, one) < 2 * alone + 0.1


def effort(pync: Program, ends: Tunnel) -> float:
    """Seconds of a processor for a thousand messages."""
    before = pync.cpu_seconds
    for _ in range(1000):
        ends.client.sendall(b"ping")
        ends.far.recv(4)
        ends.far.sendall(b"pong")
        ends.client.recv(4)
    return pync.cpu_seconds - before


def test_when_no_descriptor_is_left_that_is_nobody_s_end(ground: Ground) -> None:
    """Some clients wait, or are reset; once others have left, all goes on."""
    with relaying(("tcp", "tcp"), ground, shell='ulimit -n 24; exec "$@"') as relay:
        with ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(relay.dial())
            relay.pync.expect("pync: .*clients wait until one leaves")
            assert relay.listener
            relay.listener.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    stack.enter_context(relay.listener.accept()[0])
        assert relay.listener
        relay.listener.settimeout(0.5)
        with suppress(TimeoutError):
            while True:
                relay.listener.accept()[0].close()
        relay.listener.settimeout(20)
        with relay.join() as ends:
            assert duplex(ends, b"a", b"b") == (digest(b"a"), digest(b"b"))
