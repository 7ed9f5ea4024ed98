"""pync as a proxy: what it tells clients who cannot have what they want, or who must say who they
are."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from gateway_talk import (
    ASKING,
    KINDS,
    NOWHERE,
    Message,
    Origin,
    accept,
    connect_request,
    crlf,
    dial,
    drain_to_any_end,
    port_of,
    read_grant,
    read_message,
    receive,
    serving,
    socks4_request,
    socks4a_request,
    socks5_request,
    target,
)
from harness import Program, free_port, full_backlog
from plain_peer import HERE, complaints, drain, silent
from socks_scripts import message

Proxies = dict[str, Program]


@pytest.fixture(scope="module", autouse=True)
def proxies() -> Iterator[Proxies]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(serving(kind, "-w", "0.5")) for kind in KINDS}


def answer(pync: Program, request: bytes) -> bytes:
    """All that a client is told who says that, up to the end, which comes in order."""
    with dial(pync.port) as client:
        client.sendall(request)
        told = drain(client)
        name = "{} port {}".format(*client.getsockname())
    pync.expect(rf"pync: client {name}: .*\n")  # and a person is told as well
    return told


def http_answer(pync: Program, request: str) -> Message:
    with dial(pync.port) as client, client.makefile("rb") as stream:
        client.sendall(crlf(request))
        told = read_message(stream)
        assert stream.read() == b""
    return told


# What cannot be reached.

REFUSED = {  # (kind, host): what it is told of a port where nobody listens
    "http": b"HTTP/1.1 502 ",
    "socks4": message("00 5b"),
    "socks4a": message("00 5b"),
    "socks5": message("05 00 05 05 00 01"),
}
UNKNOWN = {**REFUSED, "socks5": message("05 00 05 04 00 01")}
SLOW = {**REFUSED, "socks5": message("05 00 05 06 00 01"), "http": b"HTTP/1.1 504 "}


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_that_refuses(kind: str, proxies: Proxies) -> None:
    host = "localhost" if kind == "socks4a" else HERE
    assert answer(proxies[kind], ASKING[kind](host, free_port())).startswith(REFUSED[kind])


@pytest.mark.parametrize("kind", ["http", "socks4a", "socks5"])
@pytest.mark.parametrize("name", [NOWHERE, "a..b", "x" * 64])
def test_a_name_that_nobody_has(kind: str, name: str, proxies: Proxies) -> None:
    assert answer(proxies[kind], ASKING[kind](name, 80)).startswith(UNKNOWN[kind])


@pytest.mark.parametrize("kind", ["http", "socks4", "socks5"])
def test_a_target_that_does_not_answer(kind: str, proxies: Proxies) -> None:
    with full_backlog() as port:
        assert answer(proxies[kind], ASKING[kind](HERE, port)).startswith(SLOW[kind])


def body_of(pync: Program, request: str) -> tuple[int, str]:
    told = http_answer(pync, request)
    return told.status, told.body.decode()


def test_a_web_client_is_told_the_reason_in_a_line() -> None:
    """As it stands on stderr."""
    with serving("http", "-w", "0.5", "--proxy-allow", HERE) as pync, target() as listener:
        get = f"GET http://{HERE}:{{}}/ HTTP/1.1\nHost: x\n\n".format
        connect = "CONNECT {}:{} HTTP/1.1\nHost: x\n\n".format
        port = free_port()
        refused = f"connect to {HERE} port {port} (tcp) failed: Connection refused\n"
        assert body_of(pync, get(port)) == body_of(pync, connect(HERE, port)) == (502, refused)
        with full_backlog() as port:
            slow = f"connect to {HERE} port {port} (tcp) failed: Connection timed out\n"
            assert body_of(pync, connect(HERE, port)) == (504, slow)
        denied = "--proxy-allow does not name 127.0.0.9 port 80\n"
        assert body_of(pync, connect("127.0.0.9", 80)) == (403, denied)
        port = port_of(listener)
        assert body_of(pync, get(port)) == (504, f"{HERE} port {port} does not answer\n")


# What makes no sense.

SOCKS5_REFUSALS = {
    "to bind": (socks5_request(HERE, 80, "02"), "05 00 05 07 00 01 00000000 0000"),
    "another command": (socks5_request(HERE, 80, "09"), "05 00 05 07 00 01 00000000 0000"),
    "another kind of address": (message("05 01 00 05 01 00 02"), "05 00 05 08 00 01 00000000 0000"),
    "a name with a zero": (socks5_request("a\0b", 80), "05 00 05 01 00 01 00000000 0000"),
    "an empty name": (socks5_request("", 80), "05 00 05 01 00 01 00000000 0000"),
    "a proof that nobody wants": (message("05 01 02"), "05 ff"),
    "no way at all": (message("05 00"), "05 ff"),
}
SOCKS4_REFUSALS = {
    "to bind": message("04 02 0050 7f000001 00"),
    "a name with a newline": socks4a_request("a\nb", 80),
    "an empty name": socks4a_request("", 80),
    "too long a user": message("04 01 0050 7f000001") + bytes(300).replace(b"\0", b"x"),
}


@pytest.mark.parametrize("name", SOCKS5_REFUSALS)
def test_what_socks5_has_no_answer_to(name: str, proxies: Proxies) -> None:
    request, told = SOCKS5_REFUSALS[name]
    assert answer(proxies["socks5"], request) == message(told)


@pytest.mark.parametrize("name", SOCKS4_REFUSALS)
def test_what_socks4_has_no_answer_to(name: str, proxies: Proxies) -> None:
    assert answer(proxies["socks4"], SOCKS4_REFUSALS[name]) == message("00 5b 0000 00000000")


@pytest.mark.parametrize(
    "request_line",
    [
        "nonsense",
        "GET / HTTP/1.1",
        "GET host:80 HTTP/1.1",
        "GET http://host:0/ HTTP/1.1",
        "GET http://host:70000/ HTTP/1.1",
        "GET http://host:x/ HTTP/1.1",
        "GET http://user@host/ HTTP/1.1",
        "GET https://host/ HTTP/1.1",
        "GET ftp://host/ HTTP/1.1",
        "GET http:/// HTTP/1.1",
        "CONNECT host HTTP/1.1",
        "CONNECT host: HTTP/1.1",
        "CONNECT http://host:80/ HTTP/1.1",
        "CONNECT :80 HTTP/1.1",
    ],
)
def test_what_http_has_no_answer_to(request_line: str, proxies: Proxies) -> None:
    told = http_answer(proxies["http"], f"{request_line}\nHost: host\n\n")
    assert (told.status, told.fields["connection"]) == (400, "close")


@pytest.mark.parametrize(
    ("said", "status"), [("nonsense\r\n\r\n", 502), ("", 502), ("HTTP/1.1 200 OK\r\n", 502)]
)
def test_an_origin_that_makes_no_sense(said: str, status: int, proxies: Proxies) -> None:
    with target() as listener, dial(proxies["http"].port) as client:
        client.sendall(crlf(f"GET http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\n\n"))
        with Origin(listener) as origin:
            origin.read()
            origin.say(said)
        with client.makefile("rb") as stream:
            assert read_message(stream).status == status
            assert stream.read() == b""


def test_an_origin_that_is_silent(proxies: Proxies) -> None:
    with target() as listener:
        place = f"http://{HERE}:{port_of(listener)}/"
        assert http_answer(proxies["http"], f"GET {place} HTTP/1.1\nHost: x\n\n").status == 504


def test_a_client_that_is_silent_in_the_middle_is_told_so(proxies: Proxies) -> None:
    """It is not the origin who is to blame."""
    with target() as listener:
        request = f"POST http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\nContent-Length: 10\n"
        for half in ("P", request, f"{request}\nhalf"):
            assert http_answer(proxies["http"], half).status == 408


def test_a_client_that_is_silent_from_the_beginning_is_told_nothing(proxies: Proxies) -> None:
    with dial(proxies["http"].port) as client:
        assert drain_to_any_end(client) == b""


def test_a_client_that_stops_in_the_middle_of_its_second_request_is_told_so(
    proxies: Proxies,
) -> None:
    with target() as listener, dial(proxies["http"].port) as client:
        client.sendall(crlf(f"GET http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\n\nGET "))
        with Origin(listener) as origin:
            origin.read()
            origin.say("HTTP/1.1 204 Nothing\n\n")
        with client.makefile("rb") as stream:
            assert [read_message(stream).status for _ in range(2)] == [204, 408]
            assert stream.read() == b""


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("TRACE http://host/ HTTP/1.1", 501),
        ("PRI * HTTP/2.0", 505),
        ("GET http://host/ HTTP/2.0", 505),
    ],
)
def test_what_is_not_done_for_anybody(request_line: str, status: int, proxies: Proxies) -> None:
    assert http_answer(proxies["http"], f"{request_line}\nHost: host\n\n").status == status


def test_a_client_may_ask_the_proxy_itself_and_then_a_target(proxies: Proxies) -> None:
    with target() as listener, dial(proxies["http"].port) as client:
        place = f"http://{HERE}:{port_of(listener)}/"
        for hops in (0, 1):
            request = f"OPTIONS {place} HTTP/1.1\nHost: x\nMax-Forwards: {hops}\n\n"
            client.sendall(crlf(request))
        with client.makefile("rb") as stream:
            assert "OPTIONS" in read_message(stream).fields["allow"]
            with Origin(listener) as origin:
                assert origin.read().fields["max-forwards"] == "0"
                origin.say("HTTP/1.1 204 Nothing\n\n")
                assert read_message(stream).status == 204


# Who may.

LOGINS = ["bob:secret", "bob:a:b", "böb:pässwörd", "bob: ", "b%40b:'\"\\", "bob:x" + "y" * 200]


def basic(login: str) -> str:
    return f"Proxy-Authorization: Basic {b64encode(login.encode()).decode()}\n"


def with_password(login: str) -> bytes:
    """What a client of a SOCKS5 proxy says before its request."""
    user, _, password = login.partition(":")
    fields = (text.encode() for text in (user, password))
    return message("05 01 02 01") + b"".join(bytes([len(field)]) + field for field in fields)


def tells_nothing(pync: Program, *secrets: str) -> bool:
    return not any(secret in pync.text() for secret in secrets)


@pytest.mark.parametrize("login", LOGINS)
def test_who_has_the_password_is_let_in(login: str) -> None:
    password = login.partition(":")[2]
    with target() as listener, ExitStack() as stack:
        socks, http = (
            stack.enter_context(serving(kind, "-v", "--proxy-auth", login))
            for kind in ("socks5", "http")
        )
        with dial(socks.port) as client:
            client.sendall(with_password(login))
            assert receive(client, 4) == message("05 02 01 00")
            client.sendall(socks5_request(HERE, port_of(listener))[3:])
            assert receive(client, 3) == message("05 00 00")
            accept(listener).close()
        with dial(http.port) as client:
            request = connect_request(HERE, port_of(listener))
            client.sendall(request.replace(b"\r\n\r\n", crlf(f"\n{basic(login)}\n")))
            read_grant("http", client)
            accept(listener).close()
        assert password == " " or (tells_nothing(socks, password) and tells_nothing(http, password))


def asked(pync: Program, request: str) -> Message:
    """As http_answer, of a client that could answer, and leaves."""
    with dial(pync.port) as client, client.makefile("rb") as stream:
        client.sendall(crlf(request))
        told = read_message(stream)
        assert silent(client, 0.1)
        client.shutdown(socket.SHUT_WR)
        assert stream.read() == b""
        name = "{} port {}".format(*client.getsockname())
    pync.expect(f"pync: client {name}: does not show valid credentials\n")
    return told


WRONG = ["bob:mistaken", "bob:", "bob:secre", "bob:secret ", "bobby:secret", ":secret"]


@pytest.fixture(scope="module", autouse=True)
def guarded() -> Iterator[Proxies]:
    """For bob, who has a secret."""
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(
                serving(kind, "-v", "-P", "bob", env={"PYNC_PROXY_PASSWORD": "secret"})
            )
            for kind in ("socks5", "http")
        }


@pytest.mark.parametrize("login", WRONG)
def test_who_has_another_is_not(login: str, guarded: Proxies) -> None:
    assert answer(guarded["socks5"], with_password(login)) == message("05 02 01 01")
    told = asked(guarded["http"], f"GET http://{HERE}/ HTTP/1.1\nHost: x\n{basic(login)}\n")
    assert told.status == 407
    assert tells_nothing(guarded["socks5"], "secre", "mistaken")
    assert tells_nothing(guarded["http"], "secre", "mistaken", basic(login).split()[-1])


def test_who_has_none_is_asked(guarded: Proxies) -> None:
    assert answer(guarded["socks5"], message("05 01 00")) == message("05 ff")
    for request in (f"GET http://{HERE}/", f"CONNECT {HERE}:80"):
        told = asked(guarded["http"], f"{request} HTTP/1.1\nHost: x\n\n")
        assert told.status == 407
        assert told.fields["proxy-authenticate"].startswith("Basic realm=")


def test_who_is_asked_may_answer_on_the_same_connection(guarded: Proxies) -> None:
    with target() as listener, dial(guarded["http"].port) as client:
        request = f"POST http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\nContent-Length: 3\n"
        with client.makefile("rb") as stream:
            for wrong in ("", basic("bob:mistaken")):
                client.sendall(crlf(f"{request}{wrong}\n") + b"abc")
                told = read_message(stream)
                assert (told.status, told.fields.get("connection")) == (407, None)
            client.sendall(crlf(f"{request}{basic('bob:secret')}\n") + b"abc")
            with Origin(listener) as origin:
                assert origin.read().body == b"abc"
                origin.say("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
            assert read_message(stream).body == b"ok"


@pytest.mark.parametrize("field", ["Basic", "Basic !", "Basic Ym9i", "Digest x", "Bearer c2VjcmV0"])
def test_a_proof_that_is_none(field: str, guarded: Proxies) -> None:
    request = f"CONNECT {HERE}:80 HTTP/1.1\nHost: x\nProxy-Authorization: {field}\n\n"
    assert asked(guarded["http"], request).status == 407


def test_the_password_does_not_go_on_to_the_origin(guarded: Proxies) -> None:
    with target() as listener, dial(guarded["http"].port) as client:
        head = f"GET http://{HERE}:{port_of(listener)}/ HTTP/1.1\nHost: x\n{basic('bob:secret')}\n"
        client.sendall(crlf(head))
        with Origin(listener) as origin:
            assert "proxy-authorization" not in origin.read().fields


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("socks4", "--proxy-auth", "bob:secret"), "no passwords"),
        (("4a", "--proxy-auth", "bob:secret"), "no passwords"),
        (("socks5", "-P", "bob"), "PYNC_PROXY_PASSWORD"),
        (("https",), "--ssl puts TLS in front"),
        (("gopher",), "--proxy-type"),
        (("socks5", "-u"), "--udp"),
    ],
)
def test_what_cannot_be_served_is_said_before_anybody_listens(
    options: tuple[str, ...], told: str
) -> None:
    command = ("-lkv", "--proxy-type", *options, HERE, "0")
    with Program.pync(*command, start_new_session=True) as pync:
        result = pync.finish()
    assert result.status == 2
    assert len(complaints(result)) == 1
    assert told in result.err
    assert "secret" not in result.err
    assert "Listening" not in result.err


def test_a_socks4_user_is_no_proof_and_no_trouble(proxies: Proxies) -> None:
    with target() as listener, dial(proxies["socks4"].port) as client:
        request = socks4_request(HERE, port_of(listener)).replace(b"me\0", b"b\xff\xc3\xb6b\0")
        client.sendall(request)
        read_grant("socks4", client)
        accept(listener).close()
