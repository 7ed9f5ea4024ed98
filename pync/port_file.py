"""Tells a script which port a listener has got."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pync.errors import LocalError


def write_port(name: str, port: str) -> None:
    """Let the file `name` be a line with `port`; nobody sees it before it is whole.

    Raises LocalError.
    """
    draft = Path(f"{name}.{os.getpid()}.new")
    try:
        with draft.open("x", encoding="ascii") as file:
            file.write(f"{port}\n")
        draft.replace(name)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise LocalError(f"cannot write {name}: {error.strerror}") from None
