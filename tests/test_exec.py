"""-e and -c with real programs: what passes, what they are given, how either side's end is met."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from authority import Authority
from gateway_talk import wait_for
from harness import PYNC, Program, descriptors, needs_ipv6
from plain_peer import (
    HERE,
    ROLES,
    complaints,
    drain,
    drain_until_any_end,
    ended_within,
    joined,
    reset,
    run,
    start,
)
from programs import ENDLESS, NOTES, Room, alive, children, programs, way_to
from rooms import STREAMS, exactly

MUCH = os.urandom(1 << 20)
SIGHUP, SIGTERM = (128 + number for number in (signal.SIGHUP, signal.SIGTERM))

each_role = pytest.mark.parametrize("role", ROLES)
each_way = pytest.mark.usefixtures("_each_way")
each_stream = pytest.mark.parametrize("kind", STREAMS)


# Mistakes are told before anything is opened or looked up.


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-e", "nosuch"), "--exec: cannot run 'nosuch': No such file or directory"),
        (("-e", "/etc/passwd"), "--exec: cannot run '/etc/passwd': Permission denied"),
        (("-e", "/tmp"), "--exec: cannot run '/tmp': Is a directory"),
        (("-e", ""), "--exec: '' is not a command: there is no program in it"),
        (("-e", " "), "--exec: ' ' is not a command: there is no program in it"),
        (("-e", "cat 'x"), '--exec: "cat \'x" is not a command: a quotation in it does not end'),
        (("-c", ""), "--sh-exec: '' is empty"),
        (("-e", "cat", "-c", "cat"), "--exec and --sh-exec exclude each other"),
        (("-e", "cat", "-e", "bc"), "--exec is given twice"),
        (("--pty",), "--pty needs --exec or --sh-exec"),
        (("--exec-stderr",), "--exec-stderr needs --exec or --sh-exec"),
    ],
)
@pytest.mark.parametrize("place", ["-lvU path", "-lkvU path", "-v nobody.invalid 1"])
def test_a_mistake_is_told(place: str, words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    with start(*words, *place.split(), cwd=tmp_path) as pync:
        assert pync.finish() == (2, b"", f"pync: {told}\n")
    assert list(tmp_path.iterdir()) == []


# What passes, and how it exits.


@each_role
@each_way
@pytest.mark.parametrize(
    ("words", "said", "heard", "status", "errors"),
    [
        (("-e", "cat"), b"words", b"words", 0, ""),
        (("-e", "cat"), b"", b"", 0, ""),
        (("-c", "echo hi; cat >&2"), b"to stderr\n", b"hi\n", 0, "to stderr\n"),
        (("--exec-stderr", "-c", "echo hi; cat >&2"), b"words", b"hi\nwords", 0, ""),
        (("-e", "sh -c 'echo \"a  b\"'"), b"", b"a  b\n", 0, ""),
        (("-e", "echo $HOME; true"), b"", b"$HOME; true\n", 0, ""),
        (("-e", "head -n 1"), b"one\ntwo\n", b"one\n", 0, ""),
        (("-e", "bc -q"), b"6*7\n2^64\n", b"42\n18446744073709551616\n", 0, ""),
        (("-e", f"{sys.executable} -qi"), b"print(6*7)\nexit(5)\n", b"42\n", 5, ">>> >>> "),
        (("-c", "cat >/dev/null; sleep 0.3; echo late; exit 3"), b"x", b"late\n", 3, ""),
        (("-c", "kill -TERM $$"), b"", b"", SIGTERM, ""),
        (("-c", "exit 255"), b"", b"", 255, ""),
        (("-c", "(sleep 0.3; echo late) & echo soon; exit 9"), b"", b"soon\nlate\n", 9, ""),
        (("--no-shutdown", "-c", "cat; exit 4"), b"words", b"words", 4, ""),
    ],
)
def test_what_passes_and_how_it_exits(
    role: str, words: tuple[str, ...], said: bytes, heard: bytes, status: int, errors: str
) -> None:
    with joined(role, *words) as (pync, peer):
        peer.sendall(said)
        peer.shutdown(socket.SHUT_WR)
        assert drain(peer) == heard
        result = pync.finish()
    assert (result.status, result.out) == (status, b"")
    assert re.sub(NOTES, "", result.err) == errors


@each_role
@each_way
@pytest.mark.parametrize(
    ("line", "heard", "status"), [("true", b"", 0), ("echo hi; exit 6", b"hi\n", 6)]
)
def test_the_program_s_end_is_the_end_for_a_peer_that_has_not_ended(
    role: str, line: str, heard: bytes, status: int
) -> None:
    with joined(role, "-c", line) as (pync, peer):
        peer.sendall(b"words, and then silence")
        assert drain(peer) == heard
        peer.close()
        assert pync.finish().status == status


@each_role
def test_a_peer_that_goes_on_sending_hears_all_and_the_end(role: str) -> None:
    with (
        joined(role, "-c", "head -c 3; exit 6") as (pync, peer),
        Program("yes", stdout=peer.fileno()) as yes,  # type: ignore[arg-type]
    ):
        assert drain_until_any_end(peer)[0] == b"y\ny"
        assert pync.finish().status == 6
        peer.close()
        assert yes.finish().status != 0


@each_stream
def test_much_passes_both_ways(
    kind: str, served: Room, tmp_path: Path, authority: Authority
) -> None:
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(MUCH * 95)  # 100 MB
    with served(kind, "-e", "cat") as (server, _), sent.open() as file, received.open("wb") as copy:
        way = way_to(kind, server, tmp_path, authority)
        with start(*way, stdin=file, stdout=copy) as client:
            assert client.finish() == (0, b"", "")
        assert server.finish().status == 0
    with Program("cmp", f"{sent}", f"{received}") as cmp:
        assert cmp.finish() == (0, b"", "")


def test_much_passes_both_ways_as_a_client(tmp_path: Path) -> None:
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(MUCH * 95)
    with (
        sent.open() as file,
        received.open("wb") as copy,
        start("-lnv", HERE, "0", stdin=file, stdout=copy) as server,
        start("-e", "cat", HERE, f"{server.port}") as client,
    ):
        assert client.finish() == (0, b"", "")
        assert server.finish().status == 0
    with Program("cmp", f"{sent}", f"{received}") as cmp:
        assert cmp.finish() == (0, b"", "")


@each_role
def test_datagrams(role: str) -> None:
    """The program's end is the end; a peer by datagrams has none."""
    line = "echo hi; read word; echo $word; exit 3"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.bind((HERE, 0))
        place = "0" if role == "listens" else f"{peer.getsockname()[1]}"
        with start("-uvn", *(["-l"] * (role == "listens")), "-c", line, HERE, place) as pync:
            if role == "listens":
                peer.connect((HERE, pync.port))
                peer.send(b"")
            heard, address = peer.recvfrom(100)
            peer.sendto(b"words\n", address)
            assert (heard, peer.recv(100)) == (b"hi\n", b"words\n")
            assert pync.finish().status == 3


