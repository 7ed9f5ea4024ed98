"""Lines that tell who wrote them."""

from __future__ import annotations

LONGEST = 1 << 16  # bytes of a line that wait for its end


class Label:
    """Begins each line with `label`, and gives whole lines alone.

    So what comes of several sources may be written in turns.  A line that does not end,
    or grows too long, is given an end.  packets: whether each piece ends a line.

    growth: what one byte may become, and as much again: for what waited, so that what is
    made of a piece is given in one.
    """

    def __init__(self, label: str, *, packets: bool = False) -> None:
        self._label = label.encode()
        self._packets = packets
        self._line = bytearray()  # without an end yet
        self.growth = 2 * (len(self._label) + 1)

    def translate(self, data: bytes) -> bytes:
        ended, end, begun = data.rpartition(b"\n")
        lines = self._labelled(ended) if end else b""
        self._line += begun
        if self._packets or len(self._line) >= LONGEST:
            lines += self.finish()
        return lines

    def _labelled(self, lines: bytes) -> bytes:
        """All of them ended, the first one behind what has waited for it."""
        whole, self._line = self._line + lines, bytearray()
        return self._label + whole.replace(b"\n", b"\n" + self._label) + b"\n"

    def finish(self) -> bytes:
        return self._labelled(b"") if self._line else b""
