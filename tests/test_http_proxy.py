"""An HTTP proxy's side towards its client: what it takes, what it refuses and in which words, and
who may ask.

What is said is written with \\n for CR LF.
"""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from http_talk import EVERYTHING, SIZES, crlf, drain, feed, however_cut
from hypothesis import given, settings
from hypothesis import strategies as st

from pync.errors import ProtocolError
from pync.wire.http.heads import MOST_SKIPPED
from pync.wire.http.proxy import METHODS, MOST_ASKED, HttpProxy
from pync.wire.http.side import MOST_HEAD, PIECE

CONNECT = crlf("CONNECT example.org:443 HTTP/1.1\nHost: example.org:443\n\n")
GRANTED = crlf("HTTP/1.1 200 Connection established\n\n")


def refusal(status: str, why: str, *fields: str) -> bytes:
    """An answer that ends the connection."""
    more = "".join(f"{field}\n" for field in fields)
    head = crlf(
        f"HTTP/1.1 {status}\nConnection: close\nContent-Length: {len(why) + 1}\n"
        f"Content-Type: text/plain; charset=utf-8\n{more}\n"
    )
    return head + f"{why}\n".encode()


def failure(proxy: HttpProxy, said: bytes, size: int = EVERYTHING) -> str:
    """What is told of a client that says this, and nothing more."""
    with pytest.raises(ProtocolError) as caught:
        feed_all(proxy, said, size)
    assert proxy.over
    assert not proxy.established
    assert proxy.request is None
    return str(caught.value)


def feed_all(proxy: HttpProxy, said: bytes, size: int) -> None:
    feed(proxy.receive, said, size)
    proxy.receive_end()


# --- CONNECT ---

REQUESTS = {
    "curl": "CONNECT example.org:443 HTTP/1.1\nHost: example.org:443\nUser-Agent: curl/7.88.1\n"
    "Proxy-Connection: Keep-Alive\n\n",
    "another host in Host": "CONNECT example.org:443 HTTP/1.1\nHost: a.example\n\n",
    "an upgrade": "CONNECT example.org:443 HTTP/1.1\nHost: x\nUpgrade: h2c\n\n",
    "an empty body": "CONNECT example.org:443 HTTP/1.1\nHost: x\nContent-Length: 0\n\n",
}
OLD = {
    "nc and ncat": "CONNECT example.org:443 HTTP/1.0\n\n",
    "a length": "CONNECT example.org:443 HTTP/1.0\nContent-Length: 0\n\n",
}


@however_cut
@pytest.mark.parametrize("said", [*REQUESTS.values(), *OLD.values()], ids=[*REQUESTS, *OLD])
@pytest.mark.parametrize("behind", [b"", b"\x16\x03\x01", CONNECT, bytes(3 * PIECE)])
def test_what_is_behind_a_request_is_the_tunnels(said: str, size: int, behind: bytes) -> None:
    proxy = HttpProxy()
    feed(proxy.receive, crlf(said) + behind, size)
    assert proxy.request == ("CONNECT", "example.org", 443, None)
    assert (proxy.established, proxy.data_to_send(EVERYTHING)) == (False, b"")
    proxy.grant()
    close = b"Connection: close\r\n" if said in OLD.values() else b""
    assert drain(proxy.data_to_send, size) == GRANTED[:-2] + close + b"\r\n"
    proxy.receive(b"more")
    proxy.receive_end()
    assert (proxy.established, proxy.surplus, proxy.over) == (True, behind + b"more", False)


def test_a_client_may_end_before_its_tunnel_stands() -> None:
    proxy = HttpProxy()
    feed_all(proxy, CONNECT + b"all", 1)
    proxy.grant()
    assert drain(proxy.data_to_send) == GRANTED
    assert proxy.surplus == b"all"


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(403, "Forbidden"), (502, "Bad Gateway"), (504, "Gateway Timeout")],
)
def test_a_tunnel_can_be_refused(status: int, phrase: str) -> None:
    proxy = HttpProxy()
    proxy.receive(CONNECT + CONNECT)
    proxy.refuse(status, "it has\r\nno \u202eroute")
    why = "it has\\x0d\\x0ano \\u202eroute"
    assert drain(proxy.data_to_send) == refusal(f"{status} {phrase}", why)
    assert proxy.over
    proxy.receive(CONNECT)
    assert drain(proxy.data_to_send) == b""


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("[::1]:1", "::1", 1),
        ("[2001:DB8::127.0.0.1]:65535", "2001:DB8::127.0.0.1", 65535),
        ("127.0.0.1:080", "127.0.0.1", 80),
        ("_Svc-1.a.:80", "_Svc-1.a.", 80),
    ],
)
def test_host_and_port_are_read(target: str, host: str, port: int) -> None:
    proxy = HttpProxy()
    proxy.receive(crlf(f"CONNECT {target} HTTP/1.1\nHost: x\n\n"))
    assert proxy.request == ("CONNECT", host, port, None)