def test_datagrams_over_a_unix_socket(served: Room) -> None:
    with served("unix datagrams", "-c", "read word; echo $word; exit 3") as (server, join):
        client = join()
        client.send(b"words\n")
        assert client.recv(100) == b"words\n"
        assert server.finish().status == 3


# What else ends it hangs the program up.


@each_role
@each_way
def test_a_peer_that_resets_the_connection_hangs_it_up(role: str) -> None:
    with joined(role, "-c", f"echo $$; {ENDLESS}") as (pync, peer):
        program = int(peer.recv(100))
        began = time.monotonic()
        reset(getattr(peer, "sock", peer))
        result = pync.finish()
    assert time.monotonic() - began < 1.5  # it need not be killed
    assert not alive(program)
    assert result.status == 1
    name = r"127\.0\.0\.1 port \d+"
    assert re.fullmatch(f"pync: connection with {name} lost: .*", complaints(result)[0])
    assert len(complaints(result)) == 1


@each_stream
@pytest.mark.parametrize("program", ["yes", "sh -c 'trap \"\" PIPE; exec yes 2>/dev/null'"])
def test_one_that_leaves_while_it_is_written_to_does_so_too(
    kind: str, program: str, served: Room
) -> None:
    with served(kind, "-e", program) as (server, join):
        client = join()
        assert client.recv(1) == b"y"
        running = programs(server, 1)
        getattr(client, "sock", client).close()
        assert server.finish().status == 1
        assert not any(map(alive, running))


