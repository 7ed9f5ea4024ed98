"""What passes in a chat: lines of text, and names to go with them.

Both ways all is lines.  What one says, `text`, is for the others `<name> text`; what
the room itself has to say is `<announce> text`, in ncat's words where it has them.
There is one command, `/nick NAME`; any other line that begins with a slash is text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from pync.wire.safe_text import ESCAPES

LONGEST = 4096  # bytes of a line
LONGEST_NAME = 32  # characters
RESERVED = re.compile(r"announce|user\d+")  # the room itself, and newcomers
NICK = re.compile(r"/nick(?:\s+(.*?))?\s*")
# A return would let a line begin anew; these end a line, or turn the order of characters around.
TURNS = (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
# Letters and marks that show as nothing (Default_Ignorable_Code_Point in the Unicode Standard).
UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
SHOWN = {**ESCAPES, ord("\r"): "\\x0d", **{code: f"\\u{code:04x}" for code in TURNS}}


class Line(NamedTuple):
    """cut: there is more of it, which did not fit, and comes as the next one."""

    text: str
    cut: bool = False


class Lines:
    """Makes lines of a stream, however that is split.

    A line ends with LF or CR LF and has LONGEST bytes at the most; a longer one comes in
    several.  Bytes that are not UTF-8 become \\xNN.
    """

    def __init__(self) -> None:
        self._held = b""  # what has no end yet, no more than a line
        self._continues = False  # a line of which a part has been given

    def feed(self, data: bytes) -> list[Line]:
        """The lines that are complete with `data`."""
        lines: list[Line] = []
        *whole, rest = (self._held + data).split(b"\n")
        for text in whole:
            self._complete(self._cut(text, lines), lines)
        self._held = self._cut(rest, lines)
        return lines

    def finish(self) -> list[Line]:
        """The line that has no end, now that there will be none."""
        lines: list[Line] = []
        if self._held:
            self._complete(self._held, lines)
        self._held, self._continues = b"", False
        return lines

    def _complete(self, text: bytes, lines: list[Line]) -> None:
        text = text.removesuffix(b"\r")
        if text or not self._continues:
            lines.append(Line(decoded(text)))
        self._continues = False

    def _cut(self, text: bytes, lines: list[Line]) -> bytes:
        """Give the pieces of what is longer than a line; the rest of it."""
        while len(text) > LONGEST:
            size = LONGEST
            while size > LONGEST - 3 and text[size] & 0xC0 == 0x80:  # amid a character
                size -= 1
            lines.append(Line(decoded(text[:size]), cut=True))
            self._continues = True
            text = text[size:]
        return text


def decoded(text: bytes) -> str:
    return text.decode(errors="backslashreplace")


def said(name: str, text: str) -> bytes:
    """What the others see of what one says."""
    return f"<{name}> {text.translate(SHOWN)}\n".encode()


def announced(text: str) -> bytes:
    return said("announce", text)


def wanted_name(text: str) -> str | None:
    """The name in a line that is a command; "" if it lacks, None if the line is none."""
    match = NICK.fullmatch(text)
    return (match[1] or "") if match else None


class Names:
    """Who is called what.

    No two names are the same but for upper and lower case, or for how a character is written;
    names in letters of different scripts may look alike.
    """

    def __init__(self) -> None:
        self._names: dict[Hashable, str] = {}
        self._taken: set[str] = set()
        self._count = 0

    def __getitem__(self, who: Hashable) -> str:
        return self._names[who]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.values())

    def add(self, who: Hashable) -> str:
        """The name of a newcomer, which nobody had before."""
        self._count += 1
        self._take(who, f"user{self._count}")
        return self._names[who]

    def remove(self, who: Hashable) -> str | None:
        """The name that is free now; None if `who` had none."""
        name = self._names.pop(who, None)
        if name is not None:
            self._taken.discard(folded(name))
        return name

    def change(self, who: Hashable, name: str) -> None:
        """Raises ValueError with words that go behind "... is"."""
        check(name)
        if folded(name) in self._taken - {folded(self._names[who])}:
            raise ValueError("taken")
        self.remove(who)
        self._take(who, name)

    def _take(self, who: Hashable, name: str) -> None:
        self._names[who] = name
        self._taken.add(folded(name))


def folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def check(name: str) -> None:
    """Raises ValueError for what cannot be a name, with words that go behind "... is"."""
    if not name:
        raise ValueError("missing, as in: /nick ada")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"longer than {LONGEST_NAME} characters")
    if not name.isprintable() or re.search(rf"[\s<>\\{UNSEEN}]", name):
        raise ValueError("not a name: spaces, <, >, \\ and what is not seen cannot be in one")
    if RESERVED.fullmatch(folded(name)):
        raise ValueError("not for you to take")
