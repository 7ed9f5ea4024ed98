"""Line endings for protocols that want CR LF."""

from __future__ import annotations

import re

BARE_LF = re.compile(rb"(?<!\r)\n")


class Crlf:
    """LF becomes CR LF; a CR LF that is already there stays, also across a split."""

    growth = 2

    def __init__(self) -> None:
        self._after_cr = False

    def translate(self, data: bytes) -> bytes:
        if not data:
            return data
        kept = 1 if self._after_cr and data.startswith(b"\n") else 0
        self._after_cr = data.endswith(b"\r")
        return data[:kept] + BARE_LF.sub(b"\r\n", data[kept:])

    def finish(self) -> bytes:
        return b""
