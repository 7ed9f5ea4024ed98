"""pync as a proxy: clients that are rude, many, or mean harm; the others are served meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import pytest
from gateway_talk import (
    ASKING,
    KINDS,
    Origin,
    accept,
    ask,
    crlf,
    dial,
    digest,
    drain_to_any_end,
    memory,
    port_of,
    read_grant,
    read_message,
    receive,
    serving,
    settled,
    socks5_request,
    target,
    tunnel,
    wait_for,
)
from harness import NULL, PATIENCE, Program, descriptors
from plain_peer import HERE, LITTLE, drain, flood, reset, run
from socks_scripts import message

CROWD = 200
MIB = 1 << 20

Proxies = dict[str, Program]


@pytest.fixture(scope="module", autouse=True)
def proxies() -> Iterator[Proxies]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(serving(kind)) for kind in KINDS}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with target(backlog=CROWD) as listening:
        yield listening


def serves(kind: str, pync: Program, listener: socket.socket) -> bool:
    """Whether it still does what it is for."""
    host = "localhost" if kind == "socks4a" else HERE
    with tunnel(kind, pync.port, listener, host) as (client, far):
        client.sendall(b"hello")
        far.sendall(b"and back")
        return receive(far, 5) == b"hello" and receive(client, 8) == b"and back"


# Many at once.


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says, once it has everything, what that was, and gives it back."""
    data = await reader.read(-1)
    writer.write(digest(data).encode() + data[::-1])
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def visit(proxy_port: int, port: int, data: bytes) -> bool:
    """Whether all of it arrives through a tunnel, and comes back."""
    reader, writer = await asyncio.open_connection(HERE, proxy_port)
    writer.write(ASKING["socks5"](HERE, port))
    assert (await reader.readexactly(12))[:5] == message("05 00 05 00 00")
    writer.write(data)
    writer.write_eof()
    told = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    return told == digest(data).encode() + data[::-1]


