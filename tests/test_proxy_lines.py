"""pync as a proxy: what it says on stderr of one client names that client, whatever happened."""

from __future__ import annotations

import operator
import socket
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest
from gateway_talk import (
    ASKING,
    KINDS,
    NOWHERE,
    Origin,
    Tunnel,
    accept,
    crlf,
    dial,
    drain_to_any_end,
    port_of,
    read_grant,
    receive,
    serving,
    target,
)
from harness import Program, free_port, full_backlog
from plain_peer import HERE, complaints, reset, run
from socks_scripts import message

End = Callable[[Tunnel], socket.socket]
Play = Callable[[str, socket.socket], None]  # what a client of that kind does, and its target


def saying(words: Callable[[str], bytes]) -> Play:
    """By the kind of its proxy; then it waits for the end."""

    def play(kind: str, client: socket.socket) -> None:
        client.sendall(words(kind))
        drain_to_any_end(client)

    return play


def half(kind: str, client: socket.socket) -> None:
    client.sendall(ASKING[kind](HERE, 80)[:-1])
    client.shutdown(socket.SHUT_WR)
    drain_to_any_end(client)


def slow(kind: str, client: socket.socket) -> None:
    with full_backlog() as port:
        saying(lambda kind: ASKING[kind](HERE, port))(kind, client)


def vanished(kind: str, client: socket.socket) -> None:
    client.sendall(ASKING[kind](HERE, 80)[:-1])
    reset(client)


def breaking(which: End, other: End) -> Play:
    """A tunnel through which something has passed, of which one end breaks."""

    def play(kind: str, client: socket.socket) -> None:
        with target() as listener:
            client.sendall(ASKING[kind](HERE, port_of(listener)))
            read_grant(kind, client)
            with accept(listener) as far:
                client.sendall(b"hello")
                assert receive(far, 5) == b"hello"
                ends = Tunnel(client, far)
                reset(which(ends))
                drain_to_any_end(other(ends))

    return play


CLIENT, FAR = (operator.attrgetter(name) for name in Tunnel._fields)


def a_page(answers: Callable[[Origin], None]) -> Play:
    """A request for a page, and what the origin does with it."""

    def play(_: str, client: socket.socket) -> None:
        with target() as listener:
            client.sendall(crlf(f"GET http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\n\n"))
            with Origin(listener) as origin:
                origin.read()
                answers(origin)
                drain_to_any_end(client)

    return play


def half_a_body(_: str, client: socket.socket) -> None:
    with target() as listener:
        head = f"POST http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\nContent-Length: 9\n\n"
        client.sendall(crlf(head))
        drain_to_any_end(client)


class Case(NamedTuple):
    """told: behind the client's name.  of: the kinds that it can happen to."""

    play: Play
    told: str
    of: tuple[str, ...] = KINDS


NAMED = ("http", "socks4a", "socks5")
LOST = "connection with {} lost: Connection reset by peer"
CASES = {
    "a target that refuses": Case(
        saying(lambda kind: ASKING[kind](HERE, free_port())),
        f"connect to {HERE} port .*: Connection refused",
    ),
    "a name that nobody has": Case(
        saying(lambda kind: ASKING[kind](NOWHERE, 80)), f"cannot resolve {NOWHERE}.*", NAMED
    ),
    "a target that does not answer": Case(slow, f"connect to {HERE} port .*: .*timed out"),
    "a target that is denied": Case(
        saying(lambda kind: ASKING[kind]("127.0.0.9", 80)),
        "--proxy-allow does not name 127.0.0.9 port 80",
    ),
    "nonsense": Case(saying(lambda _: b"\x01nonsense\r\n\r\n"), ".*makes no sense.*"),
    "half a request": Case(half, ".*closed the connection.*"),
    "silence": Case(saying(lambda _: b""), "timed out: it does not say what it wants"),
    "half a request and silence": Case(
        saying(lambda kind: ASKING[kind](HERE, 80)[:-1]), "timed out.*"
    ),
    "its vanishing": Case(vanished, LOST.format("{}")),
    "a target that breaks": Case(breaking(FAR, CLIENT), LOST.format(rf"{HERE} port \d+")),
    "a tunnel that it breaks": Case(breaking(CLIENT, FAR), LOST.format("{}")),
    "an origin that is silent": Case(
        a_page(lambda _: None), rf"{HERE} port \d+ does not answer", ("http",)
    ),
    "an origin that makes no sense": Case(
        a_page(lambda origin: origin.say("nonsense\n\n")),
        rf"{HERE} port \d+ makes no sense in HTTP",
        ("http",),
    ),
    "an origin that breaks": Case(
        a_page(lambda origin: reset(origin.sock)),
        LOST.format(rf"{HERE} port \d+"),
        ("http",),
    ),
    "half a body": Case(half_a_body, "says only half of its request", ("http",)),
}