# --- what makes no sense ---

NO_AUTHORITY = [
    *["/", "*", "a", "a:", ":80", "a:0", "a:65536", "a:123456", "a:+1", "a:1x", "a:80/", "a:80:80"],
    *["u@a:80", "u:p@a:80", "http://a:80", "http://a/", "[::1]", "::1:80", "[]:80", "[:]:80"],
    *["[a]:80", "[::1%25eth0]:80", "[::1]x:80", "a%41:80", "a,b:80", "a?b:80", "//a:80"],
]
NO_URI = [
    *["/", "*", "a", "a:80", "/index.html", "//a/", "https://a/", "ftp://a/", "httpx://a/"],
    *["http:", "http:a", "http:/a", "http://", "http:///", "http://:80/", "http://a:0/"],
    *["http://a:65536/", "http://a:x/", "http://u@a/", "http://u:p@a/", "http://a/#b", "http://a#"],
    *["http://[::1/", "http://::1/", "http://[::1%25x]/", "http://a%41/", "http://a\\/"],
    *["http://a,b/", "http://a:1:2/", "http://[a:80]/", "http://[::g]/"],
]


@pytest.mark.parametrize("target", NO_AUTHORITY)
def test_what_is_no_authority_is_refused(target: str) -> None:
    proxy = HttpProxy()
    words = failure(proxy, crlf(f"CONNECT {target} HTTP/1.1\nHost: x\n\n"))
    why = "no such port" if target in ("a:0", "a:65536") else "CONNECT wants host:port"
    assert words == f"asks for {target.rpartition('@')[2]!r}: {why}"
    assert drain(proxy.data_to_send) == refusal("400 Bad Request", why)


@pytest.mark.parametrize("target", NO_URI)
def test_what_is_no_uri_is_refused(target: str) -> None:
    proxy = HttpProxy()
    words = failure(proxy, crlf(f"GET {target} HTTP/1.1\nHost: x\n\n"))
    out_of_range = target in ("http://a:0/", "http://a:65536/")
    why = "no such port" if out_of_range else "a proxy wants http://host/path"
    assert words == f"asks for {target.rpartition('@')[2]!r}: {why}"
    assert drain(proxy.data_to_send) == refusal("400 Bad Request", why)