async def crowd(proxy_port: int) -> list[bool]:
    server = await asyncio.start_server(echo, HERE, 0, backlog=CROWD)
    port = server.sockets[0].getsockname()[1]
    async with server:
        each = (visit(proxy_port, port, os.urandom(MIB // 8 + n)) for n in range(CROWD))
        return await asyncio.wait_for(asyncio.gather(*each), 40)


def test_two_hundred_tunnels_at_once_lose_nothing_and_leave_nothing(proxies: Proxies) -> None:
    pync = proxies["socks5"]
    before = settled(pync)
    assert asyncio.run(crowd(pync.port)) == [True] * CROWD
    wait_for(lambda: len(descriptors(pync.pid)) == before)
    first = memory(pync)
    assert asyncio.run(crowd(pync.port)) == [True] * CROWD
    assert memory(pync) - first < 8 * MIB


def test_one_who_stalls_and_one_who_does_not_read_hold_up_nobody(
    proxies: Proxies, listener: socket.socket
) -> None:
    pync = proxies["socks5"]
    with dial(pync.port) as stalling, tunnel("socks5", pync.port, listener) as (_, far):
        stalling.sendall(b"\5\1")
        flood(far)
        before = time.monotonic()
        for _ in range(20):
            assert serves("socks5", pync, listener)
        assert time.monotonic() - before < 2
        stalling.sendall(ASKING["socks5"](HERE, port_of(listener))[2:])
        assert receive(stalling, 5) == message("05 00 05 00 00")
        accept(listener).close()


def test_two_hundred_resets_do_not_harm_it(proxies: Proxies, listener: socket.socket) -> None:
    for kind, pync in proxies.items():
        for number in range(CROWD // 4):
            with dial(pync.port) as client:
                request = ASKING[kind]("localhost" if kind == "socks4a" else HERE, 1)
                client.sendall(request[: number % (len(request) + 1)])
                reset(client)
        assert serves(kind, pync, listener)


WITH_SLOW_NAMES = """
import socket, threading
from pync.__main__ import start

answer = socket.getaddrinfo

def ask(host, *rest, flags=0):
    if host.startswith(b"slow") and not flags & socket.AI_NUMERICHOST:
        threading.Event().wait()
    return answer(host, *rest, flags=flags)

socket.getaddrinfo = ask
raise SystemExit(start())
"""


def test_slow_names_that_one_asks_for_hold_up_no_other(listener: socket.socket) -> None:
    """Not even if it leaves again at once, which nobody tells the name server."""
    options = ("-lkv", "--proxy-type", "socks4a", HERE, "0")
    with run(sys.executable, "-c", WITH_SLOW_NAMES, *options) as pync:
        for number in range(CROWD // 2):
            with dial(pync.port) as client:
                client.sendall(ASKING["socks4a"](f"slow{number}", 80))
                pync.expect(f"wants slow{number} port 80")
                reset(client)
        with socket.create_connection((HERE, pync.port), PATIENCE, ("127.0.0.2", 0)) as other:
            other.sendall(ASKING["socks4a"]("localhost", port_of(listener)))
            read_grant("socks4a", other)
            accept(listener).close()


# Silence.

LIMIT = "0.3"
STAGES = {
    "http": [b"", b"CONN", b"CONNECT host:80 HTTP/1.1\r\nHo", b"GET http://host/ HTTP/1.1\r\n"],
    "socks4": [b"", b"\4", b"\4\1\0\x50\x7f\0\0\1", b"\4\1\0\x50\x7f\0\0\1me"],
    "socks4a": [b"\4\1\0\x50\0\0\0\1me\0", b"\4\1\0\x50\0\0\0\1me\0host"],
    "socks5": [b"", b"\5", b"\5\2\0", b"\5\1\0", b"\5\1\0\5\1\0", b"\5\1\0\5\1\0\3\4hos"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_silence_ends_a_client_at_any_stage_with_a_line(kind: str, listener: socket.socket) -> None:
    with serving(kind, "-w", LIMIT) as pync, ExitStack() as stack:
        port = pync.port
        begin = time.monotonic()
        silent = [stack.enter_context(dial(port)) for _ in STAGES[kind]]
        for client, words in zip(silent, STAGES[kind], strict=True):
            client.sendall(words)
        assert serves(kind, pync, listener)
        for client in silent:
            drain_to_any_end(client)
            pync.expect(rf"pync: client {HERE} port {client.getsockname()[1]}: timed out.*\n")
        assert float(LIMIT) < time.monotonic() - begin < 2.0
        assert pync.text().count("pync: ") == len(silent)


def test_silence_instead_of_a_password(listener: socket.socket) -> None:
    with serving("socks5", "-w", LIMIT, "--proxy-auth", "bob:secret") as pync:
        for words in (b"\5\1\2", b"\5\1\2\1", b"\5\1\2\1\3bob\6sec"):
            with dial(pync.port) as client:
                client.sendall(words)
                assert drain_to_any_end(client) == b"\5\2"


# Floods.


def endless_head() -> Iterator[bytes]:
    yield b"GET http://host/ HTTP/1.1\r\nHost: host\r\nX-Long: "
    while True:
        yield b"x" * 65536


def endless_fields() -> Iterator[bytes]:
    yield b"GET http://host/ HTTP/1.1\r\n"
    while True:
        yield b"Host: host\r\n" * 5000


def endless_line() -> Iterator[bytes]:
    yield b"GET http://host/"
    while True:
        yield b"x" * 65536


def endless_user() -> Iterator[bytes]:
    yield b"\4\1\0\x50\x7f\0\0\1"
    while True:
        yield b"x" * 65536


def endless_name() -> Iterator[bytes]:
    yield b"\4\1\0\x50\0\0\0\1me\0"
    while True:
        yield b"x" * 65536


def endless_greetings() -> Iterator[bytes]:
    while True:
        yield message("05 01 00") * 20000


FLOODS = [
    ("http", endless_head), ("http", endless_fields), ("http", endless_line),
    ("socks4", endless_user), ("socks4a", endless_name), ("socks5", endless_greetings),
]  # fmt: skip


def flood_with(sock: socket.socket, words: Iterator[bytes], most: int = 64 * MIB) -> None:
    """Say so much, or until the other side has had enough, which it shows then."""
    with suppress(ConnectionError):
        while most > 0:
            piece = next(words)
            sock.sendall(piece)
            most -= len(piece)
    drain_to_any_end(sock)


@pytest.mark.parametrize(("kind", "words"), FLOODS)
def test_a_request_without_an_end_has_an_end_here(
    kind: str, words: Callable[[], Iterator[bytes]], proxies: Proxies, listener: socket.socket
) -> None:
    pync = proxies[kind]
    assert serves(kind, pync, listener)
    before = pync.peak_memory
    with dial(pync.port) as client:
        flood_with(client, words())
    assert pync.peak_memory - before < 4 * MIB
    assert serves(kind, pync, listener)


def endless_size() -> Iterator[bytes]:
    yield b"1;"
    while True:
        yield b"x" * 65536


def endless_trailers() -> Iterator[bytes]:
    yield b"0\r\n"
    while True:
        yield b"X-More: x\r\n" * 5000


@pytest.mark.parametrize("words", [endless_size, endless_trailers])
@pytest.mark.parametrize("who", ["client", "origin"])
def test_a_body_whose_parts_have_no_end_has_an_end_here(
    who: str, words: Callable[[], Iterator[bytes]], proxies: Proxies, listener: socket.socket
) -> None:
    pync = proxies["http"]
    before = pync.peak_memory
    head = f"POST http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\n"
    with dial(pync.port) as client:
        chunked = "Transfer-Encoding: chunked\n\n"
        client.sendall(crlf(head + (chunked if who == "client" else "\n")))
        with Origin(listener) as origin:
            if who == "origin":
                origin.say("HTTP/1.1 200 OK\n" + chunked)
            flood_with(client if who == "client" else origin.sock, words())
    assert pync.peak_memory - before < 4 * MIB
    assert serves("http", pync, listener)


def test_one_who_asks_and_asks_and_never_reads_is_held_up_and_then_ended(
    listener: socket.socket,
) -> None:
    with serving("http", "-w", "0.5") as pync:
        before = settled(pync)
        with dial(pync.port, receive_buffer=LITTLE) as client:
            request = crlf(f"GET http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\n\n")
            client.sendall(request * 1000)
            with Origin(listener) as origin:
                origin.read()
                origin.say(f"HTTP/1.1 200 OK\nContent-Length: {64 * MIB}\n\n")
                flood_with(origin.sock, iter(partial(bytes, 65536), b""))
            pync.expect(f"pync: client {HERE} port {client.getsockname()[1]}: takes nothing\n")
            wait_for(lambda: len(descriptors(pync.pid)) == before)
        assert serves("http", pync, listener)


def test_one_who_takes_an_answer_and_not_the_word_that_follows_is_ended(
    listener: socket.socket,
) -> None:
    with serving("http", "-w", "0.5") as pync:
        before = settled(pync)
        with dial(pync.port, receive_buffer=LITTLE) as client:
            head = f"GET http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\n\n"
            client.sendall(crlf(f"{head}nonsense\n\n"))
            with Origin(listener) as origin:
                origin.read()
                origin.say("HTTP/1.1 200 OK\nContent-Length: 20000\n\n", bytes(20_000))
            pync.expect("pync: client .* makes no sense in HTTP\n")
            wait_for(lambda: len(descriptors(pync.pid)) == before)


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_ends_with_a_line_that_is_fit_to_be_read(
    kind: str, proxies: Proxies, listener: socket.socket
) -> None:
    chance = random.Random(kind)
    first = {"http": b"", "socks4": b"\4", "socks4a": b"\4\1", "socks5": b"\5"}[kind]
    for size in range(0, 400, 20):
        with dial(proxies[kind].port) as client:
            client.sendall(first + chance.randbytes(size))
            client.shutdown(socket.SHUT_WR)
            drain_to_any_end(client)
    assert serves(kind, proxies[kind], listener)
    assert not re.search(r"[^\n\x20-\x7e]|Traceback|internal", proxies[kind].text())


# No descriptors.


@contextmanager
def with_room_for(count: int, kind: str) -> Iterator[Program]:
    """A proxy that may open so many more descriptors than it has without a client."""
    with serving(kind) as pync:
        highest = max(map(int, descriptors(pync.pid))) if settled(pync) else 0
    few = f'ulimit -n {highest + 1 + count}; exec "$@"'
    with serving(kind, shell=few, stdin=NULL) as pync:
        yield pync


TOLD = {"http": b"HTTP/1.1 502 ", "socks4": message("00 5b"), "socks5": message("05 00 05 01")}


@pytest.mark.parametrize("kind", TOLD)
def test_a_client_is_told_when_there_is_no_descriptor_for_its_target(
    kind: str, listener: socket.socket
) -> None:
    with with_room_for(1, kind) as pync:
        for _ in range(3):
            with dial(pync.port) as client:
                client.sendall(ASKING[kind](HERE, port_of(listener)))
                assert drain(client).startswith(TOLD[kind])
        pync.expect("cannot open a socket: Too many open files")


def test_without_descriptors_clients_wait_for_one(listener: socket.socket) -> None:
    with with_room_for(2, "socks5") as pync:
        client = ask("socks5", pync.port, port_of(listener))
        with client, accept(listener) as far, dial(pync.port) as waiting:
            waiting.sendall(socks5_request(HERE, port_of(listener)))
            pync.expect("pync: .*; clients wait until one leaves")
            before = pync.cpu_seconds
            client.sendall(b"hello")  # without the pipe that it would take to be fast
            far.sendall(b"and back")
            assert receive(far, 5) + receive(client, 8) == b"helloand back"
            time.sleep(0.3)
            assert pync.cpu_seconds - before < 0.1
            client.close()
            far.close()
            assert receive(waiting, 5) == message("05 00 05 00 00")
            accept(listener).close()


def test_a_client_that_asks_for_many_things_in_turn_costs_no_more_than_one(
    proxies: Proxies, listener: socket.socket
) -> None:
    pync = proxies["http"]
    before = settled(pync)
    with dial(pync.port) as client, client.makefile("rb") as stream:
        for _ in range(100):
            client.sendall(crlf(f"GET http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\n\n"))
            with Origin(listener) as origin:
                origin.read()
                origin.say("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
                assert read_message(stream).body == b"ok"
        wait_for(lambda: len(descriptors(pync.pid)) == before + 1)
