"""--wait-open: a connection that is tried for until it can be had."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from pync.errors import NetworkError
from pync.loop import Loop
from pync.options import Options
from pync.redial import Pause
from pync.scan.targets import port_texts
from pync.stream import NEVER, Endpoint

PATIENCE = 5.0  # seconds that an attempt has, if no option says otherwise
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds from an attempt that failed to the next
GROWTH = 1.5


class Waiting:
    """Tries again and again, until the time of --wait-open is over.

    patience: seconds that an attempt has once its look-up is over.  say: told why one failed.
    """

    def __init__(self, options: Options, loop: Loop, say: Callable[[str], None]) -> None:
        self._options = options
        self._loop = loop
        self._say = say
        self._deadline = loop.clock() + (options.wait_open or 0)
        self._limit = options.connect_limit
        self.patience = PATIENCE if self._limit is None else NEVER

    def each(self) -> Iterator[Options]:
        """The options for each port alone."""
        if not self._options.ports:
            yield self._options
        for port in port_texts(self._options.ports):
            yield self._options._replace(port=port, ports=())

    def connect(self, attempt: Callable[[float], Endpoint]) -> Endpoint:
        """A connection.  Raises the last NetworkError when time is up.

        attempt: makes one, or raises NetworkError, by the deadline that it is given.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                return attempt(self.next_deadline())
            except NetworkError as error:
                self._sleep(pause)
                if self._loop.clock() >= self._deadline:
                    raise
                self._say(str(error))
            pause = min(pause * GROWTH, LONGEST_PAUSE)

    def next_deadline(self) -> float:
        """Of an attempt that is begun now."""
        limit = NEVER if self._limit is None else self._limit
        return min(self._deadline, self._loop.clock() + limit)

    def _sleep(self, pause: float) -> None:
        """Not quite so long: many that wait for the same are not to come all at once."""
        left = self._deadline - self._loop.clock()
        self._loop.run(Pause(self._loop, min(pause * random.uniform(0.5, 1), left)))  # noqa: S311
