"""What is done to a descriptor that pync was started with, on every system."""

from __future__ import annotations

import os


def put_null_in_place_of(fd: int) -> None:
    """Close `fd` for its reader, and let no later descriptor take the number."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)