GET = "GET http://a/ HTTP/1.1\n"
BAD_REQUEST = ("400 Bad Request", "Bad Request")
TOO_LONG = ("431 Request Header Fields Too Large", "Request Header Fields Too Large")
NONSENSE = {
    "no host": (f"{GET}\n", *BAD_REQUEST),
    "two hosts": (f"{GET}Host: a\nHost: a\n\n", *BAD_REQUEST),
    "two lengths": (f"{GET}Host: a\nContent-Length: 1\nContent-Length: 2\n\n", *BAD_REQUEST),
    "no length": (f"{GET}Host: a\nContent-Length: x\n\n", *BAD_REQUEST),
    "a name with a space": (f"{GET}Host: a\nX : y\n\n", *BAD_REQUEST),
    "no name": (f"{GET}Host: a\n: y\n\n", *BAD_REQUEST),
    "no request": ("\n", *BAD_REQUEST),
    "no version": ("GET http://a/\n\n", *BAD_REQUEST),
    "a space too many": ("GET  http://a/ HTTP/1.1\nHost: a\n\n", *BAD_REQUEST),
    "tls": ("\x16\x03\x01\x02\n", *BAD_REQUEST),
    "socks": ("\x05\x01", *BAD_REQUEST),
    "coding": (f"{GET}Host: a\nTransfer-Encoding: gzip, chunked\n\n",
               "501 Not Implemented", "Not Implemented"),
    "a long line": ("GET /" + "x" * (MOST_HEAD + PIECE), *TOO_LONG),
    "many fields": (GET + "X: y\n" * (MOST_HEAD // 4), *TOO_LONG),
}  # fmt: skip


@pytest.mark.parametrize("size", [1000, EVERYTHING])
@pytest.mark.parametrize(("said", "status", "why"), NONSENSE.values(), ids=NONSENSE)
def test_what_is_no_http_is_refused(said: str, status: str, why: str, size: int) -> None:
    proxy = HttpProxy()
    assert failure(proxy, crlf(said), size) == "makes no sense in HTTP"
    assert drain(proxy.data_to_send) == refusal(status, why)
    with pytest.raises(ProtocolError, match="makes no sense in HTTP"):
        proxy.receive(CONNECT)
    assert drain(proxy.data_to_send) == b""


POST = "POST http://a/ HTTP/1.1\nHost: a\n"
LENGTHS = {
    "counted and in chunks": f"{POST}Content-Length: 3\nTransfer-Encoding: chunked\n\n",
    "chunks before there were any": f"{POST}Transfer-Encoding: chunked\n\n".replace("1.1", "1.0"),
    "counted for CONNECT": "CONNECT a:1 HTTP/1.1\nHost: a\nContent-Length: 3\n\n",
    "in chunks for CONNECT": "CONNECT a:1 HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n",
}


@pytest.mark.parametrize("said", LENGTHS.values(), ids=LENGTHS)
def test_a_body_of_which_two_might_think_differently_is_refused(said: str) -> None:
    proxy = HttpProxy()
    words = failure(proxy, crlf(said) + b"0\r\n\r\n")
    assert re.search(": (nobody can say how long its body is|CONNECT has no body)$", words)
    assert drain(proxy.data_to_send).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("PRI * HTTP/2.0\n\nSM\n\n", "2.0"),
        ("GET http://a/ HTTP/2.0\nHost: a\n\n", "2.0"),
        ("CONNECT a:1 HTTP/3.0\n\n", "3.0"),
    ],
)
def test_another_http_is_not_supported(said: str, version: str, check: bool) -> None:
    proxy = HttpProxy(is_aladdin if check else None)
    assert failure(proxy, crlf(said)) == f"speaks HTTP/{version}"
    told = refusal("505 HTTP Version Not Supported", "HTTP/1.1 is spoken here")
    assert drain(proxy.data_to_send) == told


@pytest.mark.parametrize("fields", ["", "Max-Forwards: 0\n", "Max-Forwards: 3\n"])
def test_trace_is_not_passed_on(fields: str) -> None:
    proxy = HttpProxy()
    said = crlf(f"TRACE http://a/ HTTP/1.1\nHost: a\nCookie: secret\n{fields}\n")
    assert failure(proxy, said) == "asks for TRACE"
    assert drain(proxy.data_to_send) == refusal("501 Not Implemented", "TRACE is not passed on")


OPTIONS = crlf("HTTP/1.1 200 OK\n") + b"Allow: %b\r\nContent-Length: 0\r\n" % METHODS


@however_cut
@pytest.mark.parametrize("target", ["*", "http://a/", "http://a"])
def test_options_are_told_here_if_they_may_go_no_further(target: str, size: int) -> None:
    """And the client may ask for something else."""
    proxy = HttpProxy()
    said = f"OPTIONS {target} HTTP/1.1\nHost: a\nMax-Forwards: 0\nContent-Length: 3\n\nabc"
    feed(proxy.receive, crlf(said) * 2 + CONNECT, size)
    assert drain(proxy.data_to_send) == (OPTIONS + b"\r\n") * 2
    assert proxy.request


@pytest.mark.parametrize("fields", ["Connection: close\n", "Transfer-Encoding: chunked\n"])
def test_options_may_be_the_last_thing_that_is_asked_for(fields: str) -> None:
    proxy = HttpProxy()
    proxy.receive(crlf(f"OPTIONS * HTTP/1.1\nHost: a\nMax-Forwards: 0\n{fields}\n"))
    assert drain(proxy.data_to_send).lower() == (OPTIONS + b"Connection: close\r\n\r\n").lower()
    assert (proxy.over, proxy.failure) == (True, None)


@pytest.mark.parametrize(
    ("method", "given", "passed"),
    [
        ("OPTIONS", ["5"], ["4"]),
        ("OPTIONS", ["010"], ["9"]),
        ("OPTIONS", [], []),
        ("GET", ["5"], ["5"]),
        ("GET", ["0"], ["0"]),
        ("GET", ["x"], ["x"]),
    ],
)
def test_hops_are_counted_where_that_means_something(
    method: str, given: list[str], passed: list[str]
) -> None:
    proxy = HttpProxy()
    fields = "".join(f"Max-Forwards: {value}\n" for value in given)
    proxy.receive(crlf(f"{method} http://a/ HTTP/1.1\nHost: a\n{fields}\n"))
    assert proxy.request
    assert proxy.request.head
    found = [value for name, value in proxy.request.head.headers if name == b"max-forwards"]
    assert [value.decode() for value in found] == passed


