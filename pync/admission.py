"""Letting peers in, for ever: what all that serve many at once begin with."""

from __future__ import annotations

from collections.abc import Callable

from pync.errors import OutOfDescriptors
from pync.stream import Condition, Endpoint, Listener, WouldBlock

BATCH = 64  # peers admitted before others get their turn


class Admission:
    """A task: gives each peer of `listener` to `admit`.

    complain: told, once, that there is no descriptor for more.  left: notified when one
    has gone, since there may be one then.
    """

    def __init__(
        self,
        listener: Listener,
        admit: Callable[[Endpoint], None],
        complain: Callable[[str], None],
        left: Condition,
    ) -> None:
        self._listener = listener
        self._admit = admit
        self._complain = complain
        self._left = left
        self._full = False

    def advance(self) -> bool:
        for _ in range(BATCH):
            try:
                endpoint = self._listener.accept()
            except OutOfDescriptors as error:
                self._say_full(error)
                raise WouldBlock(after=self._listener.RETRY, condition=self._left) from None
            self._admit(endpoint)
        return True

    def _say_full(self, error: OutOfDescriptors) -> None:
        if not self._full:
            self._full = True
            self._complain(f"{error}; clients wait until one leaves")
