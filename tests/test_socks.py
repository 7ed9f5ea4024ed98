"""SOCKS4, 4a and 5 without their network: whole conversations of either role, the two roles with
each other, and what becomes of each when the other says no, says too much, or something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socks_scripts import (
    ASKED,
    ASKED_FOR_PROOF,
    ASKING,
    CONNECT,
    EVERYTHING,
    GRANTED_5,
    LONGEST,
    OPEN_DOOR,
    PAYLOAD,
    PROXY,
    SECRET,
    Asked,
    Asking,
    Client,
    Server,
    connect_to,
    feed,
    guarded5,
    message,
    relay,
    say,
    server4,
    server5,
    socks4,
    socks5,
)

from pync.errors import ProtocolError, UsageError
from pync.wire.dialogue import MOST_SURPLUS
from pync.wire.socks4 import Socks4
from pync.wire.socks5 import Reply, Socks5, unwrap, wrap


def failed(protocol: str, peer: str, why: str) -> str:
    return f"{protocol} with {peer} failed: {why}"


in_any_piece_size = pytest.mark.parametrize("size", [1, 7, EVERYTHING])


# --- as it should go ---

each_asking = pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)


def play(asking: Asking, turns: int, size: int = EVERYTHING) -> Client:
    """The client after so many turns; of the next one it has said its part."""
    client = asking.client()
    for asked, heard in asking.turns[:turns]:
        assert say(client, size) == asked
        feed(client, heard, size)
        assert not client.established
    assert say(client, size) == asking.turns[turns][0]
    return client


def before_the_end(asking: Asking, size: int = EVERYTHING) -> Client:
    return play(asking, len(asking.turns) - 1, size)


@each_asking
@in_any_piece_size
@pytest.mark.parametrize("behind", [b"", PAYLOAD])
def test_a_client_asks_and_what_comes_behind_the_answer_is_the_tunnels(
    asking: Asking, size: int, behind: bytes
) -> None:
    client = before_the_end(asking, size)
    assert not client.established
    feed(client, asking.turns[-1][1] + behind, size)
    assert (client.established, client.surplus, say(client)) == (True, behind, b"")
    client.receive_end()  # the tunnel may end at once


@pytest.mark.parametrize(
    ("bound", "place"),
    [
        ("01 7f000001 1f90", ("127.0.0.1", 8080)),
        ("03 05 7072 6f78 79 0001", ("proxy", 1)),
        ("04 0000000000000000 0000000000000001 ffff", ("::1", 65535)),
    ],
)
def test_a_client_is_told_where_its_datagrams_are_relayed(
    bound: str, place: tuple[str, int]
) -> None:
    client = relay()
    say(client)
    client.receive(OPEN_DOOR[1])
    say(client)
    client.receive(message("05 00 00", bound))
    assert client.established
    assert client.bound == place


each_asked = pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)


def hear(asked: Asked, size: int = EVERYTHING, behind: bytes = b"") -> Server:
    """The server once it knows what the client wants, with that behind its request."""
    server = asked.server()
    for heard, answer in asked.turns[:-1]:
        feed(server, heard, size)
        assert say(server, size) == answer
        assert server.request is None
    feed(server, asked.turns[-1][0] + behind, size)
    return server


@each_asked
@in_any_piece_size
@pytest.mark.parametrize("behind", [b"", PAYLOAD])
def test_a_server_grants_what_was_asked_and_what_comes_behind_is_the_tunnels(
    asked: Asked, size: int, behind: bytes
) -> None:
    server = hear(asked, size, behind)
    assert (server.request, server.established, say(server)) == (asked.request, False, b"")
    server.receive_end()  # that was all it will send; the answer may still be wanted
    server.grant(*asked.bound)
    assert not server.established
    assert say(server, size) == asked.answer
    assert (server.established, server.refused, server.surplus) == (True, False, behind)


@each_asked
@in_any_piece_size
def test_a_client_need_not_wait_for_the_answers(asked: Asked, size: int) -> None:
    server = asked.server()
    feed(server, b"".join(heard for heard, _ in asked.turns) + PAYLOAD, size)
    assert server.request == asked.request
    assert say(server) == b"".join(answer for _, answer in asked.turns)
    assert server.surplus == PAYLOAD


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("4, an address", (), "00 5b 0000 00000000"),
        ("4, an address", (93,), "00 5d 0000 00000000"),
        ("5, a name", (), "05 01 00 01 00000000 0000"),
        *(("5, a name", (code,), f"05 0{code:d} 00 01 00000000 0000") for code in [*Reply][1:]),
    ],
)
def test_a_server_refuses_what_was_asked(name: str, code: tuple[int, ...], words: str) -> None:
    server = hear(ASKED[name])
    server.refuse(*code)
    assert server.refused
    assert say(server) == message(words)
    assert not server.established


# --- the two with each other ---


class Way(NamedTuple):
    """The two sides of a protocol."""

    client: Callable[[str, int], Client]
    server: Callable[[], Server]
    user: str = ""


WAYS = {
    "4": Way(lambda host, port: Socks4(PROXY, host, port), server4),
    "4 with a user": Way(lambda host, port: Socks4(PROXY, host, port, "böb"), server4, "böb"),
    "5": Way(lambda host, port: Socks5(PROXY, host, port), server5),
    "5 with a password": Way(
        lambda host, port: Socks5(PROXY, host, port, "bob", SECRET), guarded5, "bob"
    ),
}


def exchange(client: Client, server: Server, size: int) -> None:
    """Give each what the other says until both are silent."""
    words = say(client, size)
    while words:
        feed(server, words, size)
        feed(client, say(server, size), size)
        words = say(client, size)


FOR_ANY = ["127.0.0.1", "0.0.0.0", "0.0.0.9", "host.example.org", LONGEST, "1.2.3"]
FOR_5 = ["::1", "fe80::2"]


@pytest.mark.parametrize(
    ("name", "host"),
    [(name, host) for name in WAYS for host in FOR_ANY + FOR_5 * name.startswith("5")],
)
@in_any_piece_size
def test_a_client_meets_a_server(name: str, host: str, size: int) -> None:
    way = WAYS[name]
    client, server = way.client(host, 443), way.server()
    exchange(client, server, size)
    assert server.request == connect_to(host, 443, way.user)
    server.grant("10.1.2.3", 5555)
    feed(client, say(server, size) + PAYLOAD, size)
    assert (client.established, server.established) == (True, True)
    assert (client.surplus, server.surplus) == (PAYLOAD, b"")


# --- no ---


def refuses(why: str) -> str:
    return f"{PROXY} refuses to connect to host port 80: {why}"


def failed4(why: str) -> str:
    return failed("SOCKS4", PROXY, why)


def failed5(why: str) -> str:
    return failed("SOCKS5", PROXY, why)


NOBODY = failed5("it lets nobody in without a user and a password; --proxy-auth gives them")
A_NAME_4, A_NAME_5, WITH_PASSWORD = "4a, a name", "5, a name", "5, with a password"


@pytest.mark.parametrize(
    ("name", "turn", "heard", "told"),
    [
        (A_NAME_4, 0, "00 5b", refuses("request rejected or failed")),
        (A_NAME_4, 0, "00 5c", refuses("it cannot connect to identd on the client")),
        (A_NAME_4, 0, "00 5d", refuses("identd on the client says another user")),
        (A_NAME_4, 0, "00 00", refuses("code 0")),
        (A_NAME_4, 0, "05", failed4("it said b'\\x05', which makes no sense here")),
        (A_NAME_5, 0, "05 ff", NOBODY),
        (A_NAME_5, 0, "05 02", NOBODY),
        (A_NAME_5, 0, "05 01", failed5("it chose method 1, which was not offered")),
        (A_NAME_5, 0, "00", failed5("it said b'\\x00', which makes no sense here")),
        (A_NAME_5, 1, "05 01", refuses("general SOCKS server failure")),
        (A_NAME_5, 1, "05 02", refuses("connection not allowed by ruleset")),
        (A_NAME_5, 1, "05 03", refuses("network unreachable")),
        (A_NAME_5, 1, "05 04", refuses("host unreachable")),
        (A_NAME_5, 1, "05 05", refuses("connection refused")),
        (A_NAME_5, 1, "05 06", refuses("TTL expired")),
        (A_NAME_5, 1, "05 07", refuses("command not supported")),
        (A_NAME_5, 1, "05 08", refuses("address type not supported")),
        (A_NAME_5, 1, "05 09", refuses("code 9")),
        (A_NAME_5, 1, "04", failed5("it said b'\\x04', which makes no sense here")),
        (A_NAME_5, 1, "05 00 00 02",
         failed5("it gives an address of type 2, which does not exist")),
        (A_NAME_5, 1, "05 00 00 03 00", failed5("it names host b'', which is no host")),
        (A_NAME_5, 1, "05 00 00 03 02 1b63",
         failed5("it names host b'\\x1bc', which is no host")),
        ("5, a relay of datagrams", 1, "05 07",
         f"{PROXY} refuses to relay datagrams: command not supported"),
        (WITH_PASSWORD, 0, "05 ff",
         failed5("it wants another proof than a user and a password")),
        (WITH_PASSWORD, 0, "05 03", failed5("it chose method 3, which was not offered")),
        (WITH_PASSWORD, 1, "01 01",
         failed5("it does not accept user 'bob' with this password")),
        (WITH_PASSWORD, 1, "00", failed5("it said b'\\x00', which makes no sense here")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, EVERYTHING])
def test_a_proxy_that_says_no_is_told(
    name: str, turn: int, heard: str, told: str, size: int
) -> None:
    client = play(ASKING[name], turn)
    with pytest.raises(ProtocolError) as caught:
        feed(client, message(heard), size)
    assert str(caught.value) == told
    assert not client.established


@pytest.mark.parametrize("client", [socks4("host", 80), socks5("host", 80)])
@pytest.mark.parametrize(
    ("heard", "shown"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "b'\\x16\\x03\\x01\\x02\\x00'"),
        (b"\x1b[2J", "b'\\x1b[2J'"),
        (b"Here", "b'Here'"),
    ],
)
def test_a_peer_that_is_no_proxy_is_shown(
    client: Callable[[], Client], heard: bytes, shown: str
) -> None:
    dialogue = client()
    say(dialogue)
    with pytest.raises(ProtocolError) as caught:
        dialogue.receive(heard)
    assert str(caught.value).endswith(f" failed: it said {shown}, which makes no sense here")


@in_any_piece_size
@pytest.mark.parametrize("client", [socks4("host", 80), socks5("host", 80)])
def test_a_proxy_of_the_other_protocol_is_told_with_the_way_out(
    client: Callable[[], Client], size: int
) -> None:
    dialogue = client()
    say(dialogue)
    with pytest.raises(ProtocolError, match=r"it said b'HTTP/', .* --proxy-type http "):
        feed(dialogue, b"HTTP/1.1 400 Bad Request\r\n\r\n", size)


REJECTED_4 = message("00 5b 0000 00000000")
LONG = b"a" * 256


def rejected_5(code: int) -> bytes:
    return bytes([5, code, 0, 1]) + bytes(6)


@pytest.mark.parametrize(
    ("server", "heard", "agreed", "refusal", "why"),
    [
        (server4, message("05 01 00"), "", b"",
         "it said b'\\x05\\x01\\x00', which makes no sense here"),
        (server4, b"GET / HTTP/1.1\r\n", "", b"",
         "it said b'GET ', which makes no sense here"),
        (server4, message("04 02 0050 7f000001 00"), "", REJECTED_4,
         "it wants command 2, and connecting is all there is"),
        (server4, message("04 03 0050 00000001 00", b"host\0"), "", REJECTED_4,
         "it wants command 3, and connecting is all there is"),
        (server4, message("04 01 0050 7f000001", b"a\nb\0"), "", REJECTED_4,
         "there is a control character in the user's name"),
        (server4, message("04 01 0050 00000001 00", b"a\rb\0"), "", REJECTED_4,
         "it names host b'a\\rb', which is no host"),
        (server4, message("04 01 0050 00000001 00", "00"), "", REJECTED_4,
         "it names host b'', which is no host"),
        (server4, message("04 01 0050 7f000001", LONG), "", REJECTED_4,
         "a field of its request has more than 255 bytes"),
        (server4, message("04 01 0050 00000001 00", LONG, "00"), "", REJECTED_4,
         "a field of its request has more than 255 bytes"),
        (server5, message("04 01 0050 7f000001 00"), "", b"",
         "it said b'\\x04\\x01\\x00P', which makes no sense here"),
        (server5, message("05 00"), "", b"\x05\xff",
         "it does not offer the method that is wanted"),
        (server5, message("05 02 01 02"), "", b"\x05\xff",
         "it does not offer the method that is wanted"),
        (server5, message("05 01 00", "04"), "05 00", b"",
         "it said b'\\x04', which makes no sense here"),
        (server5, message("05 01 00", "05 02 00 01 7f000001 0050"), "05 00", rejected_5(7),
         "it wants command 2, which is not supported"),
        (server5, message("05 01 00", "05 00 00 03 01", b"a", "0050"), "05 00", rejected_5(7),
         "it wants command 0, which is not supported"),
        (server5, message("05 01 00", "05 01 00 02"), "05 00", rejected_5(8),
         "it gives an address of type 2, which does not exist"),
        (server5, message("05 01 00", "05 01 00 03 00"), "05 00", rejected_5(1),
         "it names host b'', which is no host"),
        (server5, message("05 01 00", "05 01 00 03 03", b"a\0b"), "05 00", rejected_5(1),
         "it names host b'a\\x00b', which is no host"),
        (server5, message("05 01 00", "05 01 00 03 03", b"a b"), "05 00", rejected_5(1),
         "it names host b'a b', which is no host"),
        (server5, message("05 01 00", "05 01 00 03 03", "\u202e".encode()), "05 00", rejected_5(1),
         "it names host b'\\xe2\\x80\\xae', which is no host"),
        (guarded5, message("05 01 00"), "", b"\x05\xff",
         "it does not offer the method that is wanted"),
        (guarded5, message("05 01 02", "01 03", b"bob", "03", b"bad"), "05 02", b"\x01\x01",
         "wrong password, or no such user: 'bob'"),
        (guarded5, message("05 01 02", "01 04", b"b\x1bob", "03", b"bad"), "05 02", b"\x01\x01",
         "there is a control character in the user's name"),
        (guarded5, message("05 01 02", "01 03", b"bob", "04", b"ba\nd"), "05 02", b"\x01\x01",
         "there is a control character in the password"),
        (guarded5, message("05 01 02", "05"), "05 02", b"\x01\x01",
         "it said b'\\x05', which makes no sense here"),
    ],
)  # fmt: skip
def test_a_server_turns_a_client_away(
    server: Callable[[], Server], heard: bytes, agreed: str, refusal: bytes, why: str
) -> None:
    dialogue = server()
    with pytest.raises(ProtocolError) as caught:
        dialogue.receive(heard)
    protocol = "SOCKS4" if server is server4 else "SOCKS5"
    assert str(caught.value) == f"{protocol} failed: {why}"
    assert say(dialogue) == message(agreed) + refusal
    assert (dialogue.request, dialogue.established) == (None, False)
    assert dialogue.refused == bool(refusal)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (socks4("::1", 80), "SOCKS4 has no IPv6 and cannot reach ::1; SOCKS5 can"),
        (socks4("host", 80, "b\0b"), "there is a control character in the user's name"),
        (socks4("host", 80, "b" * 256),
         "the user's name has 256 bytes; a SOCKS proxy takes 255"),
        *((make, told) for socks in (socks4, socks5) for make, told in [
            (socks(LONGEST + "a", 80),
             "the name of the host has 256 bytes; a SOCKS proxy takes 255"),
            (socks("a\r\nb", 80),
             "host 'a\\r\\nb': not a name: there is a control character in it"),
            (socks("", 80), "host '': empty"),
            (socks("a\udcff", 80), "host 'a\\udcff' is no host name"),
            (socks("ü..example", 80), "host 'ü..example' is no host name"),
        ]),
        (socks5("host", 80, "b\x9bb"), "there is a control character in the user's name"),
        (lambda: Socks5(PROXY, "host", 80, "bob", "a\0b"),
         "there is a control character in the password"),
        (lambda: Socks5(PROXY, "host", 80, "bob", "ü" * 128),
         "the password has 256 bytes; a SOCKS proxy takes 255"),
        (lambda: Socks5(PROXY, "host", 80, "bob", "\ud800"), "the password is no text"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_told_before_anything_is_sent(
    make: Callable[[], Client], told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value) == told


# --- out of turn, and too early an end ---

UNASKED = "it answered before it was asked"


@each_asking
def test_an_answer_before_its_question_is_an_error(asking: Asking) -> None:
    client = asking.client()
    with pytest.raises(ProtocolError, match=UNASKED):
        client.receive(asking.turns[0][1])
    assert say(client) == b""
    client = asking.client()
    assert client.data_to_send(len(asking.turns[0][0]) - 1) == asking.turns[0][0][:-1]
    with pytest.raises(ProtocolError, match=UNASKED):
        client.receive(b"\x05")


@pytest.mark.parametrize("name", [name for name, asking in ASKING.items() if asking.turns[1:]])
def test_all_answers_at_once_are_an_error_and_no_password_is_sent(name: str) -> None:
    asking = ASKING[name]
    client = play(asking, 0)
    with pytest.raises(ProtocolError, match=UNASKED):
        client.receive(b"".join(heard for _, heard in asking.turns))
    assert say(client) == b""


@each_asking
def test_a_proxy_that_goes_away_is_told(asking: Asking) -> None:
    for turn, (_, heard) in enumerate(asking.turns):
        for kept in range(len(heard)):
            client = play(asking, turn)
            client.receive(heard[:kept])
            with pytest.raises(ProtocolError, match=r"failed: it closed the connection$"):
                client.receive_end()


@each_asked
def test_a_client_that_goes_away_before_it_has_asked_is_told(asked: Asked) -> None:
    heard = b"".join(heard for heard, _ in asked.turns)
    for kept in range(len(heard)):
        server = asked.server()
        server.receive(heard[:kept])
        with pytest.raises(ProtocolError, match=r"failed: it closed the connection$"):
            server.receive_end()


def test_after_a_failure_nothing_is_believed() -> None:
    client = play(ASKING["5, a name"], 0)
    told = set()
    for heard in (b"\x04", OPEN_DOOR[1], GRANTED_5):
        with pytest.raises(ProtocolError) as caught:
            client.receive(heard)
        told.add(str(caught.value))
    assert len(told) == 1
    assert (client.established, say(client)) == (False, b"")


FLOOD = "it sends too much before anybody can take it"


@each_asking
def test_what_a_proxy_sends_behind_its_answer_is_bounded(asking: Asking) -> None:
    client = before_the_end(asking)
    client.receive(asking.turns[-1][1] + bytes(MOST_SURPLUS))
    assert client.established
    with pytest.raises(ProtocolError, match=FLOOD):
        client.receive(b"x")
    assert not client.established


@each_asked
def test_what_a_client_sends_behind_its_request_is_bounded(asked: Asked) -> None:
    server = hear(asked, behind=bytes(MOST_SURPLUS))
    with pytest.raises(ProtocolError, match=FLOOD):
        server.receive(b"x")


# --- anything at all ---

CLIENTS = {name: asking.client for name, asking in ASKING.items()}
SERVERS = {name: asked.server for name, asked in ASKED.items()}
KNOWN = ["05", "05 00", "05 02", "04 01", "00 5a", "01 03 626f62", "00 0000 0000 0000", "61 00"]
PIECES = st.lists(st.binary(max_size=40) | st.sampled_from(KNOWN).map(message), max_size=12)


def complaint(call: Callable[..., object], *arguments: object) -> str:
    """What is wrong with it, in words; empty if nothing is."""
    try:
        call(*arguments)
    except (ProtocolError, UsageError) as error:
        return str(error)
    return ""


@settings(deadline=None)
@given(st.sampled_from(sorted(CLIENTS)), PIECES)
def test_a_client_ends_in_a_state_or_an_error(name: str, pieces: list[bytes]) -> None:
    client = CLIENTS[name]()
    words = b""
    for piece in pieces:
        words += say(client)
        assert complaint(client.receive, piece).isprintable()
    assert len(words) < 1024


@settings(deadline=None)
@given(st.sampled_from(sorted(SERVERS)), PIECES, st.booleans())
def test_a_server_ends_in_a_state_or_an_error(
    name: str, pieces: list[bytes], willing: bool
) -> None:
    server = SERVERS[name]()
    for piece in pieces:
        assert complaint(server.receive, piece).isprintable()
    if server.request:
        (server.grant if willing else server.refuse)()
    assert len(say(server)) < 32
    assert server.established == bool(server.request and willing)


class Outcome(NamedTuple):
    """What bytes lead to.  Of what came in a version's place, as much is told as was there."""

    told: str
    said: bytes
    established: bool
    surplus: bytes


