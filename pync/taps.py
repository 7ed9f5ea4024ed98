"""Wrappers around a source that change what comes out of it, or when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pync.errors import PyncError
from pync.stream import EndOfStream, Endpoint, Source, WouldBlock


class Tap(Source):
    """A wrapper around `source`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._held = b""  # taken from it and not given out yet

    @property
    def backlog(self) -> int:
        return len(self._held) + self._source.backlog

    @property
    def moved_at(self) -> float:
        return self._source.moved_at

    def stop(self) -> None:
        self._source.stop()


class Limit(Tap):
    """Ends after `count` reads: packets, where the source gives packets."""

    def __init__(self, source: Source, count: int) -> None:
        super().__init__(source)
        self._left = count
        self.framed = source.framed

    def read(self, limit: int) -> bytes:
        if not self._left:
            raise EndOfStream
        data = self._source.read(limit)
        self._left -= 1
        return data


class Unread(Tap):
    """Gives `data`, which was taken from the source too early, and then what that gives."""

    def __init__(self, source: Source, data: bytes) -> None:
        super().__init__(source)
        self._held = data

    @property
    def held(self) -> int:
        """Bytes that come before all else."""
        return len(self._held)

    def put_back(self, data: bytes) -> None:
        """Let `data` come before all else."""
        self._held = data + self._held

    def read(self, limit: int) -> bytes:
        if not self._held:
            return self._source.read(limit)
        data, self._held = self._held[:limit], self._held[limit:]
        return data


def unread(endpoint: Endpoint, data: bytes) -> Endpoint:
    """`endpoint`, which gives `data` before all else; with none it stays what it is."""
    if data:
        endpoint.source = Unread(endpoint.source, data)
    return endpoint


class Pace(Tap):
    """Gives one line at a time, and pauses `interval` seconds after each."""

    def __init__(self, source: Source, interval: float, clock: Callable[[], float]) -> None:
        super().__init__(source)
        self._interval = interval
        self._clock = clock
        self._not_before = clock()

    def read(self, limit: int) -> bytes:
        if not self._held:
            self._held = self._source.read(limit)  # before the pause: the end need not wait
        if self._clock() < self._not_before:
            raise WouldBlock(until=self._not_before)
        data = self._held
        line_end = data.find(b"\n", 0, limit) + 1
        taken = line_end or min(len(data), limit)
        self._held = data[taken:]
        if line_end:
            self._not_before = self._clock() + self._interval
        return data[:taken]


class Translator(Protocol):
    """A transformation of a byte stream that keeps state from piece to piece."""

    growth: int  # the most bytes that one byte may become

    def translate(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes:
        """What was held back for bytes that did not come."""


class Translated(Tap):
    """Gives what `translator` makes of the source, one read for one read.

    What that is more than was asked for comes with the next read.  What the translator
    holds back comes before the end, whatever that is.
    """

    def __init__(self, source: Source, translator: Translator) -> None:
        super().__init__(source)
        self._translator = translator
        self._stopped = False
        self._end: Exception | None = None  # to be raised once all is given

    def read(self, limit: int) -> bytes:
        data = self._held or self._translate(limit)
        self._held = data[limit:]
        return data[:limit]

    def _translate(self, limit: int) -> bytes:
        if self._end:
            raise self._end
        try:
            data = self._source.read(max(1, limit // self._translator.growth))
        except (EndOfStream, PyncError) as end:
            self._end = end
            if rest := self._translator.finish():
                return rest
            raise
        return self._translator.translate(data) + self._last_words()

    def _last_words(self) -> bytes:
        """What the translator holds back, once nothing more will come."""
        return b"" if not self._stopped or self._source.backlog else self._translator.finish()

    def stop(self) -> None:
        super().stop()
        self._stopped = True
        self._held += self._last_words()
