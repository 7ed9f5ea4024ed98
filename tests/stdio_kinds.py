"""The kinds of standard input and output that a program may be given.

    with a_stdin("late", b"words", tmp_path) as stdin, Program.pync(..., **stdin.how) as pync:
        stdin.feed(pync)

Each is made with what a test needs to know of it: how it is given to the
program, and what the program should read from it, or what arrived in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from harness import NULL, PIPE, Program
from plain_peer import ended_within

PAUSE = 0.2  # seconds

# What of the data a pipe gives before each of its pauses.
PORTIONS = {"pipe": [1.0], "late": [0.0, 1.0], "pausing": [0.5, 1.0]}
EMPTY = {
    "null": {"stdin": NULL},
    "closed": {"shell": 'exec "$@" <&-'},
}

STDINS = ("file", *PORTIONS, *EMPTY)
STDOUTS = ("pipe", "file", "append")
EARLIER = b"what the file held before\n"


class Stdin(NamedTuple):
    """A standard input.

    how: arguments for joined() and start().
    data: what a program reads from it.
    feed: writes that, where somebody has to.
    """

    how: dict[str, Any]
    data: bytes
    feed: Callable[[Program], None] = lambda program: None


class Stdout(NamedTuple):
    """A standard output.

    how: arguments for joined() and start().
    received: what arrived in it, given what the harness collected.
    """

    how: dict[str, Any]
    received: Callable[[bytes], bytes] = lambda collected: collected


@contextmanager
def a_stdin(kind: str, data: bytes, tmp_path: Path) -> Iterator[Stdin]:
    if kind in EMPTY:
        yield Stdin(EMPTY[kind], b"")
    elif kind == "idle":
        yield Stdin({"stdin": PIPE}, b"")
    elif kind in PORTIONS:
        yield Stdin({"stdin": PIPE}, data, lambda program: feed(program, kind, data))
    else:
        assert kind == "file"
        path = tmp_path / f"stdin-{os.urandom(4).hex()}"
        path.write_bytes(data)
        with path.open("rb") as file:
            yield Stdin({"stdin": file}, data)


def feed(program: Program, kind: str, data: bytes) -> None:
    """Write the data to a pipe, with the pauses of its kind."""
    given = 0
    try:
        for turn, portion in enumerate(PORTIONS[kind]):
            if turn:
                assert not ended_within(program, PAUSE)
            upto = int(len(data) * portion)
            program.send(data[given:upto])
            given = upto
    finally:
        program.end()


@contextmanager
def a_stdout(kind: str, tmp_path: Path) -> Iterator[Stdout]:
    if kind == "pipe":
        yield Stdout({"stdout": PIPE})
    elif kind == "closed":
        yield Stdout({"shell": 'exec "$@" >&-'})
    else:
        earlier = EARLIER if kind == "append" else b""
        path = tmp_path / f"stdout-{os.urandom(4).hex()}"
        path.write_bytes(earlier)
        with path.open("ab" if kind == "append" else "wb") as file:
            yield Stdout({"stdout": file}, lambda _: added_to(path, earlier))


def added_to(path: Path, earlier: bytes) -> bytes:
    content = path.read_bytes()
    assert content.startswith(earlier)
    return content[len(earlier) :]
