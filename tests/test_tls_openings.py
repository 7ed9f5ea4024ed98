"""While a handshake is going on: others are served, time runs out, and pync may be stopped.

What is over before it has begun is in test_tls_strangers.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from authority import Authority
from harness import PIPE, Program
from plain_peer import HERE, complaints, drain_until_any_end, joined, silent, start
from plain_tls import tls_options
from test_tls_strangers import (
    Options,
    check_end,
    client_of,
    each_role,
    hello,
    listening,
    served,
    stranger_of,
)

# Others.


def test_a_listener_that_keeps_open_serves_several_at_once(authority: Authority) -> None:
    with listening(authority, "-k", stdin=PIPE) as server, ExitStack() as stack:
        peers = [stack.enter_context(client_of(authority, server)) for _ in range(5)]
        for number, peer in enumerate(peers):
            peer.sendall(b"%d\n" % number)
        assert sorted(server.receive(10).split()) == [b"%d" % number for number in range(5)]
        server.send(b"to all of you")
        server.end()
        assert [peer.drain() for peer in peers] == [b"to all of you"] * 5


def test_of_several_who_come_at_once_one_is_served_and_the_others_hear_of_it(
    authority: Authority,
) -> None:
    trust = ("--ssl-trustfile", f"{authority.root}")
    with listening(authority) as server, ExitStack() as stack:
        where = (HERE, f"{server.port}")
        server.signal(signal.SIGSTOP)
        clients = [
            stack.enter_context(start(*trust, *where, stdin=b"client %d" % number))
            for number in range(3)
        ]
        server.signal(signal.SIGCONT)
        statuses = [client.finish().status for client in clients]
        assert sorted(statuses) == [0, 1, 1]
        assert server.finish()[:2] == (0, b"client %d" % statuses.index(0))


# Silence.


@pytest.mark.parametrize("option", ["-w", "--wait"])
def test_a_client_gives_up_a_server_that_says_nothing(authority: Authority, option: str) -> None:
    options = ("--ssl-trustfile", f"{authority.root}", option, "1")
    begin = time.monotonic()
    with joined("connects", *options, stdin=b"payload") as (pync, sock):
        status, out, err = pync.finish()
        took = time.monotonic() - begin
        assert b"payload" not in drain_until_any_end(sock)[0]
    assert (status, out) == (1, b"")
    assert re.fullmatch(r"pync: TLS handshake with 127\.0\.0\.1 port \d+ \(tcp\) timed out\n", err)
    assert 1 <= took < 5


@pytest.mark.parametrize("options", [("-w", "1"), ("-k", "--wait", "1")], ids=" ".join)
def test_a_listener_drops_a_client_that_says_nothing(
    authority: Authority, options: Options
) -> None:
    with listening(authority, *options, stdin=PIPE) as server:
        begin = time.monotonic()
        with stranger_of(server) as mute, stranger_of(server) as slow:
            slow.sendall(hello(b"\3\3")[:20])
            assert drain_until_any_end(mute)[0] == b""
            assert 1 <= time.monotonic() - begin < 5
            assert drain_until_any_end(slow)[0] == b""
        server.expect(r"(pync: TLS handshake with 127\.0\.0\.1 port \d+ \(tcp\) timed out\n){2}$")
        with served(authority, server, "good"):
            pass


@pytest.mark.parametrize("options", [(), ("-k",)], ids=["once", "-k"])
def test_others_are_served_at_once_meanwhile(authority: Authority, options: Options) -> None:
    with listening(authority, *options, "--wait", "1m", stdin=PIPE) as server, ExitStack() as stack:
        strangers = [stack.enter_context(stranger_of(server)) for _ in range(5)]
        with served(authority, server, "good") as peer:
            assert "timed out" not in server.text()
            if not options:
                for sock in strangers:  # there is no turn left for them
                    assert drain_until_any_end(sock)[0] == b""
                check_end(server, peer)


def test_they_do_not_keep_all_the_descriptors(authority: Authority) -> None:
    few = 'ulimit -n 16; exec "$@"'
    options = ("-k", "--wait", "300ms")
    with listening(authority, *options, shell=few, stdin=PIPE) as server, ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(stranger_of(server))
        with served(authority, server, "good"):
            assert "open files" in server.text()


IN_A_HURRY = 10  # times as fast as the world
HURRY = f"""
import sys, time
from pync import cli, environment

cli.Environment = lambda: environment.Environment(clock=lambda: {IN_A_HURRY} * time.monotonic())
sys.exit(cli.main())
"""
HURRYING: dict[str, Any] = {
    "shell": 'python=$1; shift 3; exec "$python" -c "$HURRY" "$@"',
    "env": {"HURRY": HURRY},
}


@each_role
def test_without_an_option_a_handshake_may_take_ten_seconds(
    authority: Authority, role: str
) -> None:
    """Although something comes all the time.  pync's clock is fast, and only seen when it does."""
    options = tls_options(authority, role, authority.leaf["valid"])
    before = time.monotonic()
    with joined(role, *options, stdin=PIPE, **HURRYING) as (pync, sock):
        after = time.monotonic()
        if role == "connects":
            assert sock.recv(1 << 16)
        sock.sendall(b"\x16\3\3\x40\0")
        while silent(sock, 0.02):
            sock.sendall(b"\0")
        end = time.monotonic()
        assert drain_until_any_end(sock)[0] == b""
        pync.expect("pync: TLS handshake with .* timed out\n")
    assert (end - before) * IN_A_HURRY >= 10
    assert (end - after) * IN_A_HURRY < 60


# What ends pync at any time ends it here, too.


@contextmanager
def shaking_hands(authority: Authority, role: str, **how: Any) -> Iterator[Program]:
    """pync in a handshake that does not go on."""
    options = tls_options(authority, role, authority.leaf["valid"])
    with joined(role, *options, stdin=PIPE, **how) as (pync, sock):
        if role == "connects":
            assert sock.recv(1 << 16)
        else:
            sock.sendall(b"\x16\3\3")
        yield pync


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@each_role
def test_a_signal_ends_a_handshake(authority: Authority, role: str, number: int) -> None:
    with shaking_hands(authority, role) as pync:
        pync.signal(number)
        assert pync.finish()[:2] == (-number, b"")


@each_role
def test_a_reader_of_stdout_that_leaves_ends_a_handshake(authority: Authority, role: str) -> None:
    reader, writer = os.pipe()
    with shaking_hands(authority, role, stdout=writer) as pync:
        os.close(writer)
        os.close(reader)
        result = pync.finish()
    assert result.status == 141
    assert not complaints(result)
