"""Two connections joined, so that each side sees of the other what it would see by itself.

Bytes pass, and the end of one direction passes, while the other one goes on.  What breaks
on one side is a reset on the other, behind all that came before.
"""

from __future__ import annotations

from pync.endings import AT_ONCE, DRAIN, GRACE, Closing, Terms
from pync.errors import PyncError
from pync.loop import Loop
from pync.opening import cut
from pync.session import Session
from pync.stream import Endpoint, Ends, Source
from pync.transports.memory import Discard, Given


class Tunnel:
    """A task: client and target, both of which it owns, joined until that is over.

    source: what the client says, where that is not client.source alone.
    advance raises what ended it, once neither side can take that for the end.
    """

    def __init__(
        self,
        loop: Loop,
        client: Endpoint,
        target: Endpoint,
        terms: Terms,
        source: Source | None = None,
    ) -> None:
        self._loop = loop
        self._client = client
        self._session = Session(loop, Ends(source or client.source, client.sink), target, terms)
        self._parting = False  # the target has been let go of, and it is the client's turn
        self._error: PyncError | None = None

    def advance(self) -> bool:
        try:
            if self._session.advance():
                return True
        except PyncError as error:
            self._error = self._error or error
        if not self._parting:
            self._part()
            return True
        failure, self._error = self._error, None  # it would keep itself alive, by its traceback
        if failure:
            raise failure
        return False

    def _part(self) -> None:
        self._parting = True
        closing = self._session.closing
        if self._error or (closing and closing.abrupt):
            self._session = cut_off(self._loop, self._client)
        else:
            self._session = take_leave(self._loop, self._client, self._session.terms.idle)

    def wind_up(self) -> None:
        """Take in no more: what is held is given out, both ways, and then both are cut."""
        if not self._session.closing:
            self._session.close(Closing(abrupt=True, patience=GRACE))

    def break_off(self) -> None:
        """End it at once, so that neither side takes this for the end."""
        self._session.finish(abrupt=True)
        if not self._parting:
            cut(self._loop, self._client)


def cut_off(loop: Loop, client: Endpoint) -> Session:
    """Lets the client see that something is missing, once it has what there was."""
    return closing(loop, client, Closing(abrupt=True, patience=GRACE))


def take_leave(loop: Loop, client: Endpoint, patience: float | None) -> Session:
    """Closes the client's connection, once it has all that is on its way to it."""
    until = loop.clock() + DRAIN if client.has_end else AT_ONCE  # what else comes is a new peer's
    return closing(loop, client, Closing(drain_until=until, patience=patience))


def closing(loop: Loop, client: Endpoint, how: Closing) -> Session:
    session = Session(loop, Ends(Given(), Discard()), client, Terms())
    session.close(how)
    return session
