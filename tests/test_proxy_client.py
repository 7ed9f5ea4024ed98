"""pync on its way through proxies, which are played by hand."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

import pexpect
import pytest
from authority import Authority
from harness import PATIENCE, PIPE, PYNC, Program, free_port, needs_ipv6
from plain_peer import HERE, complaints, drain, reset, start
from plain_tls import PlainTls, server_context, tls_options
from proxy_scripts import (
    CONNECTED,
    IPV6,
    NAME,
    PASSWORD,
    PORT,
    REACHES,
    ROUTES,
    USER,
    Turns,
    accepted,
    asking,
    connect_request,
    hear,
    listening,
    play,
    port_of,
    socks4_request,
    socks5_request,
    through,
)
from socks_scripts import GRANTED_4, GRANTED_5, OPEN_DOOR, message

each_kind = pytest.mark.parametrize(("kind", "host"), ROUTES.items())

# --- through one ---


@pytest.mark.parametrize("glued", [b"", b"a greeting "], ids=["", "glued"])
@pytest.mark.parametrize(("kind", "host"), REACHES)
def test_bytes_pass_both_ways(kind: str, host: str, glued: bytes) -> None:
    with through(kind, host, "-v", stdin=b"hello") as (pync, proxy):
        play(proxy, asking(kind, host), glued)
        assert drain(proxy) == b"hello"
        proxy.sendall(b"bye")
        proxy.shutdown(socket.SHUT_WR)
        status, out, err = pync.finish()
    assert (status, out) == (0, glued + b"bye"), err
    assert re.search(rf"^Through \S+( CONNECT)? proxy {HERE} port \d+$", err, re.M)
    assert re.search(rf"^Connection to {host} {PORT} port \[tcp/\S+\] succeeded!$", err, re.M)


@needs_ipv6
def test_a_proxy_may_have_an_ipv6_address() -> None:
    with (
        listening("::1") as listener,
        start("-dx", f"[::1]:{port_of(listener)}", NAME, f"{PORT}") as pync,
        accepted(listener) as proxy,
    ):
        play(proxy, asking("socks5", NAME), b"hello")
        proxy.shutdown(socket.SHUT_WR)
        assert pync.finish() == (0, b"hello", "")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ("-x", "socks5"),
        ("-X 5 -x", "socks5"),
        ("-X 4a -x", "socks4a"),
        ("-X connect -x", "http"),
        ("--proxy", "http"),
        ("--proxy-type socks5 --proxy", "socks5"),
    ],
)
def test_what_no_url_says_the_options_say(options: str, kind: str) -> None:
    with (
        listening() as listener,
        start("-d", *options.split(), f"{HERE}:{port_of(listener)}", NAME, f"{PORT}") as pync,
        accepted(listener) as proxy,
    ):
        play(proxy, asking(kind, NAME), b"hello")
        proxy.shutdown(socket.SHUT_WR)
        assert pync.finish() == (0, b"hello", "")


@each_kind
def test_the_name_of_a_service_is_told_as_its_number(kind: str, host: str) -> None:
    with (
        listening() as listener,
        start("-zx", f"{kind}://{HERE}:{port_of(listener)}", host, "https") as pync,
        accepted(listener) as proxy,
    ):
        play(proxy, asking(kind, host, 443))
        assert pync.finish() == (0, b"", "")


@each_kind
def test_a_look_says_whether_the_tunnel_opens(kind: str, host: str) -> None:
    with through(kind, host, "-zv") as (pync, proxy):
        play(proxy, asking(kind, host))
        status, _, err = pync.finish()
    assert status == 0
    assert err.endswith(" succeeded!\n")


def test_nothing_is_said_of_a_look_that_fails() -> None:
    with through("socks5", NAME, "-z") as (pync, proxy):
        play(proxy, [OPEN_DOOR, (socks5_request(NAME, PORT), message("05 05 00 01", bytes(6)))])
        assert pync.finish() == (1, b"", "")


@each_kind
def test_ssh_gets_the_connection_and_all_that_the_target_said(kind: str, host: str) -> None:
    """What came with the proxy's answer has not been read when the connection is handed over."""
    ours, theirs = socket.socketpair()
    with ours, theirs, through(kind, host, "-F", stdout=theirs) as (pync, proxy):
        theirs.close()
        play(proxy, asking(kind, host), b"SSH-2.0")
        ours.settimeout(PATIENCE)
        _, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=descriptor) as passed:
            assert pync.finish() == (0, b"", "")
            passed.settimeout(PATIENCE)
            assert passed.recv(100) == b"SSH-2.0"
            passed.sendall(b"hello")
            assert hear(proxy, 5) == b"hello"


