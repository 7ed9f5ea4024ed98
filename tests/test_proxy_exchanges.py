"""pync as a proxy: HTTP requests for http://host/path, and what a client sees of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from typing import NamedTuple

import pytest
from gateway_talk import (
    ASKING,
    Message,
    Origin,
    accept,
    breaks,
    chunked,
    crlf,
    dial,
    digest,
    memory,
    port_of,
    read_head,
    read_message,
    serving,
    target,
)
from harness import Program
from plain_peer import HERE, drain, drain_until_any_end, drain_until_reset, reset, silent

from pync.gateway.passage import Passage
from pync.loop import Loop
from pync.stream import Endpoint, Source
from pync.transports.memory import Discard
from pync.transports.sockets import SocketEndpoint, SocketSink
from pync.transports.unix import UnixAddress
from pync.wire.http.proxy import HttpProxy

MUCH = os.urandom(6 << 20)
OK = "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"


@pytest.fixture(scope="module", autouse=True)
def proxy() -> Iterator[Program]:
    with serving("http") as pync:
        yield pync


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with target() as listening:
        yield listening


class Client(NamedTuple):
    """A client, with a stream to read from."""

    sock: socket.socket
    stream: BufferedReader

    def say(self, text: str, body: bytes = b"") -> None:
        """text: a head, written with \\n for CR LF."""
        self.sock.sendall(crlf(text) + body)

    def ask(self, listener: socket.socket, request: str = "GET", fields: str = "") -> None:
        self.say(f"{request} {at(listener)}/page HTTP/1.1\nHost: origin\n{fields}\n")

    def read(self, *, bodiless: bool = False) -> Message:
        return read_message(self.stream, bodiless=bodiless)


@pytest.fixture
def client(proxy: Program) -> Iterator[Client]:
    with dial(proxy.port) as sock, sock.makefile("rb") as stream:
        yield Client(sock, stream)


def at(listener: socket.socket) -> str:
    return f"http://{HERE}:{port_of(listener)}"


def ends_in_order(client: Client) -> bool:
    return client.stream.read() == b""


# What passes.


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_a_request_without_a_body(method: str, client: Client, listener: socket.socket) -> None:
    client.ask(listener, method, "X-Asked: yes\nProxy-Connection: keep-alive\n")
    with Origin(listener) as origin:
        asked = origin.read()
        assert asked.first == f"{method} /page HTTP/1.1"
        assert asked.fields["host"] == f"{HERE}:{port_of(listener)}"
        assert asked.fields["x-asked"] == "yes"
        assert "proxy-connection" not in asked.fields
        body = b"" if method == "HEAD" else b"hello"
        origin.say("HTTP/1.1 200 Fine\nContent-Length: 5\nX-Said: yes\n\n", body)
        answer = client.read(bodiless=method == "HEAD")
    assert (answer.first, answer.body) == ("HTTP/1.1 200 Fine", body)
    assert answer.fields["x-said"] == "yes"
    assert answer.fields["content-length"] == "5"


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("framing", ["counted", "chunked"])
def test_a_request_with_a_body(
    method: str, framing: str, client: Client, listener: socket.socket
) -> None:
    body = b"some words"
    if framing == "counted":
        client.ask(listener, method, f"Content-Length: {len(body)}\n")
        client.sock.sendall(body)
    else:
        client.ask(listener, method, "Transfer-Encoding: chunked\n")
        client.sock.sendall(chunked(body[:4], body[4:]))
    with Origin(listener) as origin:
        assert origin.read().body == body
        origin.say("HTTP/1.1 201 Created\nTransfer-Encoding: chunked\n\n", chunked(b"h", b"ello"))
        answer = client.read()
    assert (answer.status, answer.body) == (201, b"hello")


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body(status: int, client: Client, listener: socket.socket) -> None:
    for _ in range(2):
        client.ask(listener)
        with Origin(listener) as origin:
            origin.read()
            origin.say(f"HTTP/1.1 {status} So\n\n")
            assert client.read().status == status


@pytest.mark.parametrize("first", ["GET", "POST"])
def test_one_connection_leads_to_one_origin_after_the_other(
    first: str, client: Client, listener: socket.socket
) -> None:
    with target() as other:
        for number, place in enumerate([listener, other, listener]):
            client.ask(place, first, "Content-Length: 0\n" if first == "POST" else "")
            with Origin(place) as origin:
                origin.read()
                origin.say("HTTP/1.1 200 OK\nContent-Length: 1\n\n", b"%d" % number)
                assert client.read().body == b"%d" % number
                assert drain(origin.sock) == b""


def test_requests_may_be_pipelined_and_the_second_may_be_for_a_tunnel(
    client: Client, listener: socket.socket
) -> None:
    with target() as other:
        request = f"GET {at(listener)}/ HTTP/1.1\nHost: origin\n\n"
        client.say(request, ASKING["http"](HERE, port_of(other)) + b"glued")
        with Origin(listener) as origin:
            origin.read()
            origin.say(OK)
        assert client.read().body == b"ok"
        with accept(other) as far:
            assert read_head(client.stream).status == 200
            assert far.recv(5) == b"glued"
            far.sendall(b"hello")
            far.shutdown(socket.SHUT_WR)
            assert client.stream.read() == b"hello"
            client.sock.sendall(b"more")
            assert far.recv(4) == b"more"


def test_a_client_that_ends_behind_its_requests_gets_all_answers(
    client: Client, listener: socket.socket
) -> None:
    for _ in range(3):
        client.ask(listener)
    client.sock.shutdown(socket.SHUT_WR)
    for number in range(3):
        with Origin(listener) as origin:
            origin.read()
            origin.say("HTTP/1.1 200 OK\nContent-Length: 1\n\n", b"%d" % number)
    assert [client.read().body for _ in range(3)] == [b"0", b"1", b"2"]
    assert ends_in_order(client)


def test_a_client_that_waits_for_100_gets_it(client: Client, listener: socket.socket) -> None:
    client.ask(listener, "POST", "Content-Length: 4\nExpect: 100-continue\n")
    with Origin(listener) as origin:
        assert read_head(origin.stream).fields["expect"] == "100-continue"
        origin.say("HTTP/1.1 100 Continue\n\n")
        assert read_head(client.stream).status == 100
        client.sock.sendall(b"body")
        assert origin.stream.read(4) == b"body"
        origin.say(OK)
        assert client.read().body == b"ok"


@pytest.mark.parametrize("origin_closes", ["FIN", "RST"])
def test_an_origin_that_answers_before_it_has_everything(
    origin_closes: str, client: Client, listener: socket.socket
) -> None:
    client.ask(listener, "POST", f"Content-Length: {len(MUCH)}\n")
    client.sock.sendall(MUCH[:100])
    with Origin(listener) as origin:
        read_head(origin.stream)
        origin.say("HTTP/1.1 413 Too much\nContent-Length: 3\n\nno\n")
        assert client.read().status == 413
        if origin_closes == "RST":
            reset(origin.sock)
    assert ends_in_order(client)


@pytest.mark.parametrize("framing", ["counted", "chunked", "until the end"])
def test_much_passes_both_ways_and_little_of_it_is_kept(
    framing: str, proxy: Program, client: Client, listener: socket.socket
) -> None:
    before = memory(proxy)
    counted = f"Content-Length: {len(MUCH)}\n"
    fields = "Transfer-Encoding: chunked\n" if framing == "chunked" else counted
    pieces = [MUCH[start : start + 100_000] for start in range(0, len(MUCH), 100_000)]
    body = chunked(*pieces) if framing == "chunked" else MUCH
    client.ask(listener, "PUT", fields)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.sock.sendall, body)
        with Origin(listener) as origin:
            assert digest(origin.read().body) == digest(MUCH)
            sending.result()
            origin.say(f"HTTP/1.1 200 OK\n{fields if framing != 'until the end' else ''}\n")
            pool.submit(origin.sock.sendall, body).add_done_callback(
                lambda _: origin.sock.shutdown(socket.SHUT_WR)
            )
            assert digest(client.read().body) == digest(MUCH)
    assert proxy.peak_memory - before < 4 << 20


# How it ends.


@pytest.mark.parametrize("framing", ["Content-Length: 20\n", "Transfer-Encoding: chunked\n", ""])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_origin_that_is_cut_off_is_seen_as_such(
    framing: str, version: str, client: Client, listener: socket.socket
) -> None:
    client.say(f"GET {at(listener)}/ HTTP/{version}\nHost: origin\n\n")
    with Origin(listener) as origin:
        origin.read()
        origin.say(f"HTTP/1.1 200 OK\n{framing}\n", b"5\r\nhello\r\n")
        read_head(client.stream)
        assert b"hello" in client.stream.read1(100)
        reset(origin.sock)
        drain_until_reset(client.sock)


@pytest.mark.parametrize("framing", ["Content-Length: 10\n", "Transfer-Encoding: chunked\n"])
def test_an_origin_that_ends_too_early_cuts_off_its_answer(
    framing: str, client: Client, listener: socket.socket
) -> None:
    client.ask(listener)
    with Origin(listener) as origin:
        origin.read()
        origin.say(f"HTTP/1.1 200 OK\n{framing}\n", b"5\r\nh")
    read_head(client.stream)
    drain_until_reset(client.sock)


class Uploading(Source):
    """Gives a byte at a time, for ever; `then` happens before the one that is number `moment`."""

    def __init__(self, moment: int, then: Callable[[], None]) -> None:
        self._left = moment
        self._then = then

    def read(self, limit: int) -> bytes:
        self._left -= 1
        if not self._left:
            self._then()
        return b"x"


@pytest.mark.parametrize("moment", [1, 10, 30])
def test_an_origin_that_breaks_while_it_is_written_to_has_not_ended_its_answer(moment: int) -> None:
    """The reset is met by the writing or the reading; the other finds an end then."""
    dialogue = HttpProxy()
    dialogue.receive(b"POST http://host/ HTTP/1.1\r\nHost: host\r\nContent-Length: 1000000\r\n\r\n")
    exchange = dialogue.grant()
    assert exchange
    with target() as listener, dial(port_of(listener)) as ours, accept(listener) as theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")
        origin = SocketEndpoint(ours, UnixAddress("the origin"), SocketSink)
        client = Endpoint(
            Uploading(moment, lambda: reset(theirs)), Discard(), UnixAddress("the client")
        )
        with Loop() as loop:
            loop.run(Passage(loop, client, origin, exchange, 5.0))
    assert exchange.failure


def test_a_body_until_the_end_ends_for_an_old_client_with_the_connection(
    client: Client, listener: socket.socket
) -> None:
    client.say(f"GET {at(listener)}/ HTTP/1.0\n\n")
    with Origin(listener) as origin:
        origin.read()
        origin.say("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", chunked(b"hel", b"lo"))
        answer = client.read()
    assert "transfer-encoding" not in answer.fields
    assert answer.body == b"hello"


def test_a_client_is_told_no_news_that_it_does_not_know(
    client: Client, listener: socket.socket
) -> None:
    client.say(f"GET {at(listener)}/ HTTP/1.0\n\n")
    with Origin(listener) as origin:
        origin.read()
        origin.say("HTTP/1.1 103 Early Hints\n\n" + OK)
        assert client.read().status == 200


def test_close_is_honoured(client: Client, listener: socket.socket) -> None:
    client.ask(listener, fields="Connection: close\n")
    with Origin(listener) as origin:
        origin.read()
        origin.say(OK)
    answer = client.read()
    assert answer.fields["connection"] == "close"
    assert ends_in_order(client)


def test_a_client_that_has_nothing_more_to_ask_is_let_go_in_order(
    listener: socket.socket,
) -> None:
    with serving("http", "-w", "0.4") as pync, dial(pync.port) as sock:
        with sock.makefile("rb") as stream:
            client = Client(sock, stream)
            client.ask(listener)
            with Origin(listener) as origin:
                origin.read()
                origin.say(OK)
            assert client.read().body == b"ok"
            assert silent(sock, 0.1)
            assert ends_in_order(client)
        assert "pync: " not in pync.text()


def test_a_client_that_leaves_closes_the_origins_connection(
    client: Client, listener: socket.socket
) -> None:
    client.ask(listener)
    with Origin(listener) as origin:
        origin.read()
        reset(client.sock)
        assert drain_until_any_end(origin.sock)[0] == b""


def test_a_client_that_pauses_gets_the_whole_of_the_last_answer(
    proxy: Program, listener: socket.socket
) -> None:
    """The rest waits in the proxy's kernel."""
    with dial(proxy.port, receive_buffer=4096) as sock, sock.makefile("rb") as stream:
        client = Client(sock, stream)
        client.ask(listener, fields="Connection: close\n")
        with Origin(listener) as origin:
            origin.read()
            origin.say("HTTP/1.1 200 OK\nContent-Length: 60000\n\n", bytes(60_000))
            assert drain(origin.sock) == b""
        assert not breaks(sock, 1.3)
        assert len(client.read().body) == 60_000