@contextmanager
def client_of(pync: Program) -> Iterator[tuple[socket.socket, str]]:
    with dial(pync.port) as client:
        yield client, "{} port {}".format(*client.getsockname())


@pytest.fixture(scope="module", autouse=True)
def proxies() -> Iterator[dict[str, Program]]:
    options = ("-w", "0.5", "--proxy-allow", HERE, "--proxy-allow", NOWHERE)
    with ExitStack() as stack:
        yield {kind: stack.enter_context(serving(kind, *options)) for kind in KINDS}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for name, case in CASES.items() for kind in case.of]
)
def test_an_error_of_a_client_names_it(kind: str, name: str, proxies: dict[str, Program]) -> None:
    pync, case = proxies[kind], CASES[name]
    with client_of(pync) as (client, who):
        case.play(kind, client)
        pync.expect(f"pync: client {who}: {case.told.format(who)}\n")


def with_password(user: str, password: str) -> dict[str, bytes]:
    """What a client says, by the kind of its proxy."""
    shown = b64encode(f"{user}:{password}".encode()).decode()
    field = f"Proxy-Authorization: Basic {shown}\r\n\r\n".encode()
    proof = b"".join(bytes([len(text)]) + text.encode() for text in (user, password))
    return {
        "http": ASKING["http"](HERE, 80)[:-2] + field,
        "socks5": message("05 01 02 01") + proof,
    }


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("http", "does not show valid credentials"),
        ("socks5", "SOCKS5 failed: wrong password, or no such user: 'bob'"),
    ],
)
def test_a_wrong_password_is_told_with_its_client(kind: str, told: str) -> None:
    with serving(kind, "--proxy-auth", "bob:secret") as pync, client_of(pync) as (client, who):
        client.sendall(with_password("bob", "mistaken")[kind])
        client.shutdown(socket.SHUT_WR)
        drain_to_any_end(client)
        pync.expect(f"pync: client {who}: {told}\n")


WITH_TWO_ADDRESSES = """
import socket
from pync.__main__ import start

answer = socket.getaddrinfo

def ask(host, *rest, **how):
    hosts = (b"127.0.0.9", b"127.0.0.1") if host == b"both" else (host,)
    return [found for one in hosts for found in answer(one, *rest, **how)]

socket.getaddrinfo = ask
raise SystemExit(start())
"""


@pytest.fixture
def pync_with_two() -> Iterator[Program]:
    """A proxy for which `both` are two addresses, 127.0.0.9 and then ours."""
    options = ("-lkv", "--proxy-type", "socks5", HERE, "0")
    with run(sys.executable, "-c", WITH_TWO_ADDRESSES, *options) as pync:
        yield pync


def test_an_address_that_refused_before_another_took_it_is_told_with_its_client(
    pync_with_two: Program,
) -> None:
    with target() as listener, client_of(pync_with_two) as (client, who):
        client.sendall(ASKING["socks5"]("both", port_of(listener)))
        read_grant("socks5", client)
        accept(listener).close()
        pync_with_two.expect(
            f"client {who}: wants both port {port_of(listener)}\n"
            rf"client {who}: connect to both \(127.0.0.9\) .* failed: Connection refused\n"
        )


def test_all_addresses_that_refused_are_told_in_one_line(pync_with_two: Program) -> None:
    with client_of(pync_with_two) as (client, who):
        client.sendall(ASKING["socks5"]("both", free_port()))
        drain_to_any_end(client)
        one, two = (rf"connect to both \(127.0.0.{n}\) .*: Connection refused" for n in (9, 1))
        pync_with_two.expect(f"pync: client {who}: {one}; {two}\n")


def test_without_keep_open_as_well() -> None:
    with Program.pync("-lv", "-X", "socks5", HERE, "0") as pync, client_of(pync) as (client, who):
        client.sendall(ASKING["socks5"](HERE, free_port()))
        drain_to_any_end(client)
        result = pync.finish()
    assert result.status == 1
    assert complaints(result) == [line for line in complaints(result) if f" client {who}: " in line]
