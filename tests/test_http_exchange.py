"""Requests and responses on their way through an HTTP proxy: what goes on of each, in which form,
and what becomes of the client where the origin or the client itself fails.

What is said is written with \\n for CR LF.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import NamedTuple

import pytest
from http_talk import EVERYTHING, crlf, drain, feed, however_cut
from hypothesis import given, settings
from hypothesis import strategies as st
from test_flow import Record

from pync.errors import ProtocolError
from pync.flow import Flow
from pync.loop import Loop
from pync.stage import HIGH_WATER, Stage
from pync.stream import Condition, Sink, Source, WouldBlock
from pync.transports.memory import Given
from pync.wire.http.exchange import Exchange
from pync.wire.http.proxy import HttpProxy
from pync.wire.http.side import MOST_HEAD, PIECE

VIA = "Via: 1.1 pync\n"
TO_A = f"Host: a\n{VIA}Connection: close\n\n"  # the fields of a request that has none of its own


class Case(NamedTuple):
    """asked: by the client.  passed: to the origin, which then says `answered`, and perhaps ends.
    told: to the client.  kept: whether the client may ask for more on its connection."""

    asked: str
    passed: str
    answered: str
    told: str
    kept: bool = True
    ends: bool = False


def get(target: str = "http://a/", fields: str = "", version: str = "1.1") -> str:
    return f"GET {target} HTTP/{version}\nHost: x\n{fields}\n"


ANSWER = "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"
TOLD = f"HTTP/1.1 200 OK\nContent-Length: 2\n{VIA}\nhi"

REQUESTS = {
    "a path": Case(get("http://a/b/c?d=e"), f"GET /b/c?d=e HTTP/1.1\n{TO_A}", ANSWER, TOLD),
    "no path": Case(get("http://a"), f"GET / HTTP/1.1\n{TO_A}", ANSWER, TOLD),
    "a query only": Case(get("http://a?b"), f"GET /?b HTTP/1.1\n{TO_A}", ANSWER, TOLD),
    "a scheme in capitals": Case(get("HTTP://a/"), f"GET / HTTP/1.1\n{TO_A}", ANSWER, TOLD),
    "the usual port": Case(get("http://a:80/"), f"GET / HTTP/1.1\n{TO_A}", ANSWER, TOLD),
    "no port behind a colon": Case(get("http://a:/"), f"GET / HTTP/1.1\n{TO_A}", ANSWER, TOLD),
    "a port": Case(
        get("http://a:8080/"),
        f"GET / HTTP/1.1\nHost: a:8080\n{VIA}Connection: close\n\n", ANSWER, TOLD,
    ),
    "an address": Case(
        get("http://[::1]:8080/"),
        f"GET / HTTP/1.1\nHost: [::1]:8080\n{VIA}Connection: close\n\n", ANSWER, TOLD,
    ),
    "a whole server": Case(
        "OPTIONS http://a HTTP/1.1\nHost: x\n\n", f"OPTIONS * HTTP/1.1\n{TO_A}", ANSWER, TOLD,
    ),
    "fields": Case(
        get(fields="B: 1\nA: 2\nb: 3\nCookie: \xe9\n"),
        f"GET / HTTP/1.1\nHost: a\nB: 1\nA: 2\nb: 3\nCookie: \xe9\n{VIA}Connection: close\n\n",
        ANSWER, TOLD,
    ),
    "fields that are for us": Case(
        get(fields="Proxy-Connection: keep-alive\nProxy-Authorization: Basic dTpw\nKeep-Alive: 5\n"
            "TE: trailers\nTrailer: x\nUpgrade: websocket\nConnection: Upgrade, x-a\nX-A: 1\n"
            "connection: X-b\nX-B: 2\nX-C: 3\n"),
        f"GET / HTTP/1.1\nHost: a\nX-C: 3\n{VIA}Connection: close\n\n", ANSWER, TOLD,
    ),
    "a body": Case(
        "PUT http://a/ HTTP/1.1\nHost: x\nContent-Length: 5\n\n12345",
        f"PUT / HTTP/1.1\nHost: a\nContent-Length: 5\n{VIA}Connection: close\n\n12345",
        ANSWER, TOLD,
    ),
    "a body whose length was to stay here": Case(
        "PUT http://a/ HTTP/1.1\nHost: x\nConnection: content-length, host\n"
        "Content-Length: 2\n\nxy",
        f"PUT / HTTP/1.1\nHost: a\nContent-Length: 2\n{VIA}Connection: close\n\nxy", ANSWER, TOLD,
    ),
    "an empty body": Case(
        "DELETE http://a/ HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
        f"DELETE / HTTP/1.1\nHost: a\nContent-Length: 0\n{VIA}Connection: close\n\n", ANSWER, TOLD,
    ),
    "a client of old": Case(
        "GET http://a/ HTTP/1.0\n\n",
        "GET / HTTP/1.1\nHost: a\nVia: 1.0 pync\nConnection: close\n\n", ANSWER,
        f"HTTP/1.1 200 OK\nContent-Length: 2\n{VIA}Connection: close\n\nhi", kept=False,
    ),
    "a client that wants no more": Case(
        get(fields="Connection: close\n"), f"GET / HTTP/1.1\n{TO_A}", ANSWER,
        f"HTTP/1.1 200 OK\nContent-Length: 2\n{VIA}Connection: close\n\nhi", kept=False,
    ),
}  # fmt: skip

RESPONSES = {
    "chunks and a length": Case(
        get(), f"GET / HTTP/1.1\n{TO_A}",
        "HTTP/1.1 200 OK\nContent-Length: 9\nTransfer-Encoding: chunked\n\n0\n\n",
        f"HTTP/1.1 200 OK\n{VIA}Transfer-Encoding: chunked\n\n0\n\n",
    ),
    "until the end": Case(
        get(), f"GET / HTTP/1.1\n{TO_A}", "HTTP/1.1 200 OK\nServer: x\n\n",
        f"HTTP/1.1 200 OK\nServer: x\n{VIA}Transfer-Encoding: chunked\n\n0\n\n", ends=True,
    ),
    "a server of old": Case(
        get(), f"GET / HTTP/1.1\n{TO_A}", "HTTP/1.0 404 Not here\nContent-Length: 0\n\n",
        "HTTP/1.1 404 Not here\nContent-Length: 0\nVia: 1.0 pync\n\n",
    ),
    "chunks to a client of old": Case(
        "GET http://a/ HTTP/1.0\n\n",
        "GET / HTTP/1.1\nHost: a\nVia: 1.0 pync\nConnection: close\n\n",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n",
        f"HTTP/1.1 200 OK\n{VIA}Connection: close\n\nabc", kept=False,
    ),
    "fields that are for us": Case(
        get(), f"GET / HTTP/1.1\n{TO_A}",
        "HTTP/1.1 200 OK\nA: 1\nConnection: close, B\nB: 2\nKeep-Alive: 3\nUpgrade: h2c\n"
        "Proxy-Authenticate: Basic\nSet-Cookie: x\nSet-Cookie: y\nContent-Length: 0\n\n",
        f"HTTP/1.1 200 OK\nA: 1\nSet-Cookie: x\nSet-Cookie: y\nContent-Length: 0\n{VIA}\n",
    ),
    "news": Case(
        get(fields="Expect: 100-continue\n"),
        f"GET / HTTP/1.1\nHost: a\nExpect: 100-continue\n{VIA}Connection: close\n\n",
        "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nLink: x\n\n" + ANSWER,
        f"HTTP/1.1 100 Continue\n{VIA}\nHTTP/1.1 103 Early Hints\nLink: x\n{VIA}\n" + TOLD,
    ),
    "news for a client of old": Case(
        "GET http://a/ HTTP/1.0\n\n",
        "GET / HTTP/1.1\nHost: a\nVia: 1.0 pync\nConnection: close\n\n",
        "HTTP/1.1 100 Continue\n\n" + ANSWER,
        f"HTTP/1.1 200 OK\nContent-Length: 2\n{VIA}Connection: close\n\nhi", kept=False,
    ),
    "no content": Case(
        get(), f"GET / HTTP/1.1\n{TO_A}", "HTTP/1.1 204 No Content\n\n",
        f"HTTP/1.1 204 No Content\n{VIA}\n",
    ),
    "not modified": Case(
        get(), f"GET / HTTP/1.1\n{TO_A}", "HTTP/1.1 304 Not Modified\nContent-Length: 9\n\n",
        f"HTTP/1.1 304 Not Modified\nContent-Length: 9\n{VIA}\n",
    ),
    "a head": Case(
        "HEAD http://a/ HTTP/1.1\nHost: x\n\n", f"HEAD / HTTP/1.1\n{TO_A}",
        "HTTP/1.1 200 OK\nContent-Length: 9\n\n",
        f"HTTP/1.1 200 OK\nContent-Length: 9\n{VIA}\n",
    ),
    "more than was announced": Case(get(), f"GET / HTTP/1.1\n{TO_A}", ANSWER + "more", TOLD),
}  # fmt: skip
CASES = {**REQUESTS, **{f"response: {name}": case for name, case in RESPONSES.items()}}


def granted(proxy: HttpProxy) -> Exchange:
    exchange = proxy.grant()
    assert exchange
    return exchange


def begin(asked: bytes, size: int = EVERYTHING) -> tuple[HttpProxy, Exchange]:
    proxy = HttpProxy()
    feed(proxy.receive, asked, size)
    return proxy, granted(proxy)


def latin(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("latin-1")


# --- exchanges that go well ---


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@however_cut
def test_an_exchange_goes_on_in_both_directions(case: Case, size: int) -> None:
    proxy, exchange = begin(latin(case.asked), size)
    assert drain(exchange.data_received, size) == latin(case.passed)
    assert not exchange.over
    feed(exchange.send, latin(case.answered), size)
    if case.ends:
        exchange.send_end()
    assert drain(exchange.data_to_send, size) == latin(case.told)
    assert (exchange.over, exchange.send_over, exchange.receive_over) == (True, True, True)
    proxy.resume()
    assert proxy.over == (not case.kept)
    assert proxy.request is None


@however_cut
def test_a_body_in_chunks_goes_on_in_chunks(size: int) -> None:
    body = "3\nabc\n00a;x=y\n1234567890\n0\nTrailer: x\n\n"
    asked = "POST http://a/ HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n"
    _, exchange = begin(crlf(asked + body), size)
    passed = drain(exchange.data_received)
    fields = f"Host: a\n{VIA}Transfer-Encoding: chunked\nConnection: close\n\n"
    assert passed.startswith(crlf(f"POST / HTTP/1.1\n{fields}"))
    assert unframed(passed) == b"abc1234567890"
    if size == EVERYTHING:
        assert passed.endswith(crlf("\n\n3\nabc\na\n1234567890\n0\n\n"))


@however_cut
def test_an_answer_in_chunks_goes_on_in_chunks(size: int) -> None:
    _, exchange = begin(crlf(get()))
    head = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n"
    feed(exchange.send, crlf(f"{head}3;x=y\nabc\n000a\n1234567890\n0\nTrailer: x\n\n"), size)
    told = drain(exchange.data_to_send)
    assert told.startswith(crlf(f"HTTP/1.1 200 OK\n{VIA}Transfer-Encoding: chunked\n\n"))
    assert unframed(told) == b"abc1234567890"
    if size == EVERYTHING:
        assert told.endswith(crlf("\n\n3\nabc\na\n1234567890\n0\n\n"))


def unframed(message: bytes | bytearray) -> bytes:
    """The body, without h11's help."""
    head, _, rest = bytes(message).partition(b"\r\n\r\n")
    if b"chunked" not in head:
        return rest
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        assert rest[int(size, 16) :].startswith(b"\r\n")
        rest = rest[int(size, 16) + 2 :]
    return body