def outcome(dialogue: Client | Server, data: bytes, size: int) -> Outcome:
    told = re.sub("it said .*, which", "which", complaint(feed, dialogue, data, size))
    kept = b"" if told else dialogue.surplus
    return Outcome(told, say(dialogue), dialogue.established, kept)


def changed(data: st.DataObject, words: bytes) -> bytes:
    """With a few bytes replaced, put in or taken away, anywhere."""
    place = data.draw(st.integers(0, len(words)))
    end = place + data.draw(st.integers(0, 3))
    return words[:place] + data.draw(st.binary(max_size=4)) + words[end:]


@settings(deadline=None)
@given(st.sampled_from(sorted(ASKING)), st.data())
def test_a_changed_answer_gives_the_same_however_it_is_cut(name: str, data: st.DataObject) -> None:
    asking = ASKING[name]
    turn = data.draw(st.integers(0, len(asking.turns) - 1))
    heard = changed(data, asking.turns[turn][1])
    assert len({outcome(play(asking, turn), heard, size) for size in (1, 3, EVERYTHING)}) == 1


@settings(deadline=None)
@given(st.sampled_from(sorted(ASKED)), st.data())
def test_a_changed_request_gives_the_same_however_it_is_cut(name: str, data: st.DataObject) -> None:
    asked = ASKED[name]
    heard = changed(data, b"".join(heard for heard, _ in asked.turns))
    assert len({outcome(asked.server(), heard, size) for size in (1, 3, EVERYTHING)}) == 1


