"""What every test gets: a check that it leaves no descriptor behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest


def descriptors() -> set[str]:
    return {f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}" for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}")}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_descriptor_left() -> Iterator[None]:
    before = descriptors()
    yield
    gc.collect()
    assert descriptors() <= before, "a test left descriptors open"