def test_several_things_may_be_asked_for_at_once_and_of_several_origins() -> None:
    asked = crlf(get("http://a/1") + "POST http://b/2 HTTP/1.1\nHost: x\nContent-Length: 2\n\nhi")
    tunnel = crlf("CONNECT c:3 HTTP/1.1\nHost: c:3\n\n") + b"SSH"
    proxy, exchange = begin(asked + tunnel)
    for host, body in (("a", b""), ("b", b"hi")):
        assert proxy.request
        assert proxy.request.host == host
        assert drain(exchange.data_received).partition(b"\r\n\r\n")[2] == body
        exchange.send(crlf(ANSWER))
        assert drain(proxy.data_to_send) == crlf(TOLD)
        proxy.resume()
        if host == "a":
            exchange = granted(proxy)
    assert proxy.request == ("CONNECT", "c", 3, None)
    proxy.grant()
    assert proxy.surplus == b"SSH"


@pytest.mark.parametrize("when", ["before the answer", "after it", "when all is over"])
def test_a_client_may_end_when_it_has_asked(when: str) -> None:
    proxy, exchange = begin(crlf(get()))
    if when == "before the answer":
        exchange.receive_end()
    exchange.send(crlf(ANSWER))
    assert drain(exchange.data_to_send) == crlf(TOLD)
    if when == "after it":
        exchange.receive_end()  # this may also come of a flow's being stopped
    proxy.resume()
    assert proxy.over == (when == "before the answer")
    proxy.receive_end()
    assert proxy.over


