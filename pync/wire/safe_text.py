"""Text that cannot steer a terminal."""

from __future__ import annotations

import codecs

from pync.address import CONTROLS

ALLOWED = "\n\r\t"
ESCAPES = {code: text for code, text in CONTROLS.items() if chr(code) not in ALLOWED}


class SafeText:
    """Control characters, and bytes that are not UTF-8, become \\xNN.

    A character that is split between two pieces comes out whole with the second.
    """

    growth = 4

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def translate(self, data: bytes) -> bytes:
        return self._escape(self._decoder.decode(data))

    def finish(self) -> bytes:
        return self._escape(self._decoder.decode(b"", final=True))

    def _escape(self, text: str) -> bytes:
        return text.translate(ESCAPES).encode()