# --- how it ends: many proxies take the end of one direction for the end of both ---


def test_our_end_waits_until_the_target_has_been_silent() -> None:
    with through("http", NAME, linger="0.6", stdin=b"hello") as (pync, proxy):
        play(proxy, asking("http", NAME))
        assert hear(proxy, 5) == b"hello"
        for word in (b"this ", b"takes ", b"time"):
            assert not select.select([proxy], [], [], 0.3)[0]
            proxy.sendall(word)
        last = time.monotonic()
        assert drain(proxy) == b""
        assert time.monotonic() - last > 0.5
        proxy.shutdown(socket.SHUT_WR)
        assert pync.finish() == (0, b"this takes time", "")


def test_our_end_follows_the_targets_at_once() -> None:
    with through("http", NAME, linger="1m", stdin=b"hello") as (pync, proxy):
        play(proxy, asking("http", NAME))
        assert hear(proxy, 5) == b"hello"
        proxy.sendall(b"bye")
        proxy.shutdown(socket.SHUT_WR)
        assert drain(proxy) == b""
        assert pync.finish() == (0, b"bye", "")


def test_an_end_behind_which_no_answer_is_wanted_waits_for_nothing() -> None:
    with through("http", NAME, "--send-only", linger="1m", stdin=b"hello") as (pync, proxy):
        play(proxy, asking("http", NAME))
        assert drain(proxy) == b"hello"
        proxy.close()
        assert pync.finish().status == 0


# --- through several ---


@pytest.mark.parametrize("second", ROUTES)
@pytest.mark.parametrize("first", ["http", "socks4a", "socks5"])
def test_a_chain_leads_from_one_to_the_next(first: str, second: str) -> None:
    target = ROUTES[second]
    with (
        listening() as listener,
        start(
            "-vx", f"{first}://{HERE}:{port_of(listener)}", "-x", f"{second}://{NAME}:1111",
            "--linger", "0", target, f"{PORT}", stdin=b"hello",
        ) as pync,
        accepted(listener) as proxy,
    ):  # fmt: skip
        play(proxy, asking(first, NAME, 1111))
        play(proxy, asking(second, target), b"greeting")
        assert drain(proxy) == b"hello"
        proxy.shutdown(socket.SHUT_WR)
        status, out, err = pync.finish()
    assert (status, out) == (0, b"greeting"), err
    assert len(re.findall(r"^Through .* proxy ", err, re.M)) == 2


def test_whoever_of_a_chain_refuses_is_named() -> None:
    second = "socks5://second.example:1111"
    with through("http", NAME, "-x", second) as (pync, proxy):
        play(proxy, [(connect_request("second.example", 1111), CONNECTED), OPEN_DOOR])
        hear(proxy, len(socks5_request(NAME, PORT)))
        proxy.sendall(message("05 05 00 01", bytes(6)))
        told = f"second.example port 1111 refuses to connect to {NAME} port {PORT}"
        assert pync.finish() == (1, b"", f"pync: {told}: connection refused\n")


# --- TLS ---

LOCAL_ROUTES = {**dict.fromkeys(ROUTES, "localhost"), "socks4": HERE}


