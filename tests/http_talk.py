"""How tests talk to the engines of HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

EVERYTHING = 1 << 20
SIZES = {"whole": EVERYTHING, "byte by byte": 1}

however_cut = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())


def crlf(text: str) -> bytes:
    """A message, written with \\n for CR LF."""
    return text.replace("\n", "\r\n").encode()


def feed(put: Callable[[bytes], Any], data: bytes, size: int = EVERYTHING) -> None:
    for start in range(0, len(data), size):
        put(data[start : start + size])


def drain(take: Callable[[int], bytes], size: int = EVERYTHING) -> bytes:
    return b"".join(iter(lambda: take(size), b""))