@pytest.mark.parametrize("fields", ["x", "-1", "1.0", "", "1" * 5000, "1\nMax-Forwards: 1"])
def test_what_is_no_number_of_hops_is_refused(fields: str) -> None:
    proxy = HttpProxy()
    words = failure(proxy, crlf(f"OPTIONS http://a/ HTTP/1.1\nHost: a\nMax-Forwards: {fields}\n\n"))
    assert words == "asks for 'http://a/': Max-Forwards is no number"


def test_head_is_refused_without_a_body() -> None:
    proxy = HttpProxy()
    failure(proxy, crlf("HEAD / HTTP/1.1\nHost: a\n\n"))
    answer = crlf("HTTP/1.1 400 Bad Request\nConnection: close\nContent-Length: 0\n\n")
    assert drain(proxy.data_to_send) == answer


def test_a_client_that_goes_away_is_told_if_it_has_begun() -> None:
    for kept in range(1, len(CONNECT)):
        assert failure(HttpProxy(), CONNECT[:kept]) == "closed the connection too early"
    proxy = HttpProxy()
    proxy.receive_end()
    assert (proxy.over, proxy.data_to_send(EVERYTHING)) == (True, b"")


@pytest.mark.parametrize("before", [b"", CONNECT])
def test_a_client_that_stops_in_the_middle_is_told_so(before: bytes) -> None:
    """Also on a connection on which it has been asked who it is."""
    for kept in range(1, len(CONNECT)):
        proxy = HttpProxy(is_aladdin)
        proxy.receive(before + CONNECT[:kept])
        drain(proxy.data_to_send)
        with pytest.raises(ProtocolError, match=r"^timed out in the middle of a request$"):
            proxy.late()
        told = refusal("408 Request Timeout", "Request Timeout")
        assert (drain(proxy.data_to_send), proxy.over) == (told, True)


@pytest.mark.parametrize("before", [b"", CONNECT])
def test_a_client_that_does_not_begin_is_told_nothing(before: bytes) -> None:
    proxy = HttpProxy(is_aladdin)
    proxy.receive(before)
    drain(proxy.data_to_send)
    proxy.late()
    assert drain(proxy.data_to_send) == b""


def test_no_message_shows_more_than_it_should() -> None:
    long = "http://a:0/" + "x" * 1000
    words = failure(HttpProxy(), crlf(f"GET {long} HTTP/1.1\nHost: a\n\n"))
    assert words == f"asks for {long[:80]!r}: no such port"


# --- who may ask ---

DEMAND = 'Proxy-Authenticate: Basic realm="pync", charset="UTF-8"'
PHRASE = "Proxy Authentication Required"
KNOWN = "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\n"
UNKNOWN = {
    "none": "",
    "a wrong password": "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZT8=\n",
    "for the origin": "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\n",
    "another scheme": "Proxy-Authorization: Digest QWxhZGRpbjpvcGVuIHNlc2FtZQ==\n",
    "nonsense": "Proxy-Authorization: Basic !\n",
    "two": "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\n" * 2,
}


ASKED = refusal(f"407 {PHRASE}", PHRASE, DEMAND).replace(b"Connection: close\r\n", b"")


def is_aladdin(user: str, password: str) -> bool:
    return (user, password) == ("Aladdin", "open sesame")


@pytest.mark.parametrize("request_line", ["CONNECT a:1 HTTP/1.1", "GET http://a/ HTTP/1.1"])
@pytest.mark.parametrize("field", UNKNOWN.values(), ids=UNKNOWN)
def test_who_is_not_known_is_asked(request_line: str, field: str) -> None:
    """And may answer on the same connection."""
    proxy = HttpProxy(is_aladdin)
    proxy.receive(crlf(f"{request_line}\nHost: a\n{field}\n"))
    assert (proxy.request, proxy.over) == (None, False)
    assert drain(proxy.data_to_send) == ASKED
    proxy.receive(crlf(f"{request_line}\nHost: a\n{KNOWN}\n"))
    assert proxy.request
    assert drain(proxy.data_to_send) == b""


@pytest.mark.parametrize("target", ["/", "ftp://a/", "http://a:0/", "http://u@a/"])
def test_who_is_not_known_is_not_told_what_there_is(target: str) -> None:
    for request_line in (f"GET {target} HTTP/1.1", f"CONNECT {target} HTTP/1.1"):
        proxy = HttpProxy(is_aladdin)
        proxy.receive(crlf(f"{request_line}\nHost: a\n\n"))
        assert drain(proxy.data_to_send) == ASKED


