"""The client's side of a plain opening: what is said and what is answered, in turns.

Whatever comes before TLS, anybody on the way may have written.  If it were
passed on, it would look as if the server had said it under TLS (the mistake of
CVE-2011-0411 and its like).  So the turns are kept strictly: a step says
something, and only once all of it is on the wire is its reply read, to its last
byte.  A byte that comes out of turn, a second reply or one after the last, ends
the opening; what was not understood is never kept for later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from pync.errors import ProtocolError
from pync.wire.dialogue import Questions, Reading

MOST_SHOWN = 200  # bytes of a reply in a message

Reply = Reading[None]  # raises ProtocolError if the reply is not the wanted one


class Step(NamedTuple):
    """One turn: what we say (nothing, where the server begins), and how the reply is read."""

    say: bytes
    reply: Callable[[], Reply]


class Opening(Questions):
    """A dialogue (see stage.Dialogue) that is over when the last step is.

    failed: how a message about it begins.
    """

    def __init__(self, failed: str, steps: Iterable[Step]) -> None:
        super().__init__(failed, self._take_turns(steps))

    def _take_turns(self, steps: Iterable[Step]) -> Reply:
        for step in steps:
            self._say(step.say)
            yield from step.reply()

    def _check_turn(self) -> None:
        if self.established:
            raise ProtocolError("bytes came before the handshake")
        super()._check_turn()


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