def test_one_that_heeds_nothing_is_killed() -> None:
    line = f"trap '' HUP TERM; echo $$; {ENDLESS}"
    with joined("listens", "-c", line) as (pync, peer):
        program = int(peer.recv(100))
        began = time.monotonic()
        reset(peer)
        assert pync.finish().status == 1
    assert not alive(program)
    assert time.monotonic() - began > 1.9


@each_role
@pytest.mark.parametrize(
    ("limit", "status", "told"),
    [
        (("-w", "0.3"), 0, []),
        (("--idle-timeout", "0.3"), 1, ["pync: timed out: idle for 0.3 s"]),
    ],
)
def test_silence_hangs_it_up(
    role: str, limit: tuple[str, ...], status: int, told: list[str]
) -> None:
    with joined(role, *limit, "-c", f"echo $$; {ENDLESS}") as (pync, peer):
        program = int(peer.recv(100))
        result = pync.finish()
    assert (result.status, complaints(result)) == (status, told)
    assert not alive(program)


def test_one_that_has_not_begun_to_speak_waits_for_no_longer_than_it_takes(served: Room) -> None:
    """Its input has ended, and nothing but the program says when it is done with that."""
    with served("tcp", "-c", "cat; sleep 0.5; echo $?; exit 5") as (server, join):
        client = join()
        client.shutdown(socket.SHUT_WR)
        assert drain(client) == b"0\n"
        assert server.finish().status == 5


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("sleep 100", 1),
        ("exec <&-; sleep 100", 1),
        ("cat >/dev/null; sleep 100", 1),
        ("exec >&-; sleep 100", 1),
        ("sleep 100 & exit", 0),
    ],
)
def test_waiting_costs_nothing(line: str, count: int) -> None:
    with joined("listens", "-c", f"echo $$; {line}") as (pync, peer):
        group = int(peer.recv(100))
        try:
            peer.sendall(MUCH[:1000])
            peer.shutdown(socket.SHUT_WR)
            programs(pync, count)
            before = pync.cpu_seconds
            assert not ended_within(pync, 1.0)
            assert pync.cpu_seconds - before < 0.05
        finally:
            os.killpg(group, signal.SIGKILL)
        pync.finish()


# Signals to pync.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@each_stream
def test_a_signal_gives_out_what_is_there_and_hangs_all_up(
    kind: str, number: int, served: Room, tmp_path: Path
) -> None:
    line = f"head -c 100000 /dev/zero; echo; {ENDLESS}"
    with served(kind, "-k", "-c", line) as (server, join):
        clients = [join() for _ in range(3)]
        running = programs(server, 3)
        for client in clients:
            assert exactly(client, 100001) == bytes(100000) + b"\n"
        server.signal(number)
        result = server.finish()
        assert (result.status, complaints(result)) == (-number, [])
        assert not any(map(alive, running))
    assert not (tmp_path / "room").exists()


def test_a_client_that_takes_nothing_delays_that_for_a_while_only(served: Room) -> None:
    with served("tcp", "-k", "-c", "trap '' HUP; exec yes") as (server, join):
        join()
        running = programs(server, 1)
        wait_for(lambda: set(children(server.pid).values()) == {"S"})
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.finish().status == -signal.SIGTERM
        assert time.monotonic() - began < 10
        wait_for(lambda: not any(map(alive, running)))


@each_role
def test_a_signal_while_there_is_one_peer(role: str) -> None:
    with joined(role, "-c", f"echo $$; {ENDLESS}") as (pync, peer):
        program = int(peer.recv(100))
        pync.signal(signal.SIGTERM)
        assert drain_until_any_end(peer) == (b"", "RST")
        assert pync.finish().status == -signal.SIGTERM
        assert not alive(program)


