"""--chat: what passes between clients are lines with their speakers' names.

What nobody can do: speak in another's name, move another's cursor, or stop the others.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from harness import PIPE, PYNC, Program
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_peer import HERE, complaints, drain, drain_until_reset, flood, reset, silent, start
from rooms import DATAGRAMS, STREAMS, Join, room
from test_terminal import CTRL_C, CTRL_D, Terminal

from pync.wire.chat import LONGEST, LONGEST_NAME, Line, Lines, Names, said, wanted_name

# --- lines ---

LONG = b"x" * LONGEST


def whole(data: bytes) -> list[Line]:
    lines = Lines()
    return [*lines.feed(data), *lines.finish()]


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"one\r\r\n", ["one\r"]),
        (b"one\rtwo\n", ["one\rtwo"]),
        (b"no end", ["no end"]),
        (b"no end\r", ["no end"]),
        ("naïve 🙂\n".encode(), ["naïve 🙂"]),
        (b"not \xff UTF-8 \xc3\n", ["not \\xff UTF-8 \\xc3"]),
    ],
)
def test_lines(data: bytes, texts: list[str]) -> None:
    assert whole(data) == [Line(text) for text in texts]


@pytest.mark.parametrize(
    ("data", "sizes"),
    [
        (LONG + b"\n", [LONGEST]),
        (LONG + b"y\n", [LONGEST, 1]),
        (LONG + b"\r\n", [LONGEST]),
        (LONG * 3 + b"\nshort\n", [LONGEST, LONGEST, LONGEST, 5]),
        (b"x" + "é".encode() * (LONGEST // 2) + b"\n", [1 + (LONGEST - 2) // 2, 1]),
    ],
)
def test_a_line_that_is_too_long_comes_in_pieces(data: bytes, sizes: list[int]) -> None:
    lines = whole(data)
    assert [len(line.text) for line in lines] == sizes
    said_all = re.sub("[\r\n]|short", "", data.decode())
    assert "".join(line.text for line in lines if line.text != "short") == said_all


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from([LONG[:-2], LONG, b"\r\n", b"\n", b"\r", "🙂".encode() * 1100]),
        ),
        max_size=8,
    ).map(b"".join),
    st.lists(st.integers(0, 5000), max_size=10),
)
def test_how_a_stream_is_split_does_not_matter(data: bytes, sizes: list[int]) -> None:
    for pieces in (split(data, sizes), [bytes([byte]) for byte in data]):
        lines = Lines()
        found = [line for piece in pieces for line in lines.feed(piece)]
        assert [*found, *lines.finish()] == whole(data)


def split(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


@given(st.binary())
def test_nothing_that_is_said_is_more_than_a_line_or_steers_a_terminal(data: bytes) -> None:
    for line in whole(data):
        shown = said("name", line.text).decode()
        assert re.fullmatch(r"<name> [^\n]*\n", shown)
        assert not set(map(ord, shown[:-1])) & {*range(9), *range(10, 32), *range(0x7F, 0xA0)}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tab\tand naïve 👩‍👩‍👧", "tab\tand naïve 👩‍👩‍👧"),
        ("\x1b[2J", "\\x1b[2J"),
        ("over\r<user1> me", "over\\x0d<user1> me"),
        ("\u202eabc", "\\u202eabc"),
    ],
)
def test_what_would_steer_a_terminal_is_shown(text: str, shown: str) -> None:
    assert said("user1", text) == f"<user1> {shown}\n".encode()


# --- names ---


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/nick ada", "ada"),
        ("/nick  ada ", "ada"),
        ("/nick a b", "a b"),
        ("/nick", ""),
        ("/nick ", ""),
        ("/nickel", None),
        ("/etc/passwd", None),
        (" /nick ada", None),
        ("ada", None),
    ],
)
def test_what_asks_for_a_name(text: str, name: str | None) -> None:
    assert wanted_name(text) == name


def named(*names: str) -> Names:
    made = Names()
    for who, name in enumerate(names):
        made.add(who)
        made.change(who, name)
    return made


@pytest.mark.parametrize(
    "name", ["ada", "Ada-1_2.3", "이광춘", "naïve", "x" * LONGEST_NAME, "user"]
)
def test_what_one_may_be_called(name: str) -> None:
    assert [*named(name)] == [name]


@pytest.mark.parametrize(
    "name",
    [
        *[
            "",
            "a b",
            "a\tb",
            "<ada>",
            "a>",
            "a\x1bb",
            "a\u202eb",
            "a\u200bb",
            "a\\x1b",
            "\u3164",
            "ada\ufe0f",
        ],
        *["x" * (LONGEST_NAME + 1), "announce", "Announce", "\uff41nnounce", "user7", "USER12"],
    ],
)
def test_what_one_may_not_be_called(name: str) -> None:
    with pytest.raises(ValueError, match=r"missing|longer|not a name|not for you"):
        named(name)


def test_a_name_has_one_owner_at_a_time() -> None:
    names = named("ada", "grace")
    for taken in ("ada", "ADA", "\uff41da"):
        with pytest.raises(ValueError, match="taken"):
            names.change(1, taken)
    names.change(0, "Ada")
    assert names.remove(0) == "Ada"
    assert names.remove(0) is None
    names.change(1, "ada")
    assert [names.add(number) for number in (2, 3)] == ["user3", "user4"]


# --- the room ---

each_kind = pytest.mark.parametrize("kind", [*STREAMS, *DATAGRAMS])
each_stream = pytest.mark.parametrize("kind", STREAMS)
Opens = Callable[..., AbstractContextManager[tuple[Program, Join]]]


@pytest.fixture
def chat(tmp_path: Path, authority: Authority) -> Opens:
    """Opens a chat of a kind, with these options."""

    def opens(
        kind: str = "tcp", *options: str, **how: Any
    ) -> AbstractContextManager[tuple[Program, Join]]:
        given = {"tmp_path": tmp_path, "authority": authority, "hello": b"", **how}
        return room(kind, "--chat", *options, **given)

    return opens


def sees(client: Any, *lines: bytes) -> None:
    """What comes next is exactly this."""
    expected, received = b"".join(line + b"\n" for line in lines), b""
    while len(received) < len(expected) and (data := client.recv(1 << 16)):
        received += data
    assert received == expected


def place_of(kind: str) -> bytes:
    if "unix" in kind:
        return b"this machine"
    return HERE.encode()


def comes(number: int, place: bytes = HERE.encode()) -> bytes:
    return b"<announce> %s is connected as <user%d>." % (place, number)


def met(join: Join, count: int, place: bytes = HERE.encode()) -> list[Any]:
    """So many clients, who have seen each other come."""
    clients: list[Any] = []
    for number in range(1, count + 1):
        newcomer = join()
        present = b", ".join(b"<user%d>" % each for each in range(1, number))
        sees(
            newcomer,
            comes(number, place),
            *([b"<announce> already connected: %s." % present] if present else []),
        )
        for client in clients:
            sees(client, comes(number, place))
        clients.append(newcomer)
    return clients


@each_kind
def test_lines_are_heard_by_the_others_with_the_speakers_name(chat: Opens, kind: str) -> None:
    with chat(kind) as (server, join):
        one, two, three = met(join, 3, place_of(kind))
        one.sendall(b"hello\n")
        sees(two, b"<user1> hello")
        sees(three, b"<user1> hello")
        two.sendall(b"one\r\ntwo\n")
        for client in (one, three):
            sees(client, b"<user2> one", b"<user2> two")
        server.signal(signal.SIGTERM)
        assert complaints(server.finish()) == []


@each_kind
def test_a_name_can_be_changed(chat: Opens, kind: str) -> None:
    with chat(kind) as (_, join):
        one, two = met(join, 2, place_of(kind))
        one.sendall(b"/nick ada\nhello\n")
        sees(one, b"<announce> <user1> is now <ada>.")
        sees(two, b"<announce> <user1> is now <ada>.", b"<ada> hello")
        two.sendall(b"/nick ADA\n")
        sees(two, b"<announce> the name 'ADA' is taken.")
        two.sendall(b"/nick\n")
        sees(two, b"<announce> the name is missing, as in: /nick ada.")
        assert kind == "tls" or silent(one, 0.05)


def test_a_line_waits_for_its_end(chat: Opens) -> None:
    with chat() as (_, join):
        one, two = met(join, 2)
        one.sendall(b"hel")
        assert silent(two, 0.05)
        one.sendall(b"lo\nlast words")
        sees(two, b"<user1> hello")
        one.shutdown(socket.SHUT_WR)
        sees(two, b"<user1> last words")


@pytest.mark.parametrize("kind", DATAGRAMS)
def test_a_datagram_is_a_line(chat: Opens, kind: str) -> None:
    with chat(kind) as (_, join):
        one, two = met(join, 2, place_of(kind))
        for words in (b"hel", b"lo\n", b"two\nlines"):
            one.send(words)
        for line in (b"hel", b"lo", b"two", b"lines"):
            assert two.recv(1 << 16) == b"<user1> %s\n" % line


@each_kind
def test_a_line_that_is_too_long_is_sent_in_pieces_and_that_is_said(chat: Opens, kind: str) -> None:
    with chat(kind) as (_, join):
        one, two = met(join, 2, place_of(kind))
        one.sendall(LONG + b"y\n")
        sees(two, b"<user1> " + LONG, b"<user1> y")
        sees(one, b"<announce> your line has more than 4096 bytes: it is sent in pieces.")


def test_nobody_can_speak_in_anothers_name(chat: Opens) -> None:
    with chat() as (_, join):
        one, two = met(join, 2)
        one.sendall(b"\r<user2> me\n\x1b[1A<announce> x\n/nick user2\n/nick a\x1bb\n")
        sees(two, b"<user1> \\x0d<user2> me", b"<user1> \\x1b[1A<announce> x")
        sees(
            one,
            b"<announce> the name 'user2' is not for you to take.",
            b"<announce> the name 'a\\x1bb' is not a name: spaces, <, >, \\ and what is"
            b" not seen cannot be in one.",
        )


@each_stream
def test_one_that_has_ended_what_it_says_still_hears_the_others(chat: Opens, kind: str) -> None:
    with chat(kind) as (server, join):
        one, two = met(join, 2, place_of(kind))
        one.sendall(b"bye\n")
        one.shutdown(socket.SHUT_WR)
        sees(one, b"<announce> your side has ended; you still hear the others.")
        sees(two, b"<user1> bye")
        two.sendall(b"hello?\n")
        sees(one, b"<user2> hello?")
        server.signal(signal.SIGTERM)
        assert complaints(server.finish()) == []
        assert drain(one) == b""


@each_stream
def test_who_leaves_is_missed_at_once(chat: Opens, kind: str) -> None:
    with chat(kind) as (server, join):
        one, two, three = met(join, 3, place_of(kind))
        one.close()
        sees(two, b"<announce> <user1> is disconnected.")
        sees(three, b"<announce> <user1> is disconnected.")
        two.sendall(b"/nick ada\n")
        sees(two, b"<announce> <user2> is now <ada>.")
        two.close()
        sees(three, b"<announce> <user2> is now <ada>.", b"<announce> <ada> is disconnected.")
        server.signal(signal.SIGTERM)
        assert complaints(server.finish()) == []


def test_resets_end_nothing(chat: Opens) -> None:
    with chat() as (_, join):
        (one,) = met(join, 1)
        for number in range(2, 50):
            reset(join())
            sees(one, comes(number), b"<announce> <user%d> is disconnected." % number)


def test_the_many_who_are_there_are_told_in_several_lines(chat: Opens) -> None:
    with chat("udp") as (_, join), ExitStack() as stack:
        for _ in range(101):
            stack.callback(join().close)
        last = join()
        sees(last, comes(102))
        for size in (100, 1):
            assert last.recv(1 << 16).count(b"<user") == size


def test_who_asks_and_does_not_listen_is_not_listened_to(chat: Opens) -> None:
    with chat() as (server, join):
        one, two = met(join, 2)
        flood(one, b"/nick\n" * 10_000)
        assert server.peak_memory < 100 << 20
        two.sendall(b"/nick ada\n")
        sees(two, b"<announce> <user2> is now <ada>.")


def test_who_does_not_listen_is_dropped_and_missed(chat: Opens) -> None:
    line = b"x" * 4000
    with chat() as (server, join):
        halted, one, two = met(join, 3)
        shown = b"<user2> " + line + b"\n"
        seen = shown
        while seen == shown:
            one.sendall(line + b"\n")
            seen = two.recv(len(shown), socket.MSG_WAITALL)
        assert b"<announce> <user1> is disconnected.\n" in seen
        server.expect("takes nothing: dropped")
        assert drain_until_reset(halted)


CALLING = {
    "pync": lambda port: (*PYNC, HERE, port),
    "nc.openbsd": lambda port: ("nc.openbsd", HERE, port),
    "ncat": lambda port: ("ncat", HERE, port),
    "socat": lambda port: ("socat", "-", f"TCP:{HERE}:{port}"),
}


def test_any_netcat_can_take_part(chat: Opens) -> None:
    with chat() as (server, join), ExitStack() as stack:
        (watcher,) = met(join, 1)
        for number, command in enumerate(CALLING.values(), 2):
            client = stack.enter_context(Program(*command(str(server.port)), stdin=PIPE))
            sees(watcher, comes(number))
            client.send(b"hello\n")
            sees(watcher, b"<user%d> hello" % number)
            watcher.sendall(b"welcome\n")
            client.expect("<user1> welcome\n", "out")


def test_two_people_talk_in_their_terminals(chat: Opens) -> None:
    with chat() as (server, _):
        where = HERE, f"{server.port}"
        with ExitStack() as stack:
            ada = stack.enter_context(Terminal(*where))
            ada.shows("is connected as <user1>.")  # before anybody else can be
            grace = stack.enter_context(Terminal(*where))
            grace.shows("already connected: <user1>.")
            ada.type("/nick ada\n")
            grace.shows("<announce> <user1> is now <ada>.\n")
            grace.type("hello, ada 👩‍👩‍👧\x16\x1b[2J\n")
            ada.shows("<user2> hello, ada 👩‍👩‍👧\\x1b[2J\n")
            ada.type("and hello to you\n")
            grace.shows("<ada> and hello to you\n")
            grace.type(CTRL_D)
            grace.shows("<announce> your side has ended; you still hear the others.\n")
            ada.type("bye\n")
            grace.shows("<ada> bye\n")
            grace.type(CTRL_C)
            assert grace.status() == -signal.SIGINT
            ada.type("are you there?\n")  # only that tells: her side ended before
            ada.shows("<announce> <user2> is disconnected.\n")


def test_it_needs_a_listener() -> None:
    with start("--chat", HERE, "9") as pync:
        assert pync.finish()[::2] == (2, "pync: --chat needs --listen\n")
