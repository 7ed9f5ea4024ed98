"""Who may connect, as tables: by address over the network, by user over a unix socket."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from pync.doorkeeper import Doorkeeper, Entries, Entry, Hosts, Reader, Users
from pync.errors import LocalError, UsageError
from pync.stream import Credentials

NAMES = {"office.test": ["10.0.0.7", "fd00::7"], "lab.test": ["10.0.0.8"]}


class Client(NamedTuple):
    """One with no more to it than its address."""

    host: str
    port: int = 5

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"

    credentials = None
    target = reached = came_from = ""  # type: ignore[assignment]


def resolve(name: str) -> list[str]:
    try:
        return NAMES[name]
    except KeyError:
        raise LocalError(f"cannot resolve {name}: Name or service not known") from None


def by_address(entries: Iterable[Entry]) -> Hosts:
    return Hosts(entries, resolve)


def doorkeeper(
    allow: str = "",
    deny: str = "",
    allowfile: str | None = None,
    denyfile: str | None = None,
    read: Reader = by_address,
    complain: Callable[[str], None] = [].append,
) -> Doorkeeper:
    return Doorkeeper(
        Entries("--allow", allow.split(), allowfile),
        Entries("--deny", deny.split(), denyfile),
        read,
        complain,
    )


def admitted(door: Doorkeeper, hosts: Iterable[str]) -> list[str]:
    return [host for host in hosts if door.admits(Client(host))]


# --- over the network ---

CLIENTS = ("10.0.0.7", "10.0.0.8", "127.0.0.1", "127.0.0.2", "::1", "fd00::7")


@pytest.mark.parametrize(
    ("allow", "deny", "admits"),
    [
        ("", "", CLIENTS),
        ("10.0.0.8", "", ["10.0.0.8"]),
        ("", "10.0.0.8", ["10.0.0.7", "127.0.0.1", "127.0.0.2", "::1", "fd00::7"]),
        ("10.0.0.0/8 ::1", "", ["10.0.0.7", "10.0.0.8", "::1"]),
        ("localhost", "", ["127.0.0.1", "::1"]),
        ("LOCALHOST.", "", ["127.0.0.1", "::1"]),
        ("office.test", "", ["10.0.0.7", "fd00::7"]),
        ("", "office.test localhost", ["10.0.0.8", "127.0.0.2"]),
        ("10.0.0.0/24", "10.0.0.7", ["10.0.0.8"]),  # who is denied is not let in by being allowed
        ("10.0.0.7", "10.0.0.0/24", []),
        ("0.0.0.0/0", "127.0.0.0/8", ["10.0.0.7", "10.0.0.8"]),
        ("", "0.0.0.0/0 ::/0", []),
    ],
)
def test_who_may_connect(allow: str, deny: str, admits: list[str]) -> None:
    assert admitted(doorkeeper(allow, deny), CLIENTS) == [*admits]


def test_a_client_without_an_address_is_admitted_by_no_rule() -> None:
    assert admitted(doorkeeper(allow="0.0.0.0/0 ::/0"), ["", "nonsense"]) == []


def test_files_add_to_what_is_listed(tmp_path: Path) -> None:
    allowed, denied = tmp_path / "allowed", tmp_path / "denied"
    allowed.write_text("# those at the office\n\n10.0.0.7,10.0.0.8   fd00::7 # and more\n\t::1\r\n")
    denied.write_text("#10.0.0.7\noffice.test")
    door = doorkeeper("127.0.0.2", "10.0.0.8", f"{allowed}", f"{denied}")
    assert admitted(door, CLIENTS) == ["127.0.0.2", "::1"]


def test_an_empty_file_of_those_who_are_allowed_allows_nobody(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert admitted(doorkeeper(allowfile=f"{tmp_path}/empty"), CLIENTS) == []
    assert admitted(doorkeeper(denyfile=f"{tmp_path}/empty"), CLIENTS) == [*CLIENTS]


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (b"10.0.0.1\n::/129", UsageError, "--denyfile: FILE, line 2: '::/129' is not a network .*"),
        (
            b"nowhere.test",
            LocalError,
            "--denyfile: FILE, line 1: cannot resolve nowhere.test: Name or service not known",
        ),
        (b"\xff\xfe", LocalError, "cannot read FILE: it is not text in UTF-8"),
        (None, LocalError, "cannot read FILE: No such file or directory"),
    ],
)
def test_a_bad_file_is_told(
    content: bytes | None, error: type[Exception], told: str, tmp_path: Path
) -> None:
    file = tmp_path / "rules"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(error, match=f"^{told.replace('FILE', str(file))}$"):
        doorkeeper(denyfile=f"{file}")


def test_each_who_is_turned_away_is_told_of_once() -> None:
    lines: list[str] = []
    door = doorkeeper("10.0.0.7", complain=lines.append)
    for client in (Client("10.0.0.8"), Client("10.0.0.8"), Client("10.0.0.7"), Client("::1", 6)):
        door.admits(client)
    assert lines == ["connection from 10.0.0.8 port 5 denied", "connection from ::1 port 6 denied"]


def test_what_is_meant_for_unix_sockets_is_refused() -> None:
    for entry in ("uid:0", "gid:staff"):
        with pytest.raises(UsageError, match=f"^--deny: '{entry}' is for unix sockets alone: "):
            doorkeeper(deny=entry)


# --- over a unix socket ---


class User(NamedTuple):
    """One who has connected to a unix socket."""

    name: str
    credentials: Credentials

    def __str__(self) -> str:
        return f"path ({self.credentials})"

    host = ""
    target = reached = came_from = ""  # type: ignore[assignment]


def user(name: str, uid: int, gid: int, groups: Iterable[int] | None = ()) -> User:
    known = None if groups is None else frozenset(groups)
    return User(name, Credentials(uid, gid, known))


USERS = (
    user("root", 0, 0),
    user("ada", 1001, 100, [100, 50, 60]),
    user("bob", 1002, 100),
    user("eve", 1003, 50, None),  # of whom the groups could not be told
)
ROOT = pwd.getpwuid(0).pw_name
ROOTS = grp.getgrgid(0).gr_name


@pytest.mark.parametrize(
    ("allow", "deny", "admits"),
    [
        ("uid:0", "", "root"),
        ("uid:1001 uid:1002", "", "ada bob"),
        ("gid:100", "", "ada bob"),
        ("gid:50", "", "ada eve"),
        ("gid:60", "", "ada"),
        ("gid:1001 uid:100", "", ""),
        (f"uid:{ROOT} gid:60", "", "root ada"),
        (f"gid:{ROOTS} uid:1003", "", "root eve"),
        ("uid:4294967294", "", ""),
        ("", "uid:1001", "root bob eve"),
        ("", "uid:1001 uid:0000", "bob eve"),
        ("", "gid:100 gid:50", "root"),
        ("", "gid:60", "root bob"),  # whose groups cannot be told may be in any of them
        ("gid:100", "uid:1002", "ada"),
        ("uid:1003", "gid:50", ""),
    ],
)
def test_which_users_may_connect(allow: str, deny: str, admits: str) -> None:
    door = doorkeeper(allow, deny, read=Users)
    assert [user.name for user in USERS if door.admits(user)] == admits.split()


def test_a_file_has_users_in_it_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("uid:0,gid:60 # and nobody else\n\nuid:1003")
    door = doorkeeper(allowfile=f"{tmp_path}/file", read=Users)
    assert [user.name for user in USERS if door.admits(user)] == ["root", "ada", "eve"]


def test_each_user_who_is_turned_away_is_told_of_once() -> None:
    lines: list[str] = []
    door = doorkeeper("gid:60", read=Users, complain=lines.append)
    for one in (0, 0, 1, 2, 3):
        door.admits(USERS[one])
    assert lines == [
        "connection from path (uid 0, gid 0) denied",
        "connection from path (uid 1002, gid 100) denied",
        "connection from path (uid 1003, gid 50) denied: its groups cannot all be told",
    ]


NO_OWNER = "not a user or a group such as uid:1000, uid:alice or gid:100, by which alone"
BEYOND = "beyond the numbers that users and groups have"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        *((entry, NO_OWNER) for entry in ("10.0.0.1", "localhost", "0", "uid", "uid:", "pid:1")),
        *((entry, NO_OWNER) for entry in (":", ":0", "UID:0", "::1", "fe80::/10")),
        *((entry, BEYOND) for entry in ("uid:4294967295", "gid:99999999999")),
        *((f"uid:{name}", "not the name of a user") for name in ("no-such", "-1", "0x0", "٣")),
        *((f"gid:{name}", "not the name of a group") for name in ("no-such", "1.5", "a\0b")),
    ],
)
def test_what_is_no_user_is_told(entry: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        doorkeeper(deny=entry, read=Users)
    assert str(error.value).startswith(f"--deny: {entry!r} is {told}")
