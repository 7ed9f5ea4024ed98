"""pync as a relay: what passes between a client and the target, and how that ends."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from gateway_talk import Tunnel, breaks, digest, duplex, receive, send_all, wait_for
from harness import NULL, Program, descriptors, free_port, full_backlog, needs_ipv6
from plain_peer import (
    HERE,
    LITTLE,
    complaints,
    drain,
    drain_until_any_end,
    drain_until_reset,
    ended_within,
    flood,
    reset,
    silent,
    start,
)
from relay_talk import RESETTABLE, WAYS, Ground, Relay, relaying, started, target

from pync.values import Target, read_relay

MUCH = os.urandom(3 << 20)
SOME = os.urandom(1 << 18)
TCP = ("tcp", "tcp")

each_way = pytest.mark.parametrize("way", WAYS, ids=" to ".join)
each_that_resets = pytest.mark.parametrize("way", RESETTABLE, ids=" to ".join)
BOTH_WAYS = pytest.mark.parametrize("turn", [tuple, reversed], ids=["client first", "target first"])
Turn = Callable[[Tunnel], Iterator[Any]]
Way = tuple[str, str]


@pytest.fixture
def ground(tmp_path: Path, authority: Authority) -> Ground:
    return Ground(tmp_path, authority)


def settled(relay: Relay) -> int:
    """How many descriptors it has without a client, which it had one of before."""
    with relay.join() as ends:
        for end in ends:
            send_all(end, b"")
        assert [drain(end) for end in ends] == [b"", b""]
    time.sleep(0.1)
    return len(descriptors(relay.pync.pid))


# What passes.


@each_way
def test_all_passes_both_ways(way: Way, ground: Ground) -> None:
    with relaying(way, ground) as relay:
        before = settled(relay)
        for _ in range(2):
            with relay.join() as ends:
                assert duplex(ends, MUCH, SOME) == (digest(MUCH), digest(SOME))
        wait_for(lambda: len(descriptors(relay.pync.pid)) == before)
        relay.pync.signal(signal.SIGTERM)
        assert complaints(relay.pync.finish()) == []


@pytest.mark.usefixtures("_each_mover")
def test_the_same_whatever_moves_the_bytes(ground: Ground) -> None:
    with relaying(TCP, ground) as relay, relay.join() as ends:
        assert duplex(ends, MUCH, SOME) == (digest(MUCH), digest(SOME))


def test_splice_moves_them_where_there_is_no_tls(ground: Ground) -> None:
    """The pipes of the two directions are there while it does."""
    for way, pipes in ((TCP, 4), (("unix", "unix"), 4), (("ssl", "tcp"), 0)):
        with relaying(way, ground) as relay, relay.join() as ends:
            for one, other in (ends, reversed(ends)):
                one.sendall(SOME)
                assert receive(other, len(SOME)) == SOME
            kinds = descriptors(relay.pync.pid).values()
            assert sum("pipe" in kind for kind in kinds) - without_clients(relay) == pipes
        for path in (ground.front, ground.behind):
            Path(path).unlink(missing_ok=True)


def without_clients(relay: Relay) -> int:
    """Pipes that pync has in any case: its own output and errors, and those of signals."""
    return 4


@each_way
@BOTH_WAYS
def test_an_end_passes_and_the_other_direction_goes_on(
    way: Way, turn: Turn, ground: Ground
) -> None:
    with relaying(way, ground) as relay, relay.join() as ends:
        first, other = turn(ends)
        first.shutdown(socket.SHUT_WR)
        assert drain(other) == b""
        for _ in range(3):
            other.sendall(b"still here")
            assert first.recv(100) == b"still here"
        other.shutdown(socket.SHUT_WR)
        assert drain(first) == b""


def test_half_a_tunnel_stands_for_longer_than_half_a_session_of_pync_itself(
    ground: Ground,
) -> None:
    with relaying(TCP, ground) as relay, relay.join() as one, relay.join() as two:
        one.client.shutdown(socket.SHUT_WR)
        two.far.shutdown(socket.SHUT_WR)
        assert two.client.recv(1) == one.far.recv(1) == b""
        assert silent(one.client, 2.5)
        for first, other in (one, reversed(two)):
            other.sendall(b"late")
            assert first.recv(100) == b"late"


@each_that_resets
@BOTH_WAYS
def test_a_reset_passes_as_one_behind_all_that_came_before(
    way: Way, turn: Turn, ground: Ground
) -> None:
    with relaying(way, ground) as relay, relay.join() as ends:
        first, other = turn(ends)
        with ThreadPoolExecutor(1) as pool:
            received = pool.submit(drain_until_reset, other)
            first.sendall(SOME)
            wait_for(lambda: not unacknowledged(first))
            reset(first)
            assert digest(received.result()) == digest(SOME)
        relay.pync.expect(rf"pync: client {HERE} port \d+ to {HERE} port \d+: .*\n")


def unacknowledged(sock: Any) -> int:
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), "little")


@each_that_resets
@BOTH_WAYS
def test_a_reset_passes_as_one_against_the_stream(way: Way, turn: Turn, ground: Ground) -> None:
    with relaying(way, ground) as relay, relay.join() as ends:
        first, other = turn(ends)
        with ThreadPoolExecutor(1) as pool:
            flooding = pool.submit(flood_until_reset, other)
            first.recv(1 << 16)
            reset(first)
            assert flooding.result()


def flood_until_reset(sock: Any) -> bool:
    try:
        for _ in range(1 << 12):
            sock.sendall(bytes(1 << 16))
    except ConnectionError:
        return True
    return False


@BOTH_WAYS
def test_what_goes_on_one_way_stops_when_its_reader_has_gone(turn: Turn, ground: Ground) -> None:
    """It ends its own direction, and then closes without a word."""
    with relaying(TCP, ground) as relay, relay.join() as ends:
        first, other = turn(ends)
        first.shutdown(socket.SHUT_WR)
        assert drain(other) == b""
        first.close()
        assert flood_until_reset(other)


@BOTH_WAYS
def test_a_reader_that_pauses_at_the_end_gets_everything(turn: Turn, ground: Ground) -> None:
    data = SOME[:50_000]
    with relaying(TCP, ground) as relay, relay.join(receive_buffer=LITTLE) as ends:
        ends.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        reader, writer = turn(ends)
        reader.shutdown(socket.SHUT_WR)
        assert drain(writer) == b""
        send_all(writer, data)
        writer.close()
        assert not breaks(reader, 1.4)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, len(data))
        assert digest(drain(reader)) == digest(data)


@each_way
def test_what_a_client_says_before_there_is_a_target_reaches_it(way: Way, ground: Ground) -> None:
    with relaying(way, ground) as relay:
        client = relay.dial()
        client.sendall(SOME[:100_000])
        client.shutdown(socket.SHUT_WR)
        far = relay.accept()
        assert drain(far) == SOME[:100_000]
        send_all(far, b"answer")
        assert drain(client) == b"answer"
        client.close()
        far.close()


def test_and_waits_in_the_kernel_until_then(ground: Ground) -> None:
    with full_backlog() as port, started("tcp", ground, f"{HERE}:{port}", "-I", "4k") as pync:
        client = Relay(pync, ground, "tcp", "tcp").dial()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LITTLE)
        client.setblocking(False)
        sent = 0
        while select.select([], [client], [], 0.3)[1]:
            sent += client.send(bytes(LITTLE))
            assert sent < 1 << 18
        client.close()


# Limits.


def test_an_idle_relay_ends_as_a_session_does(ground: Ground) -> None:
    """-w ends it in order, --idle-timeout with a line."""
    with relaying(TCP, ground, "-w", "0.4") as relay, relay.join() as (client, far):
        client.sendall(b"hello")
        assert (drain(far), drain(client)) == (b"hello", b"")
    with relaying(TCP, ground, "--idle-timeout", "0.4") as relay, relay.join() as (client, far):
        assert drain_until_reset(client) == drain_until_reset(far) == b""
        relay.pync.expect(
            rf"pync: client {HERE} port \d+ to {HERE} port \d+: timed out: idle for 0.4 s\n"
        )


# A target that is not there.


def nobody(behind: str, ground: Ground) -> str:
    """A target that was there a moment ago."""
    with target(behind, ground) as listener:
        place = listener.getsockname()
    if behind == "unix":
        return f"unix:{place}"
    return f"{'ssl://' if behind == 'ssl' else ''}{HERE}:{place[1]}"


@each_way
def test_a_target_that_is_down_costs_its_client_alone(way: Way, ground: Ground) -> None:
    front, behind = way
    with started(front, ground, nobody(behind, ground)) as pync:
        relay = Relay(pync, ground, front, behind)
        for _ in range(2):
            assert relay.what_comes() == (b"", "FIN" if front == "unix" else "RST")
        pync.expect(r"(?s)(pync: client \S.* to \S.*: connect to .* failed: [^\n]*\n.*){2}")
        pync.signal(signal.SIGTERM)
        assert pync.finish().status == -signal.SIGTERM


def test_a_name_without_an_address_costs_its_client_alone(ground: Ground) -> None:
    with start("-lkv", "--relay", "nobody.invalid:80", HERE, "0") as pync:
        assert Relay(pync, ground, "tcp", "tcp").what_comes() == (b"", "RST")
        pync.expect(
            rf"pync: client {HERE} port \d+ to nobody.invalid port 80: "
            r"cannot resolve nobody.invalid: .*\n"
        )


def test_without_keep_open_the_status_tells_of_the_one_client(ground: Ground) -> None:
    for status, end in ((0, drain_and_close), (1, reset)):
        with relaying(TCP, ground, keep="") as relay:
            with relay.join() as (client, far):
                client.sendall(b"hello")
                assert far.recv(5) == b"hello"
                send_all(far, b"")
                end(client)
            result = relay.pync.finish()
        assert (result.status, len(complaints(result))) == (status, status)
    with started("tcp", ground, nobody("tcp", ground), keep="") as pync:
        assert Relay(pync, ground, "tcp", "tcp").what_comes() == (b"", "RST")
        result = pync.finish()
    assert (result.status, len(complaints(result))) == (1, 1)


def drain_and_close(sock: socket.socket) -> None:
    assert drain(sock) == b""
    sock.close()


def test_a_target_that_does_not_answer_is_given_up_in_time(ground: Ground) -> None:
    with (
        full_backlog() as port,
        started("tcp", ground, f"{HERE}:{port}", "-w", "0.4") as pync,
        Relay(pync, ground, "tcp", "tcp").dial() as client,
    ):
        client.sendall(b"nobody takes this")
        begin = time.monotonic()
        assert drain_until_reset(client) == b""
        assert 0.3 < time.monotonic() - begin < 3
        pync.expect("pync: client .* timed out\n")


def test_a_client_that_breaks_off_before_its_target_answers_is_not_waited_for(
    ground: Ground,
) -> None:
    with full_backlog() as port, started("tcp", ground, f"{HERE}:{port}", "--wait", "1m") as pync:
        before = len(descriptors(pync.pid))
        client = Relay(pync, ground, "tcp", "tcp").dial()
        wait_for(lambda: len(descriptors(pync.pid)) == before + 2)
        client.sendall(b"never mind")
        reset(client)
        pync.expect(rf"pync: client {HERE} port \d+ to .* lost: Connection reset by peer")
        wait_for(lambda: len(descriptors(pync.pid)) == before)


def test_while_one_target_is_waited_for_others_are_reached(ground: Ground) -> None:
    """The kernel lets the first in once somebody leaves the target's queue."""
    with socket.create_server((HERE, 0), backlog=0) as listener:
        place = listener.getsockname()
        with (
            started("tcp", ground, f"{HERE}:{place[1]}") as pync,
            socket.create_connection(place),
        ):
            relay = Relay(pync, ground, "tcp", "tcp")
            clients = [relay.dial() for _ in range(3)]
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
            heard = set()
            listener.accept()[0].close()
            for _ in clients:
                far, _ = listener.accept()
                heard.add(far.recv(1))
                far.close()
            assert heard == {b"0", b"1", b"2"}
            for client in clients:
                client.close()


