"""A program that runs for one client: what it writes goes out, what comes in it reads.

The client's end is the end of its input, and no more: what it still writes goes out.  Once
it has exited, and all that it has written is on its way, nothing is wanted of the client any
more.  What else ends the session, the client's going above all, hangs the program up; and
the job lasts until that is gone.
"""

from __future__ import annotations

from pync.endings import AT_ONCE, DRAIN, GRACE, Closing, Terms
from pync.errors import NetworkError, PyncError
from pync.loop import Loop
from pync.session import Session
from pync.stream import NEVER, Condition, Endpoint, WouldBlock
from pync.transports.process import Process


class Job:
    """A task (see hub.Attendance): a program and its client, both of which it owns.

    terms: as the options say; what a program needs is put in.  name: whose failing it is,
    where there are several.  advance raises NetworkError for what ended it, whatever that
    was, once the program is gone.
    """

    def __init__(
        self, loop: Loop, program: Process, client: Endpoint, terms: Terms, name: str = ""
    ) -> None:
        self._clock = loop.clock
        self._program = program
        self._client = client
        self._name = name
        terms = terms._replace(
            keeps_end_back=False, linger=NEVER, passes_failure=True, looks_for_reset=True
        )
        self._session = Session(loop, program.ends, client, terms)
        self._parted = False  # the client has been let go of
        self._silent = False  # the program has closed its output by itself
        self._failure = ""  # what ended the session, if that failed
        program.changed.add(self._session.changed, Condition.notify)

    @property
    def status(self) -> int | None:
        """The program's, as a shell tells it; None as long as it runs."""
        return self._program.status

    @property
    def hung_up(self) -> bool:
        return self._program.hung_up

    def advance(self) -> bool:
        if not self._parted:
            if self._converse():
                return True
            self._part()
        if not self._program.gone:
            raise WouldBlock(condition=self._program.changed)
        if self._failure:
            raise NetworkError(self._name + self._failure)
        return False

    def _converse(self) -> bool:
        """Whether the session goes on."""
        if not self._session.closing:
            self._silent = self._session.inward.drained_at < NEVER
            if self._silent and self.status is not None:
                self._take_leave()
        try:
            return self._session.advance()
        except PyncError as error:
            self._failure = str(error)
            return False

    def _take_leave(self) -> None:
        """Whatever the client still sends is for nobody."""
        if self._client.has_end:
            patience = self._session.terms.idle
            closing = Closing(drain_until=self._clock() + DRAIN, patience=patience)
        else:
            closing = Closing(drain_until=AT_ONCE, patience=GRACE)
        self._session.close(closing)

    def _part(self) -> None:
        """The client has gone.  A program that has nothing to say to it may finish its work."""
        self._parted = True
        if self._failure or not self._silent:
            self._program.hang_up()  # before it could take this for its input's end
        self._program.close()

    def wind_up(self) -> None:
        """Hang up; what the program has written goes out, and then the client is cut."""
        if not (self._parted or self._session.closing):
            self._session.close(Closing(abrupt=True, patience=GRACE))
        self._program.hang_up()

    def break_off(self, error: PyncError) -> None:
        """End it at once, so that the client does not take this for the end.

        A program that has been hung up already is killed.
        """
        if self._program.hung_up:
            self._program.kill()
        else:
            self._program.hang_up()
        if not self._parted:
            self._parted = True
            self._session.break_off(error)
            self._program.close()