def test_a_signal_before_there_is_one(served: Room, tmp_path: Path) -> None:
    with start("-lvU", "-e", "cat", "path", cwd=tmp_path) as pync:
        pync.expect("Listening")
        pync.signal(signal.SIGINT)
        assert pync.finish().status == -signal.SIGINT
    assert list(tmp_path.iterdir()) == []


# What it is given.

SIDES = {
    "REMOTE_ADDR": HERE,
    "REMOTE_PORT": "theirs",
    "LOCAL_ADDR": HERE,
    "LOCAL_PORT": "ours",
}
ON_A_PATH = dict.fromkeys(SIDES, "")
AS_NCAT = {**ON_A_PATH, "REMOTE_ADDR": "localhost", "LOCAL_ADDR": "localhost"}


def told_by(text: bytes, prefix: str) -> dict[str, str]:
    """The variables of that prefix, without it."""
    pairs = (line.split("=", 1) for line in text.decode().splitlines())
    return {name[len(prefix) :]: value for name, value in pairs if name.startswith(prefix)}


@pytest.mark.parametrize(
    ("kind", "pync", "ncat"),
    [
        ("tcp", {**SIDES, "PROTO": "tcp"}, {**SIDES, "PROTO": "TCP"}),
        ("tls", {**SIDES, "PROTO": "tcp"}, {**SIDES, "PROTO": "TCP"}),
        ("udp", {**SIDES, "PROTO": "udp"}, {**SIDES, "PROTO": "UDP"}),
        ("unix", {**ON_A_PATH, "PROTO": "unix"}, {**AS_NCAT, "PROTO": "TCP"}),
        ("unix datagrams", {**ON_A_PATH, "PROTO": "unix"}, {**AS_NCAT, "PROTO": "UDP"}),
    ],
)
@pytest.mark.parametrize("keep", [(), ("-k",)])
def test_who_is_at_which_end(
    keep: tuple[str, ...],
    kind: str,
    pync: dict[str, str],
    ncat: dict[str, str],
    served: Room,
    tmp_path: Path,
) -> None:
    secrets = {"PYNC_PROXY_PASSWORD": "secret", "NCAT_REMOTE_HOST": "old"}
    with served(kind, *keep, "-e", "env", env=secrets) as (server, join):
        client = join()
        text = client.recv(1 << 16) if client.type == socket.SOCK_DGRAM else drain(client)
        ports = {}
        if kind in {"tcp", "tls", "udp"}:
            ports = {"theirs": f"{client.getsockname()[1]}", "ours": f"{server.port}"}
        if kind == "unix":  # a client there has no name, and the path is what tells of it
            pync = {**pync, "REMOTE_ADDR": f"{tmp_path}/room"}
        if kind == "unix datagrams":
            pync = {**pync, "REMOTE_ADDR": "@" + client.getsockname()[1:].decode()}
        for told, prefix in ((pync, "PYNC_"), (ncat, "NCAT_")):
            expected = {name: ports.get(value, value) for name, value in told.items()}
            assert told_by(text, prefix) == expected
        assert b"secret" not in text
        assert f"PATH={os.environ['PATH']}".encode() in text


def test_the_same_as_a_client() -> None:
    with joined("connects", "-e", "env") as (_, peer):
        (here, ours), (there, theirs) = peer.getpeername(), peer.getsockname()
        assert told_by(drain(peer), "PYNC_") == {
            "REMOTE_ADDR": there,
            "REMOTE_PORT": f"{theirs}",
            "LOCAL_ADDR": here,
            "LOCAL_PORT": f"{ours}",
            "PROTO": "tcp",
        }


@needs_ipv6
def test_an_address_of_ipv6_and_one_of_ipv4_on_the_same_socket() -> None:
    for host in ("::1", HERE):
        with (
            start("-lv", "-c", "echo $PYNC_REMOTE_ADDR $PYNC_LOCAL_ADDR", "0") as server,
            socket.create_connection((host, server.port)) as client,
        ):
            assert drain(client).decode() == f"{host} {host}\n"


