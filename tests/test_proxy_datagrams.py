"""pync -u through a SOCKS5 proxy: dante, microsocks, and one that a plain socket plays."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import NULL, PATIENCE, PEERS, PIPE, Program, free_port, needs_ipv6
from plain_peer import HERE, complaints, drain, drain_until_any_end, ended_within, reset, start
from proxy_servers import PASSWORD, USER, serving
from socks_scripts import message


@contextmanager
def a_peer(host: str = HERE) -> Iterator[socket.socket]:
    """Who is to be reached."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((host, 0))
        peer.settimeout(PATIENCE)
        yield peer


def port_of(sock: socket.socket) -> str:
    return str(sock.getsockname()[1])


@pytest.fixture
def dante(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """The options that lead through it."""
    with serving("dante", tmp_path) as port:
        yield "-u", "-x", f"{HERE}:{port}"


# Through dante.

HOSTS = [HERE, "localhost"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("size", [1, 9_000, 65_000])
def test_a_question_and_its_answer(dante: tuple[str, ...], host: str, size: int) -> None:
    with a_peer() as peer, start(*dante, host, port_of(peer), stdin=bytes(size)) as pync:
        question, client = peer.recvfrom(1 << 16)
        assert question == bytes(size)
        peer.sendto(b"answer" + question, client)
        assert pync.finish() == (0, b"answer" + question, "")


@needs_ipv6
def test_over_ipv6(tmp_path: Path) -> None:
    with serving("dante", tmp_path) as port, a_peer("::1") as peer:
        place = ("::1", port_of(peer))
        with start("-u", "-x", f"[::1]:{port}", *place, stdin=b"question") as pync:
            question, client = peer.recvfrom(1 << 16)
            assert question == b"question"
            peer.sendto(b"answer", client)
            assert pync.finish() == (0, b"answer", "")


def test_datagrams_keep_their_boundaries(dante: tuple[str, ...]) -> None:
    lines = [b"one\n", b"two\n", b"three\n"]
    with a_peer() as peer:
        options = (*dante, "-i", "1ms", "-W", "3", HERE, port_of(peer))
        with start(*options, stdin=b"".join(lines)) as pync:
            for line in lines:
                data, client = peer.recvfrom(1 << 16)
                assert data == line
                peer.sendto(b"" if line == b"two\n" else line, client)
            assert pync.finish() == (0, b"one\nthree\n", "")


@pytest.mark.skipif(not PEERS["openbsd"], reason="needs nc.openbsd (Debian: netcat-openbsd)")
def test_a_conversation_with_the_netcat_of_openbsd(dante: tuple[str, ...]) -> None:
    port = str(free_port(socket.SOCK_DGRAM))
    with Program(f"{PEERS['openbsd']}", "-nluv", HERE, port, stdin=PIPE) as netcat:
        netcat.expect("Bound on")
        with start(*dante, "-v", HERE, port, stdin=PIPE) as pync:
            pync.expect(rf"Through .*\n.*Connection to {HERE} {port} port \[udp/.*\] succeeded!\n")
            pync.send(b"question\n")
            assert netcat.receive(9) == b"question\n"
            netcat.send(b"answer\n")
            assert pync.receive(7) == b"answer\n"
            pync.end()
            assert pync.finish()[:2] == (0, b"answer\n")


# How it ends.


def test_a_second_after_the_last_reply(dante: tuple[str, ...]) -> None:
    with a_peer() as peer, start(*dante, HERE, port_of(peer), stdin=b"question") as pync:
        _, client = peer.recvfrom(1 << 16)
        for _ in range(3):
            assert not ended_within(pync, 0.5)
            last = time.monotonic()
            peer.sendto(b"answer", client)
        assert pync.finish()[:2] == (0, b"answer" * 3)
        assert 1 <= time.monotonic() - last < 5


# With a proxy by hand.

GRANTED = "05 00 00"
ZEROS = "01 00000000"
HEADER = message("000000 01 c0000201 0007")
Served = Callable[[socket.socket], None]


@contextmanager
def by_hand(*options: str, **how: Any) -> Iterator[tuple[Program, socket.socket]]:
    """pync, with a target of 192.0.2.1 port 7, and its connection to the proxy."""
    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(PATIENCE)
        proxy = f"{HERE}:{port_of(listener)}"
        with start("-u", "-x", proxy, *options, "192.0.2.1", "7", **how) as pync:
            control, _ = listener.accept()
            with control:
                control.settimeout(PATIENCE)
                yield pync, control


def expect(control: socket.socket, *parts: str | bytes) -> None:
    wanted = message(*parts)
    assert control.recv(len(wanted), socket.MSG_WAITALL) == wanted


def let_in(control: socket.socket) -> None:
    """Ask for no proof, and let it ask for a relay."""
    expect(control, "05 01 00")
    control.sendall(message("05 00"))
    expect(control, "05 03 00 01 00000000 0000")


def grant(control: socket.socket, relay: socket.socket) -> None:
    control.sendall(message(GRANTED, ZEROS) + relay.getsockname()[1].to_bytes(2, "big"))


def answer(relay: socket.socket, question: bytes) -> None:
    data, client = relay.recvfrom(1 << 16)
    assert data == HEADER + question
    relay.sendto(HEADER + b"answer", client)


def test_with_a_user_and_a_password() -> None:
    login = f"{USER}:{PASSWORD}"
    with (
        a_peer() as relay,
        by_hand("--proxy-auth", login, stdin=b"question") as (pync, control),
    ):
        expect(control, "05 02 00 02")
        control.sendall(message("05 02"))
        user, password = USER.encode(), PASSWORD.encode()
        expect(control, b"\1%c%b%c%b" % (len(user), user, len(password), password))
        control.sendall(message("01 00"))
        expect(control, "05 03 00 01 00000000 0000")
        grant(control, relay)
        answer(relay, b"question")
        assert pync.finish() == (0, b"answer", "")
        assert drain(control) == b""


LIMITS = {"-q": ("-q", "0"), "-w": ("-w", "0.2"), "--send-only": ("--send-only",)}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_other_limits(limit: tuple[str, ...]) -> None:
    with a_peer() as relay, by_hand(*limit, stdin=b"question") as (pync, control):
        let_in(control)
        grant(control, relay)
        answer(relay, b"question")
        begin = time.monotonic()
        assert pync.finish()[::2] == (0, "")
        assert time.monotonic() - begin < 5


REFUSED = {
    "the command": ("05 07 00 01 00000000 0000", "refuses to relay datagrams: command not supp"),
    "whoever asks": ("05 02 00 01 00000000 0000", "refuses to relay datagrams: .*ruleset"),
    "without a port": ("05 00 00 01 00000000 0000", "failed: its relay has no port"),
}


@pytest.mark.parametrize(("reply", "told"), REFUSED.values(), ids=REFUSED)
def test_a_proxy_that_relays_nothing_is_told(reply: str, told: str) -> None:
    with by_hand(stdin=NULL) as (pync, control):
        let_in(control)
        control.sendall(message(reply))
        result = pync.finish()
        assert drain_until_any_end(control)[0] == b""
    assert (result.status, result.out) == (1, b"")
    (line,) = complaints(result)
    assert re.search(told, line)


def test_microsocks_relays_nothing(tmp_path: Path) -> None:
    with (
        serving("microsocks", tmp_path) as port,
        start("-u", "-x", f"{HERE}:{port}", HERE, "7", stdin=NULL) as pync,
    ):
        status, _, err = pync.finish()
    assert status == 1
    assert "refuses to relay datagrams: command not supported" in err


ENDS: dict[str, tuple[Served, str]] = {
    "in order": (socket.socket.close, "the proxy has stopped to relay"),
    "by a reset": (reset, "Connection reset by peer"),
}


@pytest.mark.parametrize(("end", "told"), ENDS.values(), ids=ENDS)
def test_the_proxy_s_end_is_the_end(end: Served, told: str) -> None:
    with a_peer() as relay, by_hand(stdin=PIPE) as (pync, control):
        let_in(control)
        grant(control, relay)
        pync.send(b"question")
        answer(relay, b"question")
        assert pync.receive(6) == b"answer"
        end(control)
        result = pync.finish()
    assert result[:2] == (1, b"answer")
    (line,) = complaints(result)
    assert told in line


@pytest.mark.parametrize(
    "options",
    [
        ("--proxy", "http://127.0.0.1"),
        ("-X", "4", "-x", HERE),
        ("-x", HERE, "-x", HERE),
        ("-F", "-x", HERE),
    ],
    ids=" ".join,
)
def test_what_datagrams_cannot_pass_is_refused_at_once(options: tuple[str, ...]) -> None:
    with start("-u", *options, HERE, "7", stdin=NULL) as pync:
        result = pync.finish()
    assert result.status == 2
    (line,) = complaints(result)
    assert "datagrams" in line
