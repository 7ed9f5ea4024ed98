"""Who may connect.

Each entry of a list, or of a file, says whom it means.  Those who come over the network
are known by address: see access.  Those who come over a unix socket are known by what the
kernel says of them: uid:1000, uid:alice, gid:100, gid:staff.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from pync.access import Addresses, Span, canonical, read_address, read_span, span
from pync.errors import LocalError, NetworkError, UsageError
from pync.stream import Peer

LOCALHOST = ("127.0.0.1", "::1")  # RFC 6761, section 6.3, whatever the system's files say
NOBODY = (1 << 32) - 1  # the number that no user and no group has: -1

Meaning = TypeVar("Meaning")
Resolve: TypeAlias = Callable[[str], Iterable[str]]  # the numbers of a name


class Entry(NamedTuple):
    """where: the words for where it stands."""

    where: str
    text: str

    def read(self, reader: Callable[[str], Meaning]) -> Meaning:
        """What it means.  Raises UsageError where `reader` raises ValueError."""
        try:
            return reader(self.text)
        except ValueError as error:
            raise UsageError(f"{self.where}: {self.text!r} is {error}") from None


class Peers(Protocol):
    """All that some entries mean."""

    def has(self, peer: Peer) -> bool:
        """Raises NetworkError if that cannot be told."""


Reader: TypeAlias = Callable[[Iterable[Entry]], Peers]


class Entries(NamedTuple):
    """What an option such as --allow lists, and the file that goes with it: --allowfile."""

    option: str
    listed: Sequence[str]
    path: str | None

    @property
    def given(self) -> bool:
        return bool(self.listed) or self.path is not None

    def each(self) -> Iterator[Entry]:
        """All of them.  Raises LocalError."""
        yield from (Entry(self.option, text) for text in self.listed)
        for number, line in enumerate(read_lines(self.path) if self.path else (), 1):
            for text in line.partition("#")[0].replace(",", " ").split():
                yield Entry(f"{self.option}file: {self.path}, line {number}", text)


def read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  pathlib takes long to import
            return file.read().splitlines()
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LocalError(f"cannot read {path}: it is not text in UTF-8") from None


# --- over the network ---


class Hosts:
    """All peers that come from where `entries` say."""

    def __init__(self, entries: Iterable[Entry], resolve: Resolve) -> None:
        """Raises UsageError, and what `resolve` raises."""
        spans = (spans_of(entry, resolve) for entry in entries)
        self._addresses = Addresses(itertools.chain.from_iterable(spans))

    def has(self, peer: Peer) -> bool:
        return peer.host in self._addresses


def spans_of(entry: Entry, resolve: Resolve) -> list[Span]:
    found = entry.read(read_place)
    if found:
        return [found]
    name = entry.text
    try:
        hosts = LOCALHOST if canonical(name) == "localhost" else resolve(name)
    except LocalError as error:
        raise LocalError(f"{entry.where}: {error}") from None
    return [span(address, address) for host in hosts if (address := read_address(host))]


def read_place(text: str) -> Span | None:
    """As read_span."""
    if text.startswith(("uid:", "gid:")):
        raise ValueError("for unix sockets alone: nothing tells whose a connection is otherwise")
    return read_span(text)


# --- over a unix socket ---


class Users:
    """All peers that are one of the users, or in one of the groups, of `entries`."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Raises UsageError."""
        read = [entry.read(read_owner) for entry in entries]
        self._uids = {number for kind, number in read if kind == "uid"}
        self._gids = {number for kind, number in read if kind == "gid"}

    def has(self, peer: Peer) -> bool:
        who = peer.credentials
        if who is None:
            raise NetworkError("nothing tells who it is")
        if who.uid in self._uids or who.gid in self._gids:
            return True
        if self._gids and who.groups is None:
            raise NetworkError("its groups cannot all be told")
        return not self._gids.isdisjoint(who.groups or ())


def read_owner(text: str) -> tuple[str, int]:
    """`uid` or `gid`, and the number."""
    kind, _, who = text.partition(":")
    if kind not in FINDERS or not who:
        told = "not a user or a group such as uid:1000, uid:alice or gid:100"
        raise ValueError(f"{told}, by which alone a unix socket's clients are known")
    if not (who.isascii() and who.isdigit()):
        return kind, FINDERS[kind](who)
    if len(who) > 10 or int(who) >= NOBODY:
        raise ValueError("beyond the numbers that users and groups have")
    return kind, int(who)


def find_user(name: str) -> int:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # unknown, or what no name can be
        raise ValueError("not the name of a user of this machine") from None


def find_group(name: str) -> int:
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise ValueError("not the name of a group of this machine") from None


FINDERS = {"uid": find_user, "gid": find_group}


# --- the door ---


class Rules(NamedTuple):
    """allowed: None for all.

    As with ncat, who is denied is not let in by being allowed as well: with rules that
    allow, only those may connect that they name and that no rule denies.
    """

    allowed: Peers | None
    denied: Peers

    def admit(self, peer: Peer) -> bool:
        """Raises NetworkError if that cannot be told."""
        return not self.denied.has(peer) and (self.allowed is None or self.allowed.has(peer))


class Doorkeeper:
    """Says of each peer whether it may connect by `rules`, and tells of those that may not.

    Who comes again and again, as a denied peer's datagrams do, is told of once, until
    it is somebody else's turn.
    """

    def __init__(
        self, allow: Entries, deny: Entries, read: Reader, complain: Callable[[str], None]
    ) -> None:
        """Read the rules, as read does."""
        self._allow = allow
        self._deny = deny
        self._read = read
        self._complain = complain
        self._last = ""
        self.rules = self.read()

    def read(self) -> Rules:
        """The rules as they are in the files now.  A thread may do this, too.

        Raises UsageError, or LocalError.
        """
        allowed = self._read(self._allow.each()) if self._allow.given else None
        return Rules(allowed, self._read(self._deny.each()))

    def admits(self, peer: Peer) -> bool:
        why = ""
        try:
            if self.rules.admit(peer):
                return True
        except NetworkError as error:
            why = f": {error}"
        if str(peer) != self._last:
            self._last = str(peer)
            self._complain(f"connection from {peer} denied{why}")
        return False
