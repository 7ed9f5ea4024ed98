"""A chat: clients that are connected with each other, with names, line by line."""

from __future__ import annotations

from collections.abc import Callable

from pync.broker import Broker, Guest
from pync.circle import OUTBOX, Circle
from pync.loop import Loop
from pync.session import Session
from pync.stream import Endpoint, Ends, Sink, WouldBlock
from pync.transports.memory import MemoryPipe
from pync.wire.chat import LONGEST, Line, Lines, Names, announced, said, wanted_name

TOGETHER = 100  # names in a line: more might not fit a datagram


class Chat(Broker):
    """Connects clients with each other, and tells them who comes and goes."""

    def __init__(
        self,
        loop: Loop,
        open_session: Callable[[Ends, Endpoint], Session],
        outbox: int = OUTBOX,
    ) -> None:
        super().__init__(loop, open_session, outbox)
        self._names = Names()

    def _voice(self, outbox: MemoryPipe) -> Sink:
        return ChatVoice(self.circle, self._names, outbox)

    def _begin(self, guest: Guest) -> None:
        super()._begin(guest)
        present = [f"<{name}>" for name in self._names]
        name = self._names.add(guest.outbox)
        place = guest.session.remote.peer.host or "this machine"
        self.circle.give(announced(f"{place} is connected as <{name}>."))
        for begin in range(0, len(present), TOGETHER):
            names = ", ".join(present[begin : begin + TOGETHER])
            guest.outbox.put(announced(f"already connected: {names}."))

    def _end(self, outbox: MemoryPipe) -> None:
        super()._end(outbox)
        name = self._names.remove(outbox)
        if name is not None:
            self.circle.give(announced(f"<{name}> is disconnected."))


class ChatVoice(Sink):
    """What a client says, on its way to the others, line by line.

    Who does not listen is not listened to: with its own outbox full it waits, since what
    it says may have to be answered.
    """

    limit = LONGEST

    def __init__(self, circle: Circle, names: Names, outbox: MemoryPipe) -> None:
        self.framed = outbox.framed
        self._circle = circle
        self._names = names
        self._outbox = outbox
        self._lines = Lines()

    def write(self, data: bytes | memoryview) -> int:
        self._wait()
        self._pass_on(self._lines.feed(bytes(data)))
        if self.framed:  # no line goes on in the next datagram
            self._pass_on(self._lines.finish())
        return len(data)

    def end(self) -> None:
        """Pass on what has no end; the client is told, which shows whether it listens."""
        if self._outbox not in self._circle:
            return
        self._wait()
        self._pass_on(self._lines.finish())
        self._answer("your side has ended; you still hear the others.")

    def _wait(self) -> None:
        if not self._outbox.room:
            raise WouldBlock(condition=self._outbox.changed)
        self._circle.wait_for_room(self._outbox)

    def _pass_on(self, lines: list[Line]) -> None:
        for line in lines:
            name = wanted_name(line.text)
            if name is not None:
                self._rename(name)
            else:
                self._circle.give(said(self._names[self._outbox], line.text), self._outbox)
        if any(line.cut for line in lines):
            self._answer(f"your line has more than {LONGEST} bytes: it is sent in pieces.")

    def _rename(self, name: str) -> None:
        old = self._names[self._outbox]
        try:
            self._names.change(self._outbox, name)
        except ValueError as error:
            self._answer(f"the name {name!r} is {error}." if name else f"the name is {error}.")
        else:
            self._circle.give(announced(f"<{old}> is now <{name}>."))

    def _answer(self, text: str) -> None:
        self._outbox.put(announced(text))