@pytest.mark.parametrize(("kind", "host"), LOCAL_ROUTES.items())
def test_tls_reaches_to_the_target(authority: Authority, kind: str, host: str) -> None:
    leaf = authority.leaf["valid"]
    options = tls_options(authority, "connects", leaf)
    with through(kind, host, "-v", *options, stdin=b"secret") as (pync, proxy):
        play(proxy, asking(kind, host))
        target = PlainTls(proxy, server_context(leaf))
        target.handshake()
        assert target.drain() == b"secret"
        target.sendall(b"bye")
        target.send_close_notify()
        proxy.shutdown(socket.SHUT_WR)
        status, out, err = pync.finish()
    assert (status, out) == (0, b"bye"), err
    assert "TLSv1.3" in err


def test_tls_is_asked_for_in_plain_words_through_a_proxy(authority: Authority) -> None:
    options = ("--starttls", "smtp", "--ssl-trustfile", f"{authority.root}")
    with through("http", "localhost", *options, stdin=b"secret") as (pync, proxy):
        play(proxy, asking("http", "localhost"), b"220 hello\r\n")
        assert proxy.recv(100).startswith(b"EHLO ")
        proxy.sendall(b"250-hello\r\n250 STARTTLS\r\n")
        play(proxy, [(b"STARTTLS\r\n", b"220 go on\r\n")])
        target = PlainTls(proxy, server_context(authority.leaf["valid"]))
        target.handshake()
        assert target.drain() == b"secret"
        target.send_close_notify()
        proxy.shutdown(socket.SHUT_WR)
        assert pync.finish() == (0, b"", "")


def test_an_https_proxy_is_spoken_to_in_tls(authority: Authority) -> None:
    """Whatever is said of the target's certificate."""
    trusting = {"SSL_CERT_FILE": f"{authority.root}"}
    with (
        listening() as listener,
        start(
            "--linger", "0", "--proxy", f"https://localhost:{port_of(listener)}", NAME, f"{PORT}",
            stdin=b"hello", env=trusting,
        ) as pync,
        accepted(listener) as connection,
    ):  # fmt: skip
        proxy = PlainTls(connection, server_context(authority.leaf["valid"]))
        proxy.handshake()
        play(proxy, asking("http", NAME), b"greeting")
        assert proxy.drain() == b"hello"
        proxy.send_close_notify()
        connection.shutdown(socket.SHUT_WR)
        assert pync.finish() == (0, b"greeting", "")


@pytest.mark.parametrize("options", [(), ("--ssl-insecure",)], ids=["", "--ssl-insecure"])
@pytest.mark.parametrize(
    ("leaf", "why"),
    [
        ("wrong-name", "name mismatch: certificate is for other.example"),
        ("self-signed", "self-signed certificate; SSL_CERT_FILE can name its authority"),
        ("wrong-ca", "CN=stranger is not trusted; SSL_CERT_FILE can name its authority"),
    ],
)
def test_an_https_proxy_that_cannot_be_trusted_is_asked_nothing(
    authority: Authority, leaf: str, why: str, options: tuple[str, ...]
) -> None:
    trusting = {"SSL_CERT_FILE": f"{authority.root}"}
    with (
        listening() as listener,
        start(
            *options, "--proxy", f"https://localhost:{port_of(listener)}",
            "--proxy-auth", f"{USER}:{PASSWORD}", NAME, f"{PORT}", env=trusting,
        ) as pync,
        accepted(listener) as connection,
    ):  # fmt: skip
        proxy = PlainTls(connection, server_context(authority.leaf[leaf]))
        with pytest.raises(ssl.SSLError):
            proxy.drain()  # after the handshake
        result = pync.finish()
    assert result.status == 1
    (line,) = complaints(result)
    assert line.startswith(f"pync: TLS with localhost ({HERE}) port ")
    assert line.endswith(why)


# --- who we are ---

BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
AUTHORIZED = f"Proxy-Authorization: Basic {BASIC}"
WHO = b"HTTP/1.1 407 Who\r\nProxy-Authenticate: %b\r\nContent-Length: 0\r\n%b\r\n"
WHO_BASIC = WHO % (b'Basic realm="here"', b"")
CUT = WHO_BASIC.replace(b"Length: 0", b"Length: 9")
CLOSING = WHO % (b'Basic realm="here"', b"Connection: close\r\n")
PROVEN: dict[str, Turns] = {
    "http": [
        (connect_request(NAME, PORT), WHO_BASIC),
        (connect_request(NAME, PORT, AUTHORIZED), CONNECTED),
    ],
    "socks4a": [(socks4_request(NAME, PORT, USER), GRANTED_4)],
    "socks5": [
        (message("05 02 00 02"), message("05 02")),
        (message("01 03", USER.encode(), "0a", PASSWORD.encode()), message("01 00")),
        (socks5_request(NAME, PORT), GRANTED_5),
    ],
}
IN_THE_ENVIRONMENT = {"PYNC_PROXY_PASSWORD": PASSWORD}
WAYS_TO_SAY = {
    "a variable": ("{kind}://{place}", ("-P", USER), IN_THE_ENVIRONMENT),
    "an option": ("{kind}://{place}", ("--proxy-auth", f"{USER}:{PASSWORD}"), {}),
    "a url": (f"{{kind}}://{USER}:%6fpensesame@{{place}}", (), {}),
    "a url, and others": (
        f"{{kind}}://{USER}:{PASSWORD}@{{place}}", ("--proxy-auth", "eve:x"), {},
    ),
    "a url and a variable": (f"{{kind}}://{USER}@{{place}}", (), IN_THE_ENVIRONMENT),
}  # fmt: skip


@pytest.mark.parametrize(("url", "options", "env"), WAYS_TO_SAY.values(), ids=list(WAYS_TO_SAY))
@pytest.mark.parametrize("kind", PROVEN)
def test_a_proxy_that_asks_is_told_who_we_are(
    kind: str, url: str, options: tuple[str, ...], env: dict[str, str]
) -> None:
    with listening() as listener:
        proxy = url.format(kind=kind, place=f"{HERE}:{port_of(listener)}")
        with (
            start("-dx", proxy, "-vv", *options, NAME, f"{PORT}", env=env) as pync,
            accepted(listener) as connection,
        ):
            play(connection, PROVEN[kind], b"hello")
            connection.shutdown(socket.SHUT_WR)
            status, out, err = pync.finish()
    assert (status, out) == (0, b"hello"), err
    assert PASSWORD not in err


def test_each_of_a_chain_that_asks_is_told() -> None:
    with (
        listening() as listener,
        start(
            "-dx", f"socks5://{HERE}:{port_of(listener)}", "-x", f"http://eve:evil@{NAME}:{PORT}",
            "-x", f"http://{NAME}:{PORT}", "--proxy-auth", f"{USER}:{PASSWORD}", NAME, f"{PORT}",
        ) as pync,
        accepted(listener) as proxy,
    ):  # fmt: skip
        eve = f"Proxy-Authorization: Basic {base64.b64encode(b'eve:evil').decode()}"
        play(proxy, PROVEN["socks5"])
        play(proxy, [
            (connect_request(NAME, PORT), WHO_BASIC),
            (connect_request(NAME, PORT, eve), CONNECTED),
        ])  # fmt: skip
        play(proxy, PROVEN["http"], b"hello")
        proxy.shutdown(socket.SHUT_WR)
        assert pync.finish() == (0, b"hello", "")


