"""pync with openssl, ncat and socat over TLS, in both roles: every byte arrives, either way, and
what one knows of the other's end is what it has been told."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from authority import Authority
from harness import NULL, PIPE, Program
from plain_peer import HERE, ROLES, joined, start
from plain_tls import VERSIONS, PlainTls, client_context, server_context, tls_options
from tls_peers import CLIENTS, SERVERS

MIB = 1 << 20
CUT = r"pync: TLS with .* failed: the peer ended without close_notify, something may be missing"
BLAMED = rf"{CUT}(; if it took our end for a lost client, --no-shutdown is the way out)?"


class Peer(NamedTuple):
    """A program with a version of TLS.

    ends: its options to end at its stdin's end, as a client.
    stays: the roles of pync's in which it goes on when pync has ended, until its stdin ends.
    cuts: whether it then says FIN alone, without a close_notify.
    """

    name: str
    options: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    cuts: bool = False


AT_ITS_END = ("-no_ign_eof", "-nocommands")
LITTLE = ("-max_send_frag", "1024", "-split_send_frag", "512")
PEERS = {
    "openssl, TLS 1.2": Peer("openssl", ("-tls1_2",), AT_ITS_END),
    "openssl, TLS 1.3": Peer("openssl", ("-tls1_3",), AT_ITS_END),
    "openssl, little records": Peer("openssl", LITTLE, AT_ITS_END),
    "ncat": Peer("ncat", stays=("listens",), cuts=True),
    "socat, TLS 1.2": Peer("socat", ("openssl-max-proto-version=TLS1.2",), stays=ROLES),
    "socat, TLS 1.3": Peer("socat", ("openssl-min-proto-version=TLS1.3",), stays=ROLES),
}

each_peer = pytest.mark.parametrize("peer", PEERS)
each_role = pytest.mark.parametrize("role", ROLES)


@contextmanager
def met(
    authority: Authority,
    name: str,
    role: str,
    ours: Any,
    theirs: Any,
    *options: str,
    peers: Sequence[str] = (),
    **how: Any,
) -> Iterator[tuple[Program, Program]]:
    """pync in its role, with `ours` for stdin, and the program, with `theirs`."""
    leaf = authority.leaf["valid"]
    words = (*tls_options(authority, role, leaf), *options)
    if role == "connects":
        with (
            SERVERS[name](leaf, *peers, stdin=theirs, **how) as (peer, port),
            start(*words, "localhost", f"{port}", stdin=ours) as pync,
        ):
            yield pync, peer
    else:
        with (
            start("-lnv", *words, HERE, "0", stdin=ours) as pync,
            CLIENTS[name](pync.port, *peers, trust=authority.root, stdin=theirs, **how) as peer,
        ):
            yield pync, peer


@each_role
@each_peer
def test_what_pync_sends_arrives(authority: Authority, peer: str, role: str) -> None:
    data = os.urandom(MIB)
    kind = PEERS[peer]
    with met(authority, kind.name, role, data, PIPE, peers=kind.options) as (pync, program):
        assert program.receive(MIB) == data
        if role in kind.stays:
            program.end()
        assert program.finish()[:2] == (0, data)
        result = pync.finish()
    told = [BLAMED] if kind.cuts and role in kind.stays else []
    check_complaints(result.err, told)
    assert (result.status, result.out) == (len(told), b"")


@each_role
@each_peer
def test_what_a_peer_sends_arrives(authority: Authority, peer: str, role: str) -> None:
    data = os.urandom(MIB)
    kind = PEERS[peer]
    peers = (*kind.options, *(kind.ends if role == "listens" else ()))
    with met(authority, kind.name, role, NULL, data, "-d", peers=peers) as (pync, program):
        result = pync.finish()
        assert program.finish()[:2] == (0, b"")
    told = [CUT] if kind.cuts else []
    check_complaints(result.err, told)
    assert result.out == data
    assert result.status == len(told)


def check_complaints(err: str, told: list[str]) -> None:
    lines = [line for line in err.splitlines() if line.startswith("pync: ")]
    assert all(map(re.fullmatch, told, lines))
    assert len(told) == len(lines)


# Each direction ends by itself, where the peer knows how.


@each_role
@pytest.mark.parametrize("peer", ["socat, TLS 1.2", "socat, TLS 1.3"])
def test_an_answer_may_begin_when_the_question_has_ended(
    authority: Authority, peer: str, role: str
) -> None:
    question, answer = os.urandom(MIB), os.urandom(MIB)
    kind = PEERS[peer]
    with met(authority, kind.name, role, question, PIPE, peers=kind.options) as (pync, program):
        assert program.receive(MIB) == question
        program.send(answer)
        program.end()
        assert pync.receive(MIB) == answer
        assert (pync.finish().status, program.finish().status) == (0, 0)


@each_role
@pytest.mark.parametrize("peer", ["socat, TLS 1.2", "socat, TLS 1.3"])
def test_a_peer_that_has_ended_still_hears_us(authority: Authority, peer: str, role: str) -> None:
    question, answer = os.urandom(MIB), os.urandom(MIB)
    kind = PEERS[peer]
    with met(authority, kind.name, role, PIPE, question, peers=kind.options) as (pync, program):
        assert pync.receive(MIB) == question
        pync.send(answer)
        pync.end()
        assert program.receive(MIB) == answer
        assert (pync.finish().status, program.finish().status) == (0, 0)


# What TLS does between the user's bytes.

MARK = b"~"  # what openssl says beside the data has none
TALK = (MARK * 63 + b"\n") * 500  # as much as pipes hold
TURNS = 3

# The role of pync's, the version, openssl's command, and what its states are when it has done it
# and when it has the answer, if it asks for one.
KEYS_CHANGE = [
    ("connects", "-tls1_2", "R", "write hello request.*read finished", ""),
    ("connects", "-tls1_3", "k", "write server key update", ""),
    ("connects", "-tls1_3", "K", "write server key update", "read client key update"),
    ("listens", "-tls1_3", "k", "write client key update", ""),
    ("listens", "-tls1_3", "K", "write client key update", "read server key update"),
]


@pytest.mark.parametrize(("role", "version", "command", "done", "answered"), KEYS_CHANGE)
def test_keys_may_change_while_bytes_are_on_their_way(
    authority: Authority, role: str, version: str, command: str, done: str, answered: str
) -> None:
    """Again and again, as openssl is told: renegotiation, key update, and that of both."""
    options = ["-state", version, *(["-no_ign_eof"] if role == "listens" else [])]
    how: dict[str, Any] = {} if role == "listens" else {"quiet": False}
    with met(authority, "openssl", role, PIPE, PIPE, peers=options, **how) as (pync, openssl):
        pync.send(b"turn 0\n")
        openssl.expect("turn 0\n", "out")
        for turn in range(1, TURNS + 1):
            pync.send(TALK)
            openssl.send(f"{command}\n".encode())  # a line alone; what comes with it is dropped
            openssl.expect(f"(?s)({done}.*){{{turn}}}")
            openssl.send(TALK)
            assert pync.receive(turn * len(TALK)) == TALK * turn
            pync.send(b"turn %d\n" % turn)
            openssl.expect(f"turn {turn}\n", "out")
            assert openssl.out.count(MARK) == turn * TALK.count(MARK)
            openssl.expect(f"(?s)({answered}.*){{{turn}}}")
        pync.end()
        if role == "listens":
            openssl.end()
        assert (pync.finish().status, openssl.finish().status) == (0, 0)


def test_a_client_that_asks_for_a_renegotiation_is_refused(authority: Authority) -> None:
    options = ("-tls1_2", "-no_ign_eof")
    with met(authority, "openssl", "listens", PIPE, PIPE, peers=options) as (pync, openssl):
        openssl.send(b"before\n")
        assert pync.receive(7) == b"before\n"
        openssl.send(b"R\n")
        assert "no renegotiation" in openssl.finish().err
        status, out, err = pync.finish()
    assert (status, out) == (1, b"before\n")
    assert err.splitlines()[-1].endswith("failed: the peer refuses: handshake failure")


class ByteByByte(socket.socket):
    """Sends one byte at a time, each in a segment of its own."""

    def send(self, data: Any, flags: int = 0) -> int:
        return super().send(data[:1], flags)


@pytest.mark.parametrize("version", VERSIONS)
@each_role
def test_records_may_come_byte_by_byte(authority: Authority, role: str, version: str) -> None:
    leaf = authority.leaf["valid"]
    if role == "listens":
        context = client_context(authority.root, version=version)
    else:
        context = server_context(leaf, version=version)
    words = os.urandom(2000)
    options = tls_options(authority, role, leaf)
    with (
        joined(role, *options, stdin=PIPE) as (pync, sock),
        ByteByByte(fileno=sock.detach()) as slow,
    ):
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = PlainTls(slow, context)
        peer.handshake()
        peer.sendall(words)
        assert pync.receive(len(words)) == words
        pync.send(b"and back")
        peer.send_close_notify()
        pync.end()
        assert peer.drain() == b"and back"
        assert pync.finish().status == 0
