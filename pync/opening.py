"""What is said between a connection's being made and the user's first byte.

A connection may have to pass dialogues before it is the user's: the plain words
before TLS, its handshake.  One follows the other, from the wire inwards, under one
time limit.  A dialogue is taken in turns: what there is to say is sent before
anything is listened to.

One that fails may have last words (TLS says why it refuses), and the peer is given
the time to hear them: that is a short session, with the ending rules of any other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pync.endings import Terms
from pync.errors import NetworkError, TimedOut
from pync.loop import Loop
from pync.session import Session
from pync.stage import Dialogue
from pync.stream import Condition, EndOfStream, Endpoint, Ends, Listener, WouldBlock
from pync.transports.memory import Discard, Given

PATIENCE = 10.0  # seconds that opening may take if no option says otherwise
PIECE = 64 * 1024  # bytes read at a time
LAST_WORDS = 1.0  # seconds that a peer is given to hear why it failed


class Layer(NamedTuple):
    """A protocol between a peer and us: what opens it, and the endpoint seen through it."""

    name: str
    dialogue: Dialogue
    around: Callable[[Endpoint], Endpoint]


class Opening:
    """A task: leads the dialogues of `layers`, the nearest to the wire first.

    endpoint: what the user's bytes go through, once the task is over.  advance raises
    NetworkError, having closed it, if a dialogue fails or is not over by `deadline`,
    on the loop's clock.
    """

    def __init__(
        self, loop: Loop, endpoint: Endpoint, layers: Sequence[Layer], deadline: float
    ) -> None:
        self.endpoint = endpoint
        self._loop = loop
        self._layers = deque(layers)
        self._deadline = deadline
        self._unsent = b""
        self._farewell: Session | None = None
        self._error: NetworkError | None = None

    def advance(self) -> bool:
        if self._error is None:
            try:
                self._open()
            except NetworkError as error:
                self._error = error
            else:
                return False
        return self._leave(self._error)

    def _open(self) -> None:
        try:
            while self._layers:
                self._converse(self._layers[0].dialogue)
                self.endpoint = self._layers.popleft().around(self.endpoint)
        except WouldBlock as blocked:
            if self._loop.clock() < self._deadline:
                blocked.until = min(blocked.until, self._deadline)
                raise
            name = self._layers[0].name
            raise TimedOut(f"{name} with {self.endpoint.peer.target} timed out") from None

    def _converse(self, dialogue: Dialogue) -> None:
        self._say(dialogue)
        while not dialogue.established:
            try:
                dialogue.receive(self.endpoint.source.read(PIECE))
            except EndOfStream:
                dialogue.receive_end()
            self._say(dialogue)

    def _say(self, dialogue: Dialogue) -> None:
        while words := self._unsent or dialogue.data_to_send(PIECE):
            self._unsent = words
            self._unsent = words[self.endpoint.sink.write(words) :]

    def _leave(self, error: NetworkError) -> bool:
        """Say the last words, if there are any, and raise `error` then."""
        try:
            if self._session().advance():
                return True
        except NetworkError:
            pass  # it has gone; what matters is why it failed
        raise error

    def _session(self) -> Session:
        if self._farewell is None:
            words = self._unsent + self._layers[0].dialogue.data_to_send(PIECE)
            terms = Terms(one_way=True, quit_after=LAST_WORDS)
            ends = Ends(Given(words) if words else Given(), Discard())
            self._farewell = Session(self._loop, ends, self.endpoint, terms)
        return self._farewell

    def close(self) -> None:
        """Give it up."""
        if self._farewell:
            self._farewell.finish(abrupt=True)
        else:
            cut(self._loop, self.endpoint)


def cut(loop: Loop, endpoint: Endpoint) -> None:
    for fd in endpoint.descriptors:
        loop.forget(fd)
    endpoint.abort()


class Arrival:
    """A task: one client's opening, whose failing is its own."""

    def __init__(
        self, opening: Opening, ended: Callable[[Arrival, NetworkError | None], None]
    ) -> None:
        self.opening = opening
        self._ended = ended

    def advance(self) -> bool:
        try:
            if self.opening.advance():
                return True
        except NetworkError as error:
            self._ended(self, error)
        else:
            self._ended(self, None)
        return False


class OpeningListener(Listener):
    """Gives the peers of `listener`, which it owns, once they are open.

    Any number of them may be opening at a time, so that one that never gets there
    holds nobody up, and one that fails is only told of.
    """

    def __init__(
        self,
        loop: Loop,
        listener: Listener,
        open_peer: Callable[[Endpoint], Opening],
        complain: Callable[[str], None],
    ) -> None:
        self.places = listener.places
        self.descriptors = listener.descriptors
        self._loop = loop
        self._listener = listener
        self._open_peer = open_peer
        self._complain = complain
        self._arrivals: set[Arrival] = set()
        self._open: deque[Endpoint] = deque()
        self._ended = Condition()

    def accept(self) -> Endpoint:
        while not self._open:
            try:
                self._admit(self._listener.accept())
            except WouldBlock as blocked:
                raise WouldBlock(blocked.fd, blocked.events, condition=self._ended) from None
        return self._open.popleft()

    def _admit(self, endpoint: Endpoint) -> None:
        arrival = Arrival(self._open_peer(endpoint), self._end)
        self._arrivals.add(arrival)
        self._loop.spawn(arrival)

    def _end(self, arrival: Arrival, error: NetworkError | None) -> None:
        self._arrivals.remove(arrival)
        if error:
            self._complain(str(error))
        else:
            self._open.append(arrival.opening.endpoint)
        self._ended.notify()

    def close(self) -> None:
        """Those that are not open yet, or that nobody took, are cut."""
        for arrival in self._arrivals:
            self._loop.cancel(arrival)
            arrival.opening.close()
        self._arrivals.clear()
        for endpoint in self._open:
            cut(self._loop, endpoint)
        self._listener.close()
