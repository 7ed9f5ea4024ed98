"""The client's side of a plain opening: what is said and what is answered, in turns.

Whatever comes before TLS, anybody on the way may have written.  If it were
passed on, it would look as if the server had said it under TLS (the mistake of
CVE-2011-0411 and its like).  So the turns are kept strictly: a step says
something, and only once all of it is on the wire is its reply read, to its last
byte.  A byte that comes out of turn, a second reply or one after the last, ends
the opening; what was not understood is never kept for later.

A reply is read by a generator.  It yields how the next piece of the reply is
measured and is sent that piece, once it is whole; it returns when the reply is
over, and raises ProtocolError when the reply is not the wanted one.  So any cut
of the input gives the same, and what is held is bounded here for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

from pync.errors import ProtocolError

MOST_REPLY = 64 * 1024  # bytes in one reply
MOST_SHOWN = 200  # bytes of a reply in a message

# Told all that is there, how many bytes the first piece has; None: it is not whole yet.
Measure = Callable[[bytearray], "int | None"]
Reply = Generator[Measure, bytes, None]


class Step(NamedTuple):
    """One turn: what we say (nothing, where the server begins), and how the reply is read."""

    say: bytes
    reply: Callable[[], Reply]


class Opening:
    """A dialogue (see stage.Dialogue) that is over when the last step is.

    failed: how a message about it begins.
    """

    def __init__(self, failed: str, steps: Iterable[Step]) -> None:
        self.established = False
        self._failed = failed
        self._failure: ProtocolError | None = None
        self._steps = iter(steps)
        self._reply: Reply
        self._measure: Measure
        self._to_send = bytearray()
        self._received = bytearray()
        self._taken = 0  # bytes of this step's reply that its generator has got
        self._next_step()

    def receive(self, data: bytes | memoryview) -> None:
        """These bytes came from the peer.  What comes after a failure fails as well."""
        if self._failure:
            raise self._failure
        try:
            self._receive(data)
        except ProtocolError as error:
            raise self._fail(str(error)) from None

    def receive_end(self) -> None:
        """The peer's bytes have ended.  Raises ProtocolError unless the opening is over."""
        if not self.established:
            raise self._fail("it closed the connection")

    def data_to_send(self, limit: int) -> bytes:
        """Up to `limit` bytes for the wire; empty if there is nothing now."""
        data = bytes(self._to_send[:limit])
        del self._to_send[:limit]
        if data and not self._to_send:
            self._listen()
        return data

    def _fail(self, why: str) -> ProtocolError:
        self._failure = ProtocolError(f"{self._failed}: {why}")
        self.established = False
        self._to_send.clear()
        return self._failure

    def _receive(self, data: bytes | memoryview) -> None:
        self._received += data
        while self._received:
            self._check_turn()
            size = self._measure(self._received)
            if self._taken + (len(self._received) if size is None else size) > MOST_REPLY:
                raise too_long()
            if size is None:
                return
            self._take(size)

    def _check_turn(self) -> None:
        if self.established:
            raise ProtocolError("bytes came before the handshake")
        if self._to_send:
            raise ProtocolError("it answered before it was asked")

    def _take(self, size: int) -> None:
        piece = bytes(self._received[:size])
        del self._received[:size]
        self._taken += size
        try:
            self._measure = self._reply.send(piece)
        except StopIteration:
            self._next_step()

    def _next_step(self) -> None:
        step = next(self._steps, None)
        if step is None:
            self.established = True
            return
        self._reply = step.reply()
        self._taken = 0
        self._to_send += step.say
        if not step.say:
            self._listen()

    def _listen(self) -> None:
        """What was to be said is said; from now on its reply may come."""
        try:
            self._measure = next(self._reply)
        except StopIteration:
            self._next_step()


def exactly(size: int) -> Measure:
    """A piece of so many bytes.  One of none is whole when the next byte comes."""
    if size > MOST_REPLY:
        raise too_long()
    return lambda received: size if len(received) >= size else None


def said(words: bytes) -> ProtocolError:
    """The server refuses, in these words."""
    text = words[:MOST_SHOWN].decode("utf-8", "backslashreplace").strip()
    return ProtocolError(f"the server said {text!r}")


def not_offered() -> ProtocolError:
    """The server has no TLS to offer."""
    return ProtocolError("the server does not offer STARTTLS")


def nonsense() -> ProtocolError:
    """The server speaks another protocol, or breaks this one."""
    return ProtocolError("its answer makes no sense in this protocol")


def too_long() -> ProtocolError:
    """More than anybody has to say here."""
    return ProtocolError("its answer is too long")