# Signals.


@pytest.mark.parametrize("keep", ["k", ""])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cuts_both_sides_behind_all_that_was_held(
    number: signal.Signals, keep: str, ground: Ground
) -> None:
    with relaying(TCP, ground, keep=keep) as relay, relay.join() as (client, far):
        client.sendall(b"hello")
        assert far.recv(5) == b"hello"
        client.sendall(SOME)
        far.sendall(SOME)
        assert receive(far, 1) == SOME[:1]
        relay.pync.signal(number)
        assert SOME.startswith(b"" + SOME[:1] + drain_until_reset(far))
        assert SOME.startswith(drain_until_reset(client))
        assert relay.pync.finish().status == -number


def test_a_signal_does_not_wait_for_a_target(ground: Ground) -> None:
    with (
        full_backlog() as port,
        started("tcp", ground, f"{HERE}:{port}") as pync,
        Relay(pync, ground, "tcp", "tcp").dial() as client,
    ):
        pync.expect("Connection received")
        begin = time.monotonic()
        pync.signal(signal.SIGTERM)
        assert drain_until_reset(client) == b""
        assert pync.finish().status == -signal.SIGTERM
        assert time.monotonic() - begin < 1.5


@pytest.mark.usefixtures("_each_mover")
@BOTH_WAYS
def test_a_signal_gives_a_reader_that_pauses_what_is_held_for_it(
    turn: Turn, ground: Ground
) -> None:
    """A piece at least, which the kernel's buffers on the way have no room for; then a reset."""
    with (
        relaying(TCP, ground, "-O", "4k") as relay,
        relay.join(receive_buffer=LITTLE, at_target=LITTLE) as ends,
    ):
        reader, writer = turn(ends)
        flood(writer)
        relay.pync.signal(signal.SIGTERM)
        assert len(drain_until_reset(reader)) > 40_000
        assert relay.pync.finish().status == -signal.SIGTERM


