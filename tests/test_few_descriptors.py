"""Fewer descriptors than all clients would take: nobody is cut, some wait until others leave.

A client takes more than its own connection where a program runs for it, or where it is
led on to a target.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from plain_peer import HERE, drain, ended_within, start
from test_many_peers import client_of, stopped
from test_max_conns import peer_of

COUNT = 40  # clients
FEW = 'ulimit -n 24; exec "$@"'
TOLD = "pync: cannot accept: there are too few descriptors for more"

# What gives its words back to a client.
MODES = {
    "program": "-e cat",
    "program with errors": "--exec-stderr -e cat",
    "terminal": "--pty -c 'stty -echo; exec cat'",
    "relay": "--relay {echo}",
}


@contextmanager
def echo(*options: str) -> Iterator[str]:
    """Where somebody gives back what he hears."""
    with start("-lkv", *options, "-e", "cat", HERE, "0") as server:
        yield f"{HERE}:{server.port}"


@pytest.mark.parametrize("mode", MODES)
def test_clients_wait_until_one_leaves(mode: str) -> None:
    with (
        echo() as place,
        start("-lkv", *shlex.split(MODES[mode].format(echo=place)), HERE, "0", shell=FEW) as server,
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(client_of(server)) for _ in range(COUNT)]
        for number, client in enumerate(clients):
            client.sendall(b"words %02d\n" % number)
        server.expect(f"{TOLD}; clients wait until one leaves\n")
        before = server.cpu_seconds
        assert not ended_within(server, 0.3)
        assert server.cpu_seconds - before < 0.05
        for number, client in enumerate(clients):
            client.shutdown(socket.SHUT_WR)
            assert b"words %02d" % number in drain(client)
            client.close()
        assert stopped(server) == [f"{TOLD}; clients wait until one leaves"]


def test_peers_that_send_datagrams_cannot_wait_and_are_dropped() -> None:
    with start("-lukv", "-e", "cat", HERE, "0", shell=FEW) as server, ExitStack() as stack:
        peers = [stack.enter_context(peer_of(server)) for _ in range(COUNT)]
        for _ in range(2):
            for peer in peers:
                peer.send(b"words")
        server.expect(f"{TOLD}; datagrams of others are dropped\n")
        assert peers[0].recv(100).startswith(b"words")
        assert stopped(server) == [f"{TOLD}; datagrams of others are dropped"]