# --- a password is never told ---

PASSWORDS = st.text("§þĀ\n\x85", min_size=8, max_size=20)  # with nothing that messages have


@settings(deadline=None)
@given(PASSWORDS, PIECES)
def test_a_client_tells_nobody_its_password(password: str, pieces: list[bytes]) -> None:
    """Not even if the proxy sends all of it back."""
    assert not told_in(complaint(echo, password, pieces), password)


def echo(password: str, pieces: list[bytes]) -> None:
    client = Socks5(PROXY, "host", 80, "bob", password)
    assert not told_in(repr(client), password)
    for piece in (ASKED_FOR_PROOF[1], *pieces):
        words = say(client)
        client.receive(piece)
        client.receive(words)


@settings(deadline=None)
@given(PASSWORDS, st.data())
def test_a_server_tells_nobody_a_clients_password(password: str, data: st.DataObject) -> None:
    server = guarded5()
    field = password.encode()
    heard = message("05 01 02", "01 03", b"bob") + bytes([len(field)]) + field + CONNECT
    told = complaint(server.receive, changed(data, heard)) or complaint(server.receive_end)
    assert told
    assert not told_in(repr(server) + told, password)


def told_in(shown: str, password: str) -> bool:
    """Whether half of it is, as it is or escaped."""
    half = password[: len(password) // 2]
    return any(form in shown for form in (half, repr(half)[1:-1], repr(half.encode())[2:-1]))


# --- datagrams ---


@pytest.mark.parametrize(
    ("host", "header"),
    [
        ("127.0.0.1", "0000 00 01 7f000001 0035"),
        ("host", "0000 00 03 04 686f7374 0035"),
        ("::1", "0000 00 04 0000000000000000 0000000000000001 0035"),
        (LONGEST, "0000 00 03 ff" + LONGEST.encode().hex() + "0035"),
    ],
)
@pytest.mark.parametrize("data", [b"", PAYLOAD, bytes(65_000)])
def test_a_datagram_is_wrapped_and_unwrapped(host: str, header: str, data: bytes) -> None:
    wrapped = message(header) + data
    assert wrap(host, 53, data) == wrapped
    assert unwrap(wrapped) == (host, 53, data)


@pytest.mark.parametrize(
    ("datagram", "why"),
    [
        ("", "it is cut short"),
        ("0000 00", "it is cut short"),
        ("0000 00 01", "it is cut short"),
        ("0000 00 01 7f000001 00", "it is cut short"),
        ("0000 00 03 04 686f73", "it is cut short"),
        ("0000 01 01 7f000001 0035", "it is a fragment"),
        ("0000 80 01 7f000001 0035", "it is a fragment"),
        ("0000 00 00 7f000001 0035", "it gives an address of type 0, which does not exist"),
        ("0000 00 03 00 0035", "it names host b'', which is no host"),
        ("0000 00 03 01 0a 0035",
         "it names host b'\\n', which is no host"),
    ],
)  # fmt: skip
def test_a_datagram_that_makes_no_sense_is_refused(datagram: str, why: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        unwrap(message(datagram))
    assert str(caught.value) == f"cannot take a SOCKS5 datagram: {why}"


def test_a_datagram_for_a_bad_name_is_not_made() -> None:
    with pytest.raises(UsageError):
        wrap("a\nb", 53, b"")


@settings(deadline=None)
@given(st.binary(max_size=300).map(lambda data: b"\0\0\0" + data) | st.binary(max_size=30))
def test_any_datagram_is_unwrapped_or_refused(datagram: bytes) -> None:
    told = complaint(unwrap, datagram)
    assert told.isprintable()
    if not told:
        _, port, data = unwrap(datagram)
        assert datagram.endswith(port.to_bytes(2, "big") + data)