# What is said.


def test_verbose_says_who_goes_where(ground: Ground) -> None:
    with relaying(TCP, ground) as relay, relay.join() as (client, far):
        place, other = (f"{HERE} port {end.getsockname()[1]}" for end in (client, far))
        relay.pync.expect(rf"client {place} to {other}: connected to {other} \(tcp\)\n")


def test_the_name_of_the_target_is_looked_up_for_each(ground: Ground) -> None:
    with target("tcp", ground) as listener:
        where = f"localhost:{listener.getsockname()[1]}"
        with start("-lkv", "--relay", where, HERE, "0", stdin=NULL) as pync:
            relay = Relay(pync, ground, "tcp", "tcp")
            relay.listener = listener
            for _ in range(2):
                with relay.join() as ends:
                    assert duplex(ends, b"a", b"b") == (digest(b"a"), digest(b"b"))


# What is read.


@pytest.mark.parametrize(
    ("text", "target", "shown"),
    [
        ("host:80", Target("host", "80"), "host port 80"),
        ("[::1]:80", Target("::1", "80"), "::1 port 80"),
        ("ssl://host:https", Target("host", "https", ssl=True), "host port https"),
        ("SSL://[::1]:443", Target("::1", "443", ssl=True), "::1 port 443"),
        ("unix:/run/a b", Target(path="/run/a b"), "/run/a b"),
        ("unix:@name", Target(path="@name"), "@name"),
    ],
)
def test_a_target_is_read_as_it_is_meant(text: str, target: Target, shown: str) -> None:
    assert read_relay(text) == target
    assert str(target) == shown