def test_the_password_is_asked_for_once_at_the_terminal() -> None:
    with listening() as listener:
        proxy = f"http://{HERE}:{port_of(listener)}"
        command = [*PYNC[1:], "-dx", proxy, "-x", proxy, "-P", USER, NAME, f"{PORT}"]
        env = {name: value for name, value in os.environ.items() if name != "PYNC_PROXY_PASSWORD"}
        terminal = pexpect.spawn(PYNC[0], command, timeout=PATIENCE, env=env, encoding="utf-8")
        with closing(terminal):
            terminal.expect("Password for the proxy: ")
            terminal.sendline(PASSWORD)
            with accepted(listener) as first:
                play(first, [(connect_request(HERE, port_of(listener)), CLOSING)])
            with accepted(listener) as second:
                play(second, [
                    (connect_request(HERE, port_of(listener), AUTHORIZED), CONNECTED),
                    *PROVEN["http"],
                ], b"hello")  # fmt: skip
                second.shutdown(socket.SHUT_WR)
                terminal.expect(pexpect.EOF)
            assert terminal.before.split() == ["hello"]


def test_a_user_without_a_password_is_no_use() -> None:
    with start("-x", HERE, "-P", USER, NAME, f"{PORT}", start_new_session=True) as pync:
        status, _, err = pync.finish()
    assert status == 2
    assert err == "pync: a proxy's user needs a password, in PYNC_PROXY_PASSWORD\n"


@pytest.mark.parametrize("said", [CLOSING, CUT], ids=["Connection: close", "cut short"])
def test_a_proxy_that_closes_after_asking_is_asked_again(said: bytes) -> None:
    """On a connection that begins with the answer."""
    options = ("-dv", "--proxy-auth", f"{USER}:{PASSWORD}")
    with listening() as listener:
        proxy = f"{HERE}:{port_of(listener)}"
        with start(*options, "--proxy", proxy, NAME, f"{PORT}") as pync:
            with accepted(listener) as first:
                play(first, [(connect_request(NAME, PORT), said)])
            with accepted(listener) as second:
                play(second, [(connect_request(NAME, PORT, AUTHORIZED), CONNECTED)], b"hello")
                second.shutdown(socket.SHUT_WR)
                status, out, err = pync.finish()
    assert (status, out) == (0, b"hello"), err
    assert len(re.findall("Connection to .* succeeded!", err)) == 1


def test_a_proxy_is_asked_again_once() -> None:
    options = ("-d", "--proxy-auth", f"{USER}:{PASSWORD}")
    with listening() as listener:
        proxy = f"{HERE}:{port_of(listener)}"
        with start(*options, "--proxy", proxy, NAME, f"{PORT}") as pync:
            for fields in ((), (AUTHORIZED,)):
                with accepted(listener) as connection:
                    play(connection, [(connect_request(NAME, PORT, *fields), CLOSING)])
            told = f"proxy {HERE} port {port_of(listener)} refuses these credentials"
            assert pync.finish() == (1, b"", f"pync: {told}\n")


def test_both_of_a_chain_may_ask_on_a_connection_that_they_close() -> None:
    """Three connections, and what the first one of the chain asked for is not forgotten."""
    with listening() as listener:
        chain = ("--proxy", f"{HERE}:{port_of(listener)}", "--proxy", f"{NAME}:{PORT}")
        first = connect_request(NAME, PORT)
        proven = connect_request(NAME, PORT, AUTHORIZED)
        connections: list[Turns] = [
            [(first, CLOSING)],
            [(proven, CONNECTED), (first, CLOSING)],
            [(proven, CONNECTED), (proven, CONNECTED)],
        ]
        options = ("-zv", "--proxy-auth", f"{USER}:{PASSWORD}")
        with start(*options, *chain, NAME, f"{PORT}") as pync:
            for turns in connections:
                with accepted(listener) as connection:
                    play(connection, turns)
            assert pync.finish().status == 0


def test_a_digest_proves_the_password_without_showing_it() -> None:
    target = f"{NAME}:{PORT}"
    options = ("-d", "--proxy-auth", f"{USER}:{PASSWORD}")
    with through("http", NAME, *options) as (pync, proxy):
        asked = WHO % (b'Digest realm="here", nonce="1234"', b"")
        play(proxy, [(connect_request(NAME, PORT), asked)])
        response = md5(md5(USER, "here", PASSWORD), "1234", md5("CONNECT", target))
        proof = (
            f'Proxy-Authorization: Digest username="{USER}", realm="here", nonce="1234", '
            f'uri="{target}", response="{response}"'
        )
        play(proxy, [(connect_request(NAME, PORT, proof), CONNECTED)], b"hello")
        proxy.shutdown(socket.SHUT_WR)
        assert pync.finish() == (0, b"hello", "")