@however_cut
def test_a_body_that_comes_before_the_answer_is_skipped(size: int) -> None:
    proxy = HttpProxy(is_aladdin)
    behind = crlf(f"GET http://a/ HTTP/1.1\nHost: a\n{KNOWN}\n")
    length = f"Content-Length: {len(behind)}\n"
    feed(proxy.receive, crlf(f"{POST}{length}\n") + behind, size)
    assert (proxy.request, proxy.over) == (None, False)
    feed(proxy.receive, crlf(f"{POST}{length}{KNOWN}\n"), size)
    assert proxy.request
    assert proxy.request.method == "POST"
    assert drain(proxy.data_to_send) == ASKED


CLOSED = {
    "too long a body": f"{POST}Content-Length: {MOST_SKIPPED + 1}\n\n",
    "a body that may have no end": f"{POST}Transfer-Encoding: chunked\n\n",
    "a body that may not come": f"{POST}Content-Length: 3\nExpect: 100-continue\n\n",
    "a body that should not be": "CONNECT a:1 HTTP/1.1\nHost: a\nContent-Length: 3\n\n",
    "a wish to close": "GET http://a/ HTTP/1.1\nHost: a\nConnection: close\n\n",
    "a client of old": "GET http://a/ HTTP/1.0\n\n",
}


@pytest.mark.parametrize("said", CLOSED.values(), ids=CLOSED)
def test_where_the_answer_cannot_come_on_the_same_connection_that_is_closed(said: str) -> None:
    proxy = HttpProxy(is_aladdin)
    assert failure(proxy, crlf(said)) == "does not show valid credentials"
    asked = drain(proxy.data_to_send)
    assert asked.startswith(f"HTTP/1.1 407 {PHRASE}\r\n".encode())
    assert b"connection: close\r\n" in asked.lower()


def test_who_does_not_answer_is_told_of() -> None:
    proxy = HttpProxy(is_aladdin)
    feed_all(proxy, CONNECT, EVERYTHING)
    assert proxy.over
    assert str(proxy.failure) == "does not show valid credentials"
    assert drain(proxy.data_to_send) == ASKED


def test_nobody_is_asked_for_ever() -> None:
    proxy = HttpProxy(is_aladdin)
    assert failure(proxy, CONNECT * 2 * MOST_ASKED) == "does not show valid credentials"
    asked = drain(proxy.data_to_send)
    assert asked == ASKED * (MOST_ASKED - 1) + refusal(f"407 {PHRASE}", PHRASE, DEMAND)


@pytest.mark.parametrize("check", [is_aladdin, None])
def test_who_is_known_may_ask(check: object) -> None:
    proxy = HttpProxy(is_aladdin if check else None)
    field = b"proxy-authorization: basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"
    proxy.receive(CONNECT[:-2] + field + b"\r\n")
    assert proxy.request


# --- anything at all ---

PARTS = [
    *(b"GET http://a/ HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n"),
    *(b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"),
    *(b"Connection: close\r\n", b"Upgrade: x\r\n", b"HTTP/1.0\r\n", b"http://a/", b"HEAD ", b"xx"),
    CONNECT,
]
WORDS = st.lists(st.sampled_from(PARTS) | st.binary(max_size=10))


@settings(deadline=None)
@given(WORDS, st.booleans())
def test_anything_ends_in_a_state_or_an_error(pieces: list[bytes], ends: bool) -> None:
    proxy = HttpProxy()
    with suppress(ProtocolError):
        for piece in pieces:
            proxy.receive(piece)
        if ends:
            proxy.receive_end()
            assert proxy.request or proxy.over
    proxy.refuse(502)
    assert proxy.over


@settings(deadline=None)
@given(WORDS.map(b"".join))
def test_it_is_the_same_however_it_is_cut(said: bytes) -> None:
    assert len({outcome(said, size) for size in (*SIZES.values(), 7)}) == 1


def outcome(said: bytes, size: int) -> tuple[str, bytes]:
    proxy = HttpProxy()
    words = ""
    try:
        feed(proxy.receive, said, size)
    except ProtocolError as error:
        words = str(error)
    assert words.isprintable()
    if proxy.request:
        proxy.grant()
    return f"{words} {proxy.request}", drain(proxy.data_to_send) + proxy.surplus
