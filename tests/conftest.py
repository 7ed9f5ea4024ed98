"""What every test gets: a check that it leaves no descriptor behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest


def descriptors() -> set[str]:
    """Each open descriptor and what it is."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.add(f"{link.name} {link.readlink()}")
    return found


@pytest.fixture(autouse=True)
def _no_descriptor_left() -> Iterator[None]:
    before = descriptors()
    yield
    gc.collect()
    assert descriptors() <= before, "a test left descriptors open"
