"""From options to programs that run for clients."""

from __future__ import annotations

from pync.dial import terms_of_program
from pync.environment import Environment
from pync.errors import LocalError, ProgramFailed
from pync.job import Job
from pync.loop import Loop
from pync.opening import cut
from pync.options import Options
from pync.program_variables import variables_for
from pync.stream import Endpoint
from pync.transports.process import Command

OPEN_TO_ALL = (
    "Anybody may run this program, from anywhere: "
    "an address to listen on, --allow or --ssl-client-ca would say who"
)


class Jobs:
    """Runs a program for each client.  Raises LocalError if there is none of that name.

    COST: descriptors of ours for each: the client's, two pipes', and that of the exit.
    """

    COST = 4

    def __init__(self, loop: Loop, options: Options, environment: Environment) -> None:
        assert options.command
        self._loop = loop
        self._options = options
        self._environment = environment
        self._command = Command(
            options.command,
            environment.variables,
            in_terminal=options.pty,
            errors_too=options.exec_stderr,
        )
        self._last: Job | None = None

    def warn(self) -> None:
        """Say so if anybody may run it, from anywhere."""
        if self._options.open_to_all:
            self._environment.say(OPEN_TO_ALL)

    def attend(self, client: Endpoint) -> Job:
        """Raises LocalError, having cut the client, if the program cannot be run."""
        variables = variables_for(client, self._environment.variables)
        try:
            program = self._command.start(self._loop, variables)
        except LocalError:
            cut(self._loop, client)
            raise
        terms = terms_of_program(self._options, client.has_end)
        self._last = Job(self._loop, program, client, terms)
        return self._last

    def check(self) -> None:
        """Raise ProgramFailed if the last one had an exit status, and not for our hanging up."""
        if self._last and self._last.status and not self._last.hung_up:
            raise ProgramFailed(self._last.status)