# Mistakes.


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--relay host 0", "--relay: 'host' is not a target such as host:80"),
        ("--relay :80 0", "--relay: ':80' is not a host with or without a port"),
        ("--relay host:99999 0", "--relay: 'host:99999' is not a port from 1 to 65535"),
        ("--relay ftp://host:80 0", "--relay: 'ftp://host:80' is not a target such as"),
        ("--relay unix: 0", "--relay: 'unix:' is empty"),
        ("--relay host:80 -C 0", "--relay and --crlf exclude each other"),
        ("--relay host:80 -n 0", "'host' is a name, and --nodns forbids to look it up"),
        ("--relay host:nonsense 0", "port 'nonsense' is not a service"),
        ("-u --relay ssl://host:80 0", "--udp and ssl:// exclude each other"),
        ("-u --relay host:80 --proxy-protocol v1 0", "--udp and --proxy-protocol exclude"),
        ("--relay host:80 --ssl-trustfile x 0", "--ssl-trustfile is about a target behind ssl://"),
        ("--relay unix:x -x host 0", "--relay: no proxy leads to a unix socket"),
        ("--relay host:80 -X http 0", "--relay and --proxy-type need a proxy on the way"),
        ("--relay host:80 --proxy-protocol v3 0", "--proxy-protocol: 'v3' is not one of"),
        ("--proxy-protocol v1 0", "--proxy-protocol needs --relay"),
        ("-4 --relay [::1]:80 0", "--relay: --ipv4 and ::1 are of different families, and"),
        ("-6n --relay 127.0.0.1:80 0", "--relay: --ipv6 and 127.0.0.1 are of different families"),
        ("-u6 --relay 127.0.0.1:80 0", "--relay: --ipv6 and 127.0.0.1 are of different families"),
        ("-6 --relay h:80 -x 127.0.0.1 0", "--relay: --ipv6 and 127.0.0.1 are of different"),
    ],
)
def test_mistakes_are_told_before_anything_is_opened(line: str, why: str) -> None:
    with Program.pync("-l", *line.split()) as pync:
        status, out, err = pync.finish()
    assert (status, out) == (2, b"")
    assert err.startswith(f"pync: {why}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        f"--relay {HERE}:PORT {HERE} PORT",
        f"-k --relay {HERE}:PORT PORT",
        "-k --relay 127.0.0.2:PORT PORT",
        f"--relay 0.0.0.0:PORT {HERE} PORT",
        "--relay localhost:PORT 127.0.0.1 PORT",
        "-4 --relay localhost:PORT PORT",
        f"-u --relay {HERE}:PORT PORT",
        f"--relay other:80 -x {HERE}:PORT PORT",
        pytest.param("--relay [::1]:PORT PORT", marks=needs_ipv6),
        "-U --relay unix:PATH PATH",
        "-U --relay unix:PATH/../relay PATH",
        "-uU --relay unix:@PORT @PORT",
    ],
)
def test_a_relay_to_itself_is_refused(line: str, tmp_path: Path) -> None:
    kind = socket.SOCK_DGRAM if "-u " in line else socket.SOCK_STREAM
    words = line.replace("PORT", str(free_port(kind))).replace("PATH", f"{tmp_path}/relay")
    with start("-l", *words.split()) as pync:
        status, out, err = pync.finish()
    assert (status, out) == (2, b"")
    assert err.endswith(" is where we listen ourselves: clients would be led round for ever\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        f"--relay {HERE}:PORT 127.0.0.2 PORT",
        "--relay 192.0.2.1:PORT PORT",
        f"--relay {HERE}:1 PORT",
    ],
)
def test_the_port_of_another_host_is_not_its_own(line: str) -> None:
    with start("-lv", *line.replace("PORT", str(free_port())).split()) as pync:
        pync.expect("Listening on .*\n")
        assert not ended_within(pync, 0.3)


def has_a_name_of_its_own() -> bool:
    try:
        return bool(socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET))
    except OSError:
        return False


@pytest.mark.skipif(not has_a_name_of_its_own(), reason="this machine's name has no address here")
def test_a_name_that_turns_out_to_be_its_own_costs_its_client_alone() -> None:
    port = free_port()
    with start("-lkv4", "--relay", f"{socket.gethostname()}:{port}", f"{port}") as pync:
        pync.expect("Listening on .*\n")
        for _ in range(2):
            with socket.create_connection((HERE, port), 10) as client:
                assert drain_until_any_end(client) == (b"", "RST")
        pync.expect("(pync: client .*is where we listen ourselves.*\n){1}")
        assert pync.text().count("Connection received") == 2