def test_a_client_may_end_when_it_has_asked_twice() -> None:
    proxy = HttpProxy()
    proxy.receive(crlf(get()) * 2)
    proxy.receive_end()
    for over in (False, True):
        exchange = granted(proxy)
        exchange.send(crlf(ANSWER))
        proxy.resume()
        assert proxy.over == over
    assert drain(proxy.data_to_send) == crlf(TOLD) * 2


def test_an_origin_may_answer_before_it_has_the_whole_request() -> None:
    """The client's connection cannot be used again: nobody knows where the request ends."""
    proxy, exchange = begin(crlf("PUT http://a/ HTTP/1.1\nHost: x\nContent-Length: 9\n\n123"))
    exchange.send(crlf(ANSWER))
    assert exchange.over
    exchange.receive(b"456")
    exchange.send(b"nobody's")
    exchange.send_end()
    assert (exchange.data_received(EVERYTHING), exchange.receive_backlog) == (b"", 0)
    assert drain(exchange.data_to_send) == crlf(TOLD)
    proxy.resume()
    assert proxy.over


# --- exchanges that fail ---

FAILED = {
    "it says nothing": ("", "closed the connection too early"),
    "it says too little": ("HTTP/1.1 200 OK\nContent-Le", "closed the connection too early"),
    "it brings news only": ("HTTP/1.1 100 Continue\n\n", "closed the connection too early"),
    "it speaks another protocol": ("SSH-2.0-x\n\n", "makes no sense in HTTP"),
    "it speaks another one": ("\x05", "makes no sense in HTTP"),
    "it changes to another one": (
        "HTTP/1.1 101 Switching\nUpgrade: x\n\n", "makes no sense in HTTP",
    ),
    "it has two lengths": (
        "HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\n", "makes no sense in HTTP",
    ),
    "its head has no end": (
        "HTTP/1.1 200 OK\n" + "X: y\n" * (MOST_HEAD // 4), "makes no sense in HTTP",
    ),
}  # fmt: skip


def bad_gateway(why: str) -> bytes:
    return (
        crlf(
            f"HTTP/1.1 502 Bad Gateway\nConnection: close\nContent-Length: {len(why) + 1}\n"
            "Content-Type: text/plain; charset=utf-8\n\n"
        )
        + f"{why}\n".encode()
    )


def failure(exchange: Exchange, said: bytes) -> str:
    """What is told of an origin that says this, and nothing more; nothing counts after that."""
    with pytest.raises(ProtocolError) as caught:
        send_all(exchange, said)
    send_all(exchange, said)
    assert exchange.over
    assert exchange.failure is caught.value
    return str(caught.value)


def send_all(exchange: Exchange, said: bytes) -> None:
    exchange.send(said)
    exchange.send_end()


@pytest.mark.parametrize(("said", "words"), FAILED.values(), ids=FAILED)
def test_an_origin_that_fails_at_once_is_a_bad_gateway(said: str, words: str) -> None:
    _, exchange = begin(crlf(get("http://a:8080/")))
    assert failure(exchange, crlf(said)) == f"a port 8080 {words}"
    told = drain(exchange.data_to_send)
    told = told.removeprefix(crlf(f"HTTP/1.1 100 Continue\n{VIA}\n"))
    assert told == bad_gateway(f"a port 8080 {words}")
    assert not exchange.cut


CUT = {
    "counted": ("HTTP/1.1 200 OK\nContent-Length: 9\n\n123", "closed the connection too early"),
    "in chunks": (
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\n123\n",
        "closed the connection too early",
    ),
    "no chunk": ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nx\n", "makes no sense in HTTP"),
    "a chunk that does not end": (
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3\n1234\n", "makes no sense in HTTP",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "words"), CUT.values(), ids=CUT)
def test_an_answer_that_is_cut_short_is_no_answer(said: str, words: str) -> None:
    _, exchange = begin(crlf(get()))
    assert failure(exchange, crlf(said)) == f"a port 80 {words}"
    told = drain(exchange.data_to_send)
    assert told.startswith(b"HTTP/1.1 200 OK\r\n")
    assert not told.endswith(b"0\r\n\r\n")
    assert b"502" not in told
    assert exchange.cut


def test_a_head_is_not_answered_with_a_body() -> None:
    _, exchange = begin(crlf("HEAD http://a/ HTTP/1.1\nHost: x\n\n"))
    failure(exchange, b"")
    answer = crlf("HTTP/1.1 502 Bad Gateway\nConnection: close\nContent-Length: 0\n\n")
    assert drain(exchange.data_to_send) == answer


def test_an_origin_that_says_nothing_can_be_given_up() -> None:
    proxy, exchange = begin(crlf(get()))
    exchange.fail(504, "a says nothing")
    assert drain(exchange.data_to_send).startswith(b"HTTP/1.1 504 Gateway Timeout\r\n")
    proxy.resume()
    assert proxy.over


@pytest.mark.parametrize(
    ("body", "words"),
    [("3\nabc\n", "closed the connection too early"), ("x\n", "makes no sense in HTTP")],
)
def test_a_request_that_is_cut_short_is_refused(body: str, words: str) -> None:
    _, exchange = begin(crlf("POST http://a/ HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n"))
    with pytest.raises(ProtocolError) as caught:
        receive_all(exchange, crlf(body))
    assert str(caught.value) == words
    assert drain(exchange.data_to_send).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert not drain(exchange.data_received).endswith(b"0\r\n\r\n")


def receive_all(exchange: Exchange, said: bytes) -> None:
    exchange.receive(said)
    exchange.receive_end()


# --- as a stage ---


def fill(sink: Sink, piece: bytes) -> int:
    """Bytes that go in until it takes no more."""
    taken = 0
    with suppress(WouldBlock):
        while taken < 10 * HIGH_WATER:
            taken += sink.write(piece)
    return taken


def test_nobody_can_fill_the_memory() -> None:
    _, exchange = begin(crlf("PUT http://a/ HTTP/1.1\nHost: x\nContent-Length: 99999999\n\n"))
    stage = Stage(exchange)
    piece = bytes(PIECE)
    assert fill(stage.wire.sink, piece) <= HIGH_WATER + len(piece)
    assert stage.plain.source.backlog <= HIGH_WATER + len(piece)
    stage.plain.sink.write(crlf("HTTP/1.1 200 OK\n\n"))
    assert fill(stage.plain.sink, piece) <= HIGH_WATER + len(piece)
    assert stage.wire.source.backlog <= HIGH_WATER + 2 * len(piece)


def test_nobody_can_fill_the_memory_with_further_requests() -> None:
    _, exchange = begin(crlf(get()))
    piece = crlf(get()) * 100
    assert fill(Stage(exchange).wire.sink, piece) <= HIGH_WATER + len(piece) + PIECE


class Over(NamedTuple):
    """A task: waits for a flow."""

    flow: Flow
    changed: Condition

    def advance(self) -> bool:
        if not self.flow.over:
            raise WouldBlock(condition=self.changed)
        return False


def lead(
    loop: Loop, proxy: HttpProxy, client: tuple[Source, Sink], origin: tuple[Source, Sink]
) -> None:
    """One exchange, as HttpProxy's head says."""
    stage, changed = Stage(granted(proxy)), Condition()
    up = Flow(client[0], stage.wire.sink, loop.clock, changed)
    down = Flow(stage.wire.source, client[1], loop.clock, changed, end=lambda: None)
    there = Flow(stage.plain.source, origin[1], loop.clock, changed)
    back = Flow(origin[0], stage.plain.sink, loop.clock, changed)
    for flow in (up, down, there, back):
        loop.spawn(flow)
    loop.run(Over(down, changed))
    up.stop()
    loop.wake(up)
    loop.run(Over(up, changed))
    loop.cancel(back)
    assert not any(flow.error for flow in (up, down, there, back))
    proxy.resume()


@pytest.mark.parametrize("chunked", [True, False], ids=["in chunks", "counted"])
def test_two_exchanges_pass_a_proxy_with_all_their_bytes(chunked: bool) -> None:
    """Both requests at once; the answers are longer, and so are not over before the requests."""
    there, back = random.Random(1).randbytes(1_000_000), random.Random(2).randbytes(2_000_000)
    request = framed(b"POST http://a/ HTTP/1.1\r\nHost: a\r\n", there, chunked)
    response = framed(b"HTTP/1.1 200 OK\r\n", back, chunked)
    source, told = Given(request * 2), Record()
    proxy = HttpProxy()
    proxy.receive(source.read(1000))
    with Loop() as loop:
        for _ in range(2):
            at_origin = Record()
            lead(loop, proxy, (source, told), (Given(response), at_origin))
            assert unframed(at_origin.data) == there
    first, second = told.data[: len(told.data) // 2], told.data[len(told.data) // 2 :]
    assert first == second
    assert unframed(first) == back


def framed(head: bytes, body: bytes, chunked: bool) -> bytes:
    if chunked:
        start = b"%bTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (head, len(body))
        return start + body + b"\r\n0\r\n\r\n"
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


# --- anything at all ---

PARTS = [
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\r\n\r\n", b"\r\n", b"Content-Length: 2\r\n", b"xx"),
    *(b"Transfer-Encoding: chunked\r\n", b"2\r\nxx\r\n", b"0\r\n\r\n", b"Connection: close\r\n"),
    *(crlf(get()), crlf(ANSWER), crlf("HTTP/1.1 204 No\nContent-Length: 1\n\n")),
]
ASKED = [
    *(crlf(get()), crlf(get(version="1.0")), crlf("HEAD http://a/ HTTP/1.1\nHost: x\n\n")),
    crlf("PUT http://a/ HTTP/1.1\nHost: x\nContent-Length: 9\n\n"),
    crlf("PUT http://a/ HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n"),
]
STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from(PARTS) | st.binary(max_size=10)))


@settings(deadline=None)
@given(st.sampled_from(ASKED), STEPS, st.booleans())
def test_anything_ends_in_a_state_or_an_error(
    asked: bytes, steps: list[tuple[bool, bytes]], client_ends: bool
) -> None:
    proxy, exchange = begin(asked)
    with suppress(ProtocolError):
        for from_client, piece in steps:
            (exchange.receive if from_client else exchange.send)(piece)
        (exchange.receive_end if client_ends else exchange.send_end)()
        if not client_ends:
            assert exchange.over
        if exchange.over:
            proxy.resume()
    told, said = drain(exchange.data_to_send), sum(len(piece) for _, piece in steps)
    assert len(told) <= 300 + 20 * said
    assert len(drain(exchange.data_received)) <= 300 + 20 * said
    proxy.refuse(504)
    assert proxy.over