@pytest.mark.parametrize("way", [(), ("--pty",), ("-k",)], ids=" ".join)
def test_it_has_three_descriptors(way: tuple[str, ...], tmp_path: Path) -> None:
    """None of pync's, of another client's program, nor of who has started pync."""
    with (
        (tmp_path / "open").open("w") as file,
        joined("listens", *way, "-e", "ls /proc/self/fd", pass_fds=[file.fileno()]) as (pync, peer),
    ):
        assert str(file.fileno()) in descriptors(pync.pid)
        assert drain(peer).split() == [b"0", b"1", b"2", b"3"]  # the last is the listing


def test_one_of_pync_s_that_is_closed_is_the_null_device_to_it() -> None:
    line = "readlink /proc/$$/fd/2; echo unseen >&2"
    closed = 'exec "$@" 2>&-'
    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(20)
        place = (HERE, f"{listener.getsockname()[1]}")
        with run(*PYNC, "-c", line, *place, shell=closed) as pync:
            peer, _ = listener.accept()
            with peer:
                assert drain(peer) == b"/dev/null\n"
            assert pync.finish() == (0, b"", "")


@pytest.mark.parametrize("keep", [(), ("-k",)])
def test_it_may_have_as_many_descriptors_as_pync_might(keep: tuple[str, ...]) -> None:
    limited = 'ulimit -Sn 300; exec "$@"'
    with joined("listens", *keep, "-c", "ulimit -Sn", shell=limited) as (_, peer):
        assert drain(peer) == b"300\n"


# Who may have it.

WARNING = (
    "Anybody may run this program, from anywhere: "
    "an address to listen on, --allow or --ssl-client-ca would say who\n"
)


@pytest.mark.parametrize(
    ("words", "warned"),
    [
        (("0",), True),
        (("-k", "0"), True),
        (("-u", "0"), True),
        (("-p", "0"), True),
        (("-4", "0"), True),
        (("--deny", "192.0.2.1", "0"), True),
        ((HERE, "0"), False),
        (("0.0.0.0", "0"), False),
        (("-s", HERE, "-p", "0"), False),
        (("--allow", HERE, "0"), False),
        (("--allowfile", "/dev/null", "0"), False),
        (("-U", "path"), False),
    ],
)
def test_a_listener_for_all_says_so(words: tuple[str, ...], warned: bool, tmp_path: Path) -> None:
    with start("-lv", "-e", "cat", *words, cwd=tmp_path) as pync:
        pync.expect("Listening on .*\n")
        pync.signal(signal.SIGTERM)
        result = pync.finish()
    assert re.sub(r"Listening on .*\n", "", result.err) == warned * WARNING


def test_it_says_so_without_v_too() -> None:
    with start("-l", "-e", "cat", "0") as pync:
        pync.expect(re.escape(WARNING))


def test_client_certificates_are_rules_enough(authority: Authority) -> None:
    leaf = authority.leaf["valid"]
    shown = ("--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}")
    pinned = ("--ssl-fingerprint", authority.leaf["client"].fingerprint)
    signed = ("--ssl-client-ca", f"{authority.root}")
    for more, warned in (((), True), (signed, False), (pinned, False)):
        with start("-lv", *shown, *more, "-e", "cat", "0") as pync:
            pync.expect("(Listening on .*\n)+(Anybody)?")
            pync.signal(signal.SIGTERM)
            assert (WARNING in pync.finish().err) == warned


def test_who_may_not_connect_gets_no_program(tmp_path: Path) -> None:
    line = f"touch {tmp_path}/run; echo hi"
    with start("-lnv", "--deny", HERE, "-c", line, "0") as pync:
        with socket.create_connection((HERE, pync.port)) as client:
            assert drain_until_any_end(client) == (b"", "RST")
        assert not children(pync.pid)
        assert not ended_within(pync, 0.1)
    assert list(tmp_path.iterdir()) == []
