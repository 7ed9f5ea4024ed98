"""How pync starts, as `pync` and as `python -m pync`."""

from __future__ import annotations

import gc


def start() -> int:
    """Run pync.  What is imported stays to the end: no look for garbage in it, not even then."""
    gc.disable()
    from pync.cli import main

    gc.freeze()
    gc.enable()
    return main()


if __name__ == "__main__":
    raise SystemExit(start())
