"""The rules of who may connect, read again while connections come."""

from __future__ import annotations

from collections.abc import Callable

from pync.doorkeeper import Doorkeeper, Rules
from pync.errors import NetworkError
from pync.loop import Loop
from pync.transports.resolver import Question, Resolver


class Rereading:
    """A task, which it spawns itself when it is asked for: reads the rules of `door` again.

    A thread does so, since the names in them are looked up again too.  Until it comes back
    the rules stand that were read last, and also if it finds a mistake.  say and complain:
    told of how it went.
    """

    def __init__(
        self,
        loop: Loop,
        door: Doorkeeper,
        say: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._door = door
        self._say = say
        self._complain = complain
        self._resolver = Resolver(loop)  # now: later there may be no descriptor for it
        self._reading: Question[Rules] | None = None
        self._once_more = False

    def ask_for(self) -> None:
        """Read them; once more if that is going on, as what is read may be old already."""
        if self._reading:
            self._once_more = True
            return
        self._reading = self._begin()
        self._loop.spawn(self)

    def _begin(self) -> Question[Rules]:
        self._once_more = False
        return self._resolver.search(self._door.read, "cannot read the rules again", owner="")

    def advance(self) -> bool:
        assert self._reading
        try:
            self._door.rules = self._reading.finish()
        except NetworkError as error:
            self._complain(f"{error}; the old rules stand")
        else:
            self._say("The rules of who may connect are read again")
        self._reading = self._begin() if self._once_more else None
        return self._reading is not None