def md5(*parts: str) -> str:
    return hashlib.md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()


# --- where names are looked up ---


@pytest.mark.parametrize(
    ("kind", "options", "host", "asked"),
    [
        ("socks4", "-4", "localhost", HERE),
        ("socks4", "-6", "localhost", HERE),
        ("socks5", "-n", NAME, NAME),
        ("socks5", "-4 --proxy-dns remote", "localhost", "localhost"),
        ("socks5", "-4 --proxy-dns local", "localhost", HERE),
        ("socks4a", "--proxy-dns local", "localhost", HERE),
        ("http", "-4 --proxy-dns local", "localhost", HERE),
        ("socks5", "-4 --proxy-dns both", "localhost", HERE),
        ("socks5", "--proxy-dns both", "no..name", "no..name"),
        ("socks5", "-n --proxy-dns both", NAME, NAME),
        ("socks5", "--proxy-dns none", IPV6, IPV6),
    ],
)
def test_a_name_is_looked_up_where_that_is_wanted(
    kind: str, options: str, host: str, asked: str
) -> None:
    family = "::1" if "-6" in options else HERE
    with (
        listening(family) as listener,
        start(
            "-zv", *options.split(), "-x", f"{kind}://[{family}]:{port_of(listener)}".replace(
                f"[{HERE}]", HERE
            ), host, f"{PORT}",
        ) as pync,
        accepted(listener) as proxy,
    ):  # fmt: skip
        play(proxy, asking(kind, asked))
        status, _, err = pync.finish()
    assert status == 0
    told = host if asked == host else f"{host} ({asked})"
    assert f"Connection to {told} {PORT} port" in err


@pytest.mark.parametrize(
    ("options", "host", "status", "told"),
    [
        ("--proxy-dns local", "no..name", 1, "cannot resolve no..name: not a host name"),
        ("--proxy-dns none", NAME, 2, f"'{NAME}' is a name, and --proxy-dns none takes none"),
        ("-X 4", "no..name", 1, "cannot resolve no..name: not a host name"),
        ("-X 4 -n", NAME, 2, f"'{NAME}' is a name, and --nodns forbids to look it up"),
        ("-X 4a", IPV6, 2, f"SOCKS4 has no IPv6 and cannot reach {IPV6}; SOCKS5 can"),
        ("", "a" * 256, 2, "the name of the host has 256 bytes; a SOCKS proxy takes 255"),
        ("-X http", "a*b", 2, "'a*b' port 80 is nothing that an HTTP proxy can be asked for"),
        ("-X http -P a:b", NAME, 2, "the name of a proxy's user cannot have a colon in it"),
    ],
)
def test_what_cannot_be_asked_for_is_told_before_anything_is_opened(
    options: str, host: str, status: int, told: str
) -> None:
    with (
        listening() as listener,
        start(
            "-x",
            f"{HERE}:{port_of(listener)}",
            *options.split(),
            host,
            f"{PORT}",
            env=IN_THE_ENVIRONMENT,
        ) as pync,
    ):
        result = pync.finish()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert result.status == status
    assert result.err.startswith(f"pync: {told}")
    assert result.err.count("\n") == 1


# --- what the environment says ---


def test_the_environment_names_a_proxy_where_it_is_asked() -> None:
    with listening() as listener:
        env = {"ALL_PROXY": f"socks5h://{HERE}:{port_of(listener)}", "no_proxy": "other.example"}
        with (
            start("--proxy", "env", "-d", NAME, f"{PORT}", env=env) as pync,
            accepted(listener) as proxy,
        ):
            play(proxy, asking("socks5", NAME), b"hello")
            proxy.shutdown(socket.SHUT_WR)
            assert pync.finish() == (0, b"hello", "")


