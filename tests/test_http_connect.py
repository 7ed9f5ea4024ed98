"""Through an HTTP proxy: whole conversations, in the shapes that real proxies give them, and what
becomes of each when the proxy says no, wants to know who asks, or says something else.

What a proxy says is written with \\n for CR LF.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress

import pytest
from http_talk import EVERYTHING, SIZES, crlf, drain, feed, however_cut
from hypothesis import given, settings
from hypothesis import strategies as st

from pync.errors import ProtocolError, UsageError
from pync.wire.http.auth import AuthenticationNeeded, Challenge, Credentials
from pync.wire.http.connect import MOST, Connect
from pync.wire.http.proxy import HttpProxy

PROXY = "127.0.0.1 port 3128"
HOST, PORT = "example.org", 80
WE = Credentials("Aladdin", "open sesame")

REQUEST = crlf("CONNECT example.org:80 HTTP/1.1\nHost: example.org:80\n\n")
WITH_BASIC = REQUEST[:-2] + b"Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
OK = crlf("HTTP/1.1 200 OK\n\n")


def connect(credentials: Credentials | None = None, challenge: Challenge | None = None) -> Connect:
    """A dialogue whose first request is out."""
    dialogue = Connect(PROXY, HOST, PORT, credentials, challenge)
    asked = drain(dialogue.data_to_send)
    assert asked.startswith(REQUEST[:-2])
    return dialogue


def outcome(dialogue: Connect, data: bytes, size: int = EVERYTHING) -> str:
    """What the bytes lead to: a state, or the words of an error."""
    try:
        feed(dialogue.receive, data, size)
    except ProtocolError as error:
        return str(error).removeprefix(f"proxy {PROXY} ")
    return "established" if dialogue.established else "going on"


def feed_all(dialogue: Connect, data: bytes) -> None:
    """All that the proxy ever says."""
    feed(dialogue.receive, data, 1000)
    dialogue.receive_end()


# --- what is asked for ---


@pytest.mark.parametrize(
    ("host", "port", "target"),
    [
        ("example.org", 80, b"example.org:80"),
        ("Example.ORG.", 65535, b"Example.ORG.:65535"),
        ("_a-1", 1, b"_a-1:1"),
        ("127.0.0.1", 443, b"127.0.0.1:443"),
        ("::1", 80, b"[::1]:80"),
        ("2001:DB8::127.0.0.1", 80, b"[2001:DB8::127.0.0.1]:80"),
        ("b\xfccher.example", 80, b"xn--bcher-kva.example:80"),
    ],
)
def test_a_proxy_is_asked_for_host_and_port(host: str, port: int, target: bytes) -> None:
    asked = drain(Connect(PROXY, host, port).data_to_send, 1)
    assert asked == b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, target)


@pytest.mark.parametrize(
    "host",
    [
        *["", " ", "a b", "a\r\nX: y", "a\n", "a\0b", "a\tb", "a:80", "[::1]", "::1]", "a/b"],
        *["a@b", "a?b", "a#b", "a%00", "fe80::1%eth0", ":", "\u2028", "b\xfc cher", "\udcff"],
        "\xe9" * 99,
    ],
)
def test_what_is_no_host_is_a_mistake(host: str) -> None:
    with pytest.raises(UsageError, match="nothing that an HTTP proxy can be asked for"):
        Connect(PROXY, host, 80)


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_what_is_no_port_is_a_mistake(port: int) -> None:
    with pytest.raises(UsageError):
        Connect(PROXY, "a", port)


def test_credentials_that_cannot_be_are_a_mistake() -> None:
    with pytest.raises(UsageError, match="colon"):
        Connect(PROXY, "a", 80, Credentials("a:b", "c"))


@settings(deadline=None)
@given(st.text(max_size=20))
def test_no_host_can_say_more_than_a_host(host: str) -> None:
    with suppress(UsageError):
        asked = drain(Connect(PROXY, host, 80).data_to_send)
        assert re.fullmatch(rb"CONNECT (\S+:80) HTTP/1\.1\r\nHost: \1\r\n\r\n", asked)


# --- yes ---

YES = {
    "squid": "HTTP/1.1 200 Connection established\n\n",
    "tinyproxy": "HTTP/1.0 200 Connection established\nProxy-agent: tinyproxy/1.11.1\n\n",
    "ncat": "HTTP/1.0 200 OK\n\n",
    "no reason": "HTTP/1.0 200\n\n",
    "other successes": "HTTP/1.1 204 No Content\n\n",
    "a length": "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
    "chunks": "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n",
    "an end": "HTTP/1.1 200 OK\nConnection: close\n\n",
    "news before": "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Hints\nLink: x\n\nHTTP/1.1 200 OK\n\n",
}
each_yes = pytest.mark.parametrize("said", [crlf(said) for said in YES.values()], ids=YES)


@each_yes
@however_cut
@pytest.mark.parametrize("behind", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 407 No\r\n\r\n", bytes(MOST)])
def test_what_is_behind_a_yes_is_the_tunnels(said: bytes, size: int, behind: bytes) -> None:
    dialogue = connect()
    feed(dialogue.receive, said + behind, size)
    assert dialogue.established
    assert dialogue.surplus == behind
    assert dialogue.data_to_send(EVERYTHING) == b""
    dialogue.receive_end()


@each_yes
def test_nothing_short_of_it_is_a_yes(said: bytes) -> None:
    dialogue = connect()
    feed(dialogue.receive, said[:-1], 1)
    assert not dialogue.established
    dialogue.receive(b"")
    dialogue.receive(memoryview(said[-1:]))
    assert dialogue.established
    assert dialogue.surplus == b""


def test_lines_may_end_without_a_carriage_return() -> None:
    assert outcome(connect(), b"HTTP/1.0 200 OK\n\nx") == "established"


# --- no ---

NONSENSE = "makes no sense as an HTTP proxy; its answer begins with "

NO = {
    "403": ("HTTP/1.1 403 Forbidden\n", "refuses to connect to example.org port 80: 403 Forbidden"),
    "502": ("HTTP/1.0 502\n", "refuses to connect to example.org port 80: 502"),
    "a redirection": (
        "HTTP/1.1 302 Found\nLocation: http://login/\nContent-Length: 0\n",
        "refuses to connect to example.org port 80: 302 Found",
    ),
    "a status of its own": (
        "HTTP/1.1 999 \n", "refuses to connect to example.org port 80: 999",
    ),
    "escapes": (
        "HTTP/1.1 500 \x1b[2J\x9b\xe9\n",
        "refuses to connect to example.org port 80: 500 \\x1b[2J\\x9b\xe9",
    ),
    "many words": (
        f"HTTP/1.1 500 {'x' * 999}\n",
        f"refuses to connect to example.org port 80: 500 {'x' * 80}",
    ),
    "who are you": (
        "HTTP/1.1 407 Who\nProxy-Authenticate: Basic\n", "wants a user and a password",
    ),
    "ssh": (
        "SSH-2.0-OpenSSH_9.2\n",
        f"{NONSENSE}'SSH-2.0-OpenSSH_9.2\\r\\n\\r\\n'",
    ),
    "socks": ("\x05\xff", f"{NONSENSE}'\\x05\xff\\r\\n'"),
    "a broken field": (
        "HTTP/1.1 200 OK\n:\n",
        f"{NONSENSE}'HTTP/1.1 200 OK\\r\\n:\\r\\n\\r\\n'",
    ),
    "nothing": ("", f"{NONSENSE}'\\r\\n'"),
    "another protocol": (
        "HTTP/1.1 101 Switch\nUpgrade: x\n",
        rf"{NONSENSE}'HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "words"), NO.values(), ids=NO)
def test_a_no_is_told_in_one_line(said: str, words: str) -> None:
    dialogue = connect()
    assert outcome(dialogue, crlf(said + "\n")) == words
    assert not dialogue.established
    for again in (OK, b"x"):
        assert outcome(dialogue, again) == words
    with pytest.raises(ProtocolError) as caught:
        dialogue.receive_end()
    assert str(caught.value) == f"proxy {PROXY} {words}"


@pytest.mark.parametrize("size", [1, 1000, EVERYTHING])
@pytest.mark.parametrize(
    ("start", "part"),
    [
        ("", "x"),
        ("HTTP/1.1 200 OK\n", "X: y\n"),
        ("HTTP/1.1 200 OK\nX: ", "y"),
        ("", "HTTP/1.1 100 Continue\n\n"),
    ],
)
def test_an_endless_answer_is_refused(start: str, part: str, size: int) -> None:
    dialogue = connect()
    said = (crlf(start) + crlf(part) * (MOST + 1))[: MOST + 1]
    assert outcome(dialogue, said[:MOST], size) == "going on"
    assert outcome(dialogue, said[MOST:]) == "says too much before it connects"


@each_yes
def test_a_proxy_that_goes_away_is_told(said: bytes) -> None:
    for kept in range(len(said)):
        dialogue = connect()
        dialogue.receive(said[:kept])
        began = f"; its answer begins with {said[:kept][:80].decode()!r}" if kept else ""
        with pytest.raises(ProtocolError) as caught:
            dialogue.receive_end()
        assert str(caught.value) == f"proxy {PROXY} closed the connection{began}"


# --- who are you ---


def demand(*challenges: str, rest: str = "Content-Length: 0\n\n") -> bytes:
    fields = "".join(f"Proxy-Authenticate: {challenge}\n" for challenge in challenges)
    return crlf(f"HTTP/1.1 407 Proxy Authentication Required\n{fields}{rest}")


KEPT = {
    "no body": "Content-Length: 0\n\n",
    "a body": "Content-Length: 6\nConnection: keep-alive\n\n<html>",
    "chunks": "Transfer-Encoding: chunked\n\n6;x=y\n<html>\n0\nX: y\n\n",
}
LEFT = {
    "it says so": "Connection: close\nContent-Length: 6\n\n",
    "the body ends so": "\n<html>",
    "a body without an end": f"Content-Length: {10 * MOST}\n\n" + "x" * 2 * MOST,
    "chunks without an end": "Transfer-Encoding: chunked\n\n" + "1\nx\n" * MOST,
    "it goes away": "Content-Length: 6\n\n<ht",
    "it goes away when it is asked again": "Content-Length: 0\n\n",
}


@however_cut
@pytest.mark.parametrize("rest", KEPT.values(), ids=KEPT)
def test_who_asks_is_told_on_the_same_connection(rest: str, size: int) -> None:
    dialogue = connect(WE)
    assert outcome(dialogue, demand("Basic realm=x", rest=rest), size) == "going on"
    assert drain(dialogue.data_to_send, 7) == WITH_BASIC
    assert outcome(dialogue, OK + b"SSH", size) == "established"
    assert dialogue.surplus == b"SSH"


@pytest.mark.parametrize("rest", LEFT.values(), ids=LEFT)
def test_who_asks_is_told_on_another_connection(rest: str) -> None:
    dialogue = connect(WE)
    with pytest.raises(AuthenticationNeeded) as caught:
        feed_all(dialogue, demand("Basic realm=x", rest=rest))
    words = f"proxy {PROXY} asks for credentials and closes the connection"
    assert str(caught.value) == words
    second = Connect(PROXY, HOST, PORT, WE, caught.value.challenge)
    assert drain(second.data_to_send) == WITH_BASIC
    assert outcome(second, OK) == "established"


def test_a_proxy_before_http_1_1_closes_the_connection() -> None:
    said = demand("Basic realm=x").replace(b"1.1", b"1.0")
    with pytest.raises(AuthenticationNeeded):
        connect(WE).receive(said)


def digest_is_right(request: bytes, algorithm: str = "md5", nonce: str = "n") -> bool:
    """Whether the request shows us by Digest, with the realm `r`."""
    given_ = dict(re.findall(r'(\w+)="?([^",\r]*)"?', request.decode()))

    def hashed(text: str) -> str:
        return hashlib.new(algorithm, text.encode()).hexdigest()

    secret = hashed(f"{WE.user}:r:{WE.password}")
    quality = f"{nonce}:00000001:{given_['cnonce']}:auth"
    expected = hashed(f"{secret}:{quality}:{hashed('CONNECT:example.org:80')}")
    return (given_["response"], given_["nonce"]) == (expected, nonce)


def digest(nonce: str = "n", more: str = "") -> str:
    return f'Digest realm="r", nonce="{nonce}", qop="auth"{more}'


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_proxy_is_shown_a_digest(algorithm: str) -> None:
    dialogue = connect(WE)
    weaker = [digest(), "Basic realm=x"] if algorithm == "sha256" else ["Basic realm=x"]
    more = f", algorithm={algorithm.replace('sha', 'SHA-').upper()}"
    dialogue.receive(demand(*weaker, digest(more=more)))
    request = drain(dialogue.data_to_send)
    assert digest_is_right(request, algorithm)
    assert WE.password.encode() not in request
    assert outcome(dialogue, OK) == "established"


def test_a_proxy_of_the_time_before_qop_is_shown_a_digest() -> None:
    """RFC 2069, to the last byte."""
    dialogue = connect(WE)
    dialogue.receive(demand("Digest realm=r, nonce=n, algorithm=MD5"))
    secret = hashlib.md5(b"Aladdin:r:open sesame").hexdigest()
    request = hashlib.md5(b"CONNECT:example.org:80").hexdigest()
    response = hashlib.md5(f"{secret}:n:{request}".encode()).hexdigest()
    told = (
        'Proxy-Authorization: Digest username="Aladdin", realm="r", nonce="n", '
        f'uri="example.org:80", response="{response}", algorithm=MD5\n\n'
    )
    assert drain(dialogue.data_to_send) == REQUEST[:-2] + crlf(told)


def test_a_nonce_that_has_become_stale_is_replaced_once() -> None:
    dialogue = connect(WE)
    dialogue.receive(demand(digest("one")))
    assert digest_is_right(drain(dialogue.data_to_send), nonce="one")
    dialogue.receive(demand(digest("two", ", stale=TRUE")))
    assert digest_is_right(drain(dialogue.data_to_send), nonce="two")
    again = demand(digest("three", ", stale=true"))
    assert outcome(dialogue, again) == "refuses these credentials"


def test_on_the_second_connection_too() -> None:
    dialogue = connect(WE, Challenge("digest", {"realm": b"r", "nonce": b"n"}))
    dialogue.receive(demand(digest("two", ", stale=true")))
    assert digest_is_right(drain(dialogue.data_to_send), nonce="two")
    assert outcome(dialogue, OK) == "established"


OTHERS = demand("Negotiate", "NTLM", "Digest realm=r, nonce=n, qop=auth-int")
AGAIN = {
    "the credentials are wrong": (demand("Basic"), "refuses these credentials"),
    "they are wrong, and it leaves": (
        demand("Basic", rest="Connection: close\n\n"), "refuses these credentials",
    ),
    "they are wrong by Digest": (
        demand(digest("two", ", stale=false")), "refuses these credentials",
    ),
    "it wants others": (OTHERS, "takes no credentials that pync can give: digest, negotiate, ntlm"),
    "it wants none": (demand(), "takes no credentials that pync can give: nothing"),
    "the target is wrong": (
        crlf("HTTP/1.1 403 No\n\n"), "refuses to connect to example.org port 80: 403 No",
    ),
    "it has become another": (b"220\n\n", f"{NONSENSE}'220\\n\\n'"),
}  # fmt: skip


@however_cut
@pytest.mark.parametrize(("said", "words"), AGAIN.values(), ids=AGAIN)
def test_a_no_to_credentials_is_told_in_one_line(said: bytes, words: str, size: int) -> None:
    first, second = connect(WE), connect(WE, Challenge("basic", {}))
    first.receive(demand("Basic"))
    drain(first.data_to_send)
    for dialogue in (first, second):
        assert outcome(dialogue, said, size) == words


@pytest.mark.parametrize("said", [b"", crlf("HTTP/1.1 200 OK\n"), b"x" * (MOST + 1)])
def test_a_second_connection_leads_to_no_third(said: bytes) -> None:
    dialogue = connect(WE, Challenge("basic", {}))
    with pytest.raises(ProtocolError) as caught:
        feed_all(dialogue, said)
    assert type(caught.value) is ProtocolError


def test_a_yes_that_comes_before_the_answer_is_a_yes() -> None:
    """What was to be asked is not said into the tunnel."""
    dialogue = connect(WE)
    dialogue.receive(demand("Basic") + OK)
    assert (dialogue.established, dialogue.data_to_send(EVERYTHING)) == (True, b"")


def test_no_message_shows_the_password() -> None:
    for said in (*(said for said, _ in AGAIN.values()), *(crlf(said) for said, _ in NO.values())):
        dialogue = connect(WE, Challenge("basic", {}))
        words = outcome(dialogue, said + b"\r\n\r\n")
        assert "sesame" not in words
        assert "QWxh" not in words
        assert "\n" not in words


# --- with our own proxy ---


@however_cut
def test_our_proxy_gives_us_a_tunnel(size: int) -> None:
    client, proxy = Connect(PROXY, "::1", 8080), HttpProxy()
    feed(proxy.receive, drain(client.data_to_send) + b"early", size)
    assert proxy.request
    assert (proxy.request.host, proxy.request.port) == ("::1", 8080)
    proxy.grant()
    feed(client.receive, drain(proxy.data_to_send) + b"hello", size)
    assert (proxy.established, proxy.surplus) == (True, b"early")
    assert (client.established, client.surplus) == (True, b"hello")


def test_our_proxy_is_told_who_asks() -> None:
    client, proxy = Connect(PROXY, HOST, PORT, WE), HttpProxy(lambda *who: who == WE)
    proxy.receive(drain(client.data_to_send))
    feed(client.receive, drain(proxy.data_to_send))
    proxy.receive(drain(client.data_to_send))
    proxy.grant()
    assert outcome(client, drain(proxy.data_to_send)) == "established"


# --- anything at all ---

PARTS = st.sampled_from(
    [b"HTTP/1.1 ", b"200", b"407 No\r\n", b"\r\n", b"\r\n\r\n", b"Content-Length: 2\r\n", b"xx",
     b"Proxy-Authenticate: Basic\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", OK,
     demand("Basic"), demand("Digest realm=r, nonce=n, qop=auth")]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40) | PARTS), st.booleans())
def test_anything_ends_in_a_state_or_an_error(pieces: list[bytes], ends: bool) -> None:
    dialogue = connect(WE)
    with suppress(ProtocolError):
        for piece in pieces:
            dialogue.receive(piece)
            drain(dialogue.data_to_send)
        if ends:
            dialogue.receive_end()
            assert dialogue.established


@settings(deadline=None)
@given(st.lists(PARTS | st.binary(max_size=4)).map(b"".join))
def test_it_is_the_same_however_it_is_cut(said: bytes) -> None:
    outcomes = set()
    for size in (*SIZES.values(), 7):
        dialogue = connect(WE)
        words = outcome(dialogue, said, size)
        assert words.isprintable()
        # How much of what is no HTTP has come when that shows, depends on the cut.
        outcomes.add((words.partition("; its answer begins")[0], dialogue.surplus))
    assert len(outcomes) == 1
