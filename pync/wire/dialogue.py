"""What two programs say to each other before the user's bytes pass, as a script.

A script is a generator.  It says things, and where it listens it yields how the
next piece of what the peer says is measured, and is sent that piece once it is
whole.  It returns when the conversation is over, and raises ProtocolError when
what it got is not what was wanted.  So any cut of the input gives the same, and
what is held is bounded here for all protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from pync.errors import ProtocolError

MOST_TURN = 64 * 1024  # bytes that the peer says in one turn
MOST_SURPLUS = 256 * 1024  # bytes that may come behind the last turn

# Told all that is there, at least a byte, how many bytes the first piece has; None: it is
# not whole yet.
Measure = Callable[[bytearray], "int | None"]
Check = Callable[[str, str], bool]  # whether that user has that password
Result = TypeVar("Result")
Reading = Generator[Measure, bytes, Result]


class Conversation:
    """A dialogue (see stage.Dialogue) that is over when its script is, and all is said.

    failed: how a message about it begins.  The script starts at once; what it needs of
    a subclass must be there before.
    """

    def __init__(self, failed: str, script: Reading[None]) -> None:
        self.established = False
        self._failed = failed
        self._failure: ProtocolError | None = None
        self._script = script
        self._to_send = bytearray()
        self._received = bytearray()
        self._taken = 0  # bytes that the script has got in this turn
        self._measure = next(script, None)  # None: the script is over
        self._settle()

    @property
    def surplus(self) -> bytes:
        """What came behind the peer's last words, once they are over."""
        return bytes(self._received)

    def receive(self, data: bytes | memoryview) -> None:
        """These bytes came from the peer.  What comes after a failure fails as well."""
        if self._failure:
            raise self._failure
        try:
            self._receive(data)
        except ProtocolError as error:
            raise self._fail(str(error)) from None

    def receive_end(self) -> None:
        """The peer's bytes have ended.  Raises ProtocolError unless all is over."""
        if not self.established:
            raise self._fail("it closed the connection")

    def data_to_send(self, limit: int) -> bytes:
        """Up to `limit` bytes for the wire; empty if there is nothing now."""
        data = bytes(self._to_send[:limit])
        del self._to_send[:limit]
        self._settle()
        return data

    def _say(self, words: bytes) -> None:
        """The script's turn: what the peer says from now on is its answer."""
        self._to_send += words
        self._taken = 0

    def _settle(self) -> None:
        self.established = not (self._failure or self._measure or self._to_send)

    def _fail(self, why: str) -> ProtocolError:
        self._failure = ProtocolError(f"{self._failed}: {why}")
        self._settle()
        return self._failure

    def _receive(self, data: bytes | memoryview) -> None:
        self._received += data
        while self._received:
            self._check_turn()
            if self._measure is None:
                self._check_surplus()
                return
            size = self._measure(self._received)
            if self._taken + (len(self._received) if size is None else size) > MOST_TURN:
                raise too_long()
            if size is None:
                return
            self._take(size)

    def _check_turn(self) -> None:
        """Raise ProtocolError if the peer should not speak now."""

    def _check_surplus(self) -> None:
        if len(self._received) > MOST_SURPLUS:
            raise ProtocolError("it sends too much before anybody can take it")

    def _take(self, size: int) -> None:
        piece = bytes(self._received[:size])
        del self._received[:size]
        self._taken += size
        try:
            self._measure = self._script.send(piece)
        except StopIteration:
            self._measure = None
            self._settle()


class Questions(Conversation):
    """The side that asks: no answer may come before all of its question is on the wire.

    What is unsaid when it fails stays so: it may be a password.
    """

    def _check_turn(self) -> None:
        if self._to_send:
            raise ProtocolError("it answered before it was asked")

    def _fail(self, why: str) -> ProtocolError:
        self._to_send.clear()
        return super()._fail(why)


def exactly(size: int) -> Measure:
    """A piece of so many bytes.  One of none is whole when the next byte comes."""
    if size > MOST_TURN:
        raise too_long()
    return lambda received: size if len(received) >= size else None


def parse(reading: Reading[Result], data: bytes) -> tuple[Result, bytes]:
    """What `reading` makes of the beginning of `data`, and the rest.

    Raises ProtocolError, also if there is too little of it.
    """
    rest = bytearray(data)
    try:
        measure = next(reading)
        while rest and (size := measure(rest)) is not None:
            piece = bytes(rest[:size])
            del rest[:size]
            measure = reading.send(piece)
    except StopIteration as end:
        return end.value, bytes(rest)
    raise ProtocolError("it is cut short")


def too_long() -> ProtocolError:
    """More than anybody has to say here."""
    return ProtocolError("its answer is too long")