@pytest.mark.parametrize(
    ("options", "env"),
    [("", {"ALL_PROXY": "{proxy}"}), ("--proxy env", {"ALL_PROXY": "{proxy}", "NO_PROXY": HERE})],
    ids=["nobody asks", "an exception"],
)
def test_the_environment_is_not_minded_otherwise(options: str, env: dict[str, str]) -> None:
    with listening() as listener:
        port = port_of(listener)
        given = {name: text.format(proxy=f"http://{HERE}:1") for name, text in env.items()}
        with (
            start(*options.split(), HERE, f"{port}", env=given, stdin=b"hello") as pync,
            accepted(listener) as target,
        ):
            assert drain(target) == b"hello"
            target.shutdown(socket.SHUT_WR)
            assert pync.finish() == (0, b"", "")


# --- proxies that fail ---


MIB = 1 << 20


class Scene(NamedTuple):
    """What has been said when the proxy fails, and the next words, which it does not end.

    named: how the line about it begins.
    """

    kind: str
    before: Turns
    words: bytes
    named: str


SCENES = {
    "http, at once": Scene("http", [], b"", "proxy {proxy} "),
    "http, in its answer": Scene("http", [], b"HTTP/1.1 200 OK\r\nX: y", "proxy {proxy} "),
    "socks4a, at once": Scene("socks4a", [], b"", "SOCKS4 with {proxy} failed: "),
    "socks4a, in its answer": Scene("socks4a", [], b"\0", "SOCKS4 with {proxy} failed: "),
    "socks5, at once": Scene("socks5", [], b"", "SOCKS5 with {proxy} failed: "),
    "socks5, asked for a connection": Scene(
        "socks5", [(message("05 02 00 02"), message("05 00"))], b"\5",
        "SOCKS5 with {proxy} failed: ",
    ),
    "socks5, told a password": Scene(
        "socks5", PROVEN["socks5"][:1], b"", "SOCKS5 with {proxy} failed: ",
    ),
    "socks5, in its answer": Scene(
        "socks5", PROVEN["socks5"][:2], GRANTED_5[:5], "SOCKS5 with {proxy} failed: ",
    ),
}  # fmt: skip
# Those in which the next words have a meaning, whatever they are.
FIXED = ("socks4a, in its answer", "socks5, asked for a connection", "socks5, in its answer")
each_scene = pytest.mark.parametrize("scene", SCENES.values(), ids=list(SCENES))


each_open_scene = pytest.mark.parametrize(
    "scene",
    [scene for name, scene in SCENES.items() if name not in FIXED],
    ids=[name for name in SCENES if name not in FIXED],
)


@contextmanager
def failing(scene: Scene, *options: str) -> Iterator[tuple[Program, socket.socket]]:
    """pync, and its proxy, which has said all that makes sense."""
    login = ("-v", "--proxy-auth", f"{USER}:{PASSWORD}")
    with through(scene.kind, NAME, *login, *options, stdin=PIPE) as (pync, proxy):
        play(proxy, scene.before)
        proxy.sendall(scene.words)
        yield pync, proxy


def check_told(pync: Program, scene: Scene, proxy: str, why: str = ".") -> None:
    """The one line names the proxy, and no password."""
    result = pync.finish()
    assert result[:2] == (1, b"")
    (line,) = complaints(result)
    assert line.startswith("pync: " + scene.named.format(proxy=proxy))
    assert re.search(why, line), line
    assert "succeeded" not in result.err
    assert PASSWORD not in result.err
    assert BASIC not in result.err


def name_of(proxy: socket.socket) -> str:
    host, port = proxy.getsockname()
    return f"{host} port {port}"


@each_scene
def test_a_proxy_that_closes_the_connection_is_told(scene: Scene) -> None:
    with failing(scene) as (pync, proxy):
        proxy.shutdown(socket.SHUT_WR)
        check_told(pync, scene, name_of(proxy), "closed the connection")


@each_scene
def test_a_proxy_that_breaks_the_connection_is_told(scene: Scene) -> None:
    with failing(scene) as (pync, proxy):
        name = name_of(proxy)
        proxy.recv(1000)  # or pync might still be asking, and be reset in it
        reset(proxy)
        check_told(pync, scene._replace(named="connection with {proxy} lost: "), name)


@each_scene
def test_a_silent_proxy_has_its_time(scene: Scene) -> None:
    with failing(scene, "-w", "0.3") as (pync, proxy):
        protocol = {"http": "HTTP CONNECT", "socks4a": "SOCKS4a", "socks5": "SOCKS5"}[scene.kind]
        named = f"{protocol} with {{proxy}} (tcp) timed out"
        check_told(pync, scene._replace(named=named), name_of(proxy))


@each_open_scene
def test_a_proxy_that_talks_nonsense_is_told(scene: Scene) -> None:
    with failing(scene) as (pync, proxy):
        proxy.sendall(b"\x1b[2J nonsense \xff\0\r\n\r\n")
        check_told(pync, scene, name_of(proxy))


@each_open_scene
@pytest.mark.parametrize("words", [b"\xff" * 4096, b"X: y\r\n" * 512], ids=["noise", "headers"])
def test_a_proxy_that_never_stops_talking_is_given_up(scene: Scene, words: bytes) -> None:
    """It gets rid of little, although it would send 64 MiB."""
    with failing(scene) as (pync, proxy):
        name = name_of(proxy)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            proxy.sendall(words * (64 * MIB // len(words)))
        check_told(pync, scene, name)


def test_a_second_connection_gets_what_time_the_first_one_left() -> None:
    with listening() as listener:
        name = f"{HERE}:{port_of(listener)}"
        options = ("-w", "0.5", "--proxy-auth", f"{USER}:{PASSWORD}", "--proxy", name)
        with start(*options, NAME, f"{PORT}", stdin=PIPE) as pync:
            with accepted(listener) as first:
                play(first, [(connect_request(NAME, PORT), CLOSING)])
            with accepted(listener) as second:
                hear(second, len(connect_request(NAME, PORT, AUTHORIZED)))
                proxy = f"{HERE} port {port_of(listener)} (tcp)"
                told = f"pync: HTTP CONNECT with {proxy} timed out\n"
                assert pync.finish() == (1, b"", told)


def test_a_proxy_that_nobody_answers_for_is_told() -> None:
    port = free_port()
    with start("-x", f"{HERE}:{port}", NAME, f"{PORT}") as pync:
        refused = f"connect to {HERE} port {port} (tcp) failed: Connection refused"
        told = f"pync: SOCKS5 proxy {HERE} port {port}: {refused}\n"
        assert pync.finish() == (1, b"", told)


REFUSED: dict[str, tuple[Turns, str]] = {
    "http": (
        [(connect_request(NAME, PORT), b"HTTP/1.1 403 No\x1b[1m\r\nContent-Length: 0\r\n\r\n")],
        r"proxy {proxy} (refuses to connect to {target}: 403|makes no sense)",
    ),
    "socks4a": (
        [(socks4_request(NAME, PORT), message("00 5b", bytes(6)))],
        "{proxy} refuses to connect to {target}: request rejected or failed",
    ),
    "socks5": (
        [OPEN_DOOR, (socks5_request(NAME, PORT), message("05 04 00 01", bytes(6)))],
        "{proxy} refuses to connect to {target}: host unreachable",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_target_that_is_refused_is_told(kind: str) -> None:
    turns, told = REFUSED[kind]
    with through(kind, NAME) as (pync, proxy):
        play(proxy, turns)
        name = name_of(proxy)
        status, out, err = pync.finish()
    assert (status, out) == (1, b"")
    assert re.match("pync: " + told.format(proxy=name, target=f"{NAME} port {PORT}"), err), err
    assert err.count("\n") == 1
