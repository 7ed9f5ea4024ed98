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
from pync.stage import Dialogue, Transparent
from pync.staged import Staged
from pync.stream import Condition, EndOfStream, Endpoint, Ends, Listener, Peer, WouldBlock
from pync.transports.memory import Discard, Given

PATIENCE = 10.0  # seconds that opening may take if no option says otherwise
PIECE = 64 * 1024  # bytes read at a time
LAST_WORDS = 1.0  # seconds that a peer is given to hear why it failed


def nothing() -> None:
    """What most have to say when their time is up."""


class Layer(NamedTuple):
    """A protocol between a peer and us: what opens it, and the endpoint seen through it.

    piece: bytes read at a time.  One at a time leaves in the kernel what follows.
    late: called when the time is up.  It may raise a NetworkError in its own words, after
    which the dialogue's last words are said if it is no TimedOut.
    """

    name: str
    dialogue: Dialogue
    around: Callable[[Endpoint], Endpoint]
    piece: int = PIECE
    late: Callable[[], None] = nothing


# What makes each of them, nearest to the wire first.
Maker = Callable[[Peer], Layer]
Layers = Sequence[Maker]


def stage(name: str, loop: Loop, engine: Transparent) -> Layer:
    """A protocol that stays."""
    return Layer(name, engine, lambda endpoint: Staged(loop, endpoint, engine))


class Opening:
    """A task: leads the dialogues of `layers`, one after the other.

    endpoint: what the user's bytes go through, once the task is over.  advance raises
    NetworkError, having closed it, if a dialogue fails or is not over by `deadline`,
    on the loop's clock.
    """

    def __init__(self, loop: Loop, endpoint: Endpoint, layers: Layers, deadline: float) -> None:
        self.endpoint = endpoint
        self._loop = loop
        self._makers = deque(layers)
        self._layer: Layer | None = None
        self.deadline = deadline
        self._until = deadline  # of what is going on, the last words for one
        self._unsent = b""
        self._farewell: Session | None = None
        self._error: NetworkError | None = None

    def advance(self) -> bool:
        try:
            if self._error is None:
                return self._try_step()
            if self._farewell and self._loop.clock() < self._until and self._farewell.advance():
                return True
        except WouldBlock as blocked:
            blocked.until = min(blocked.until, self._until)
            raise
        except NetworkError:
            pass  # the peer has gone; what matters is why it was given up
        return self._give_up()

    def _try_step(self) -> bool:
        """Go on with the dialogue; whether there is more to do."""
        try:
            if self._layer and self._loop.clock() >= self._until:
                self._layer.late()
                raise TimedOut(f"{self._layer.name} with {self.endpoint.peer.target} timed out")
            return self._step()
        except TimedOut as error:
            self._error = error
        except NetworkError as error:
            self._error = error
            self._take_leave()
        return True

    def _step(self) -> bool:
        if self._layer is None:
            if not self._makers:
                return False
            self._layer = self._makers.popleft()(self.endpoint.peer)
        dialogue = self._layer.dialogue
        self._say(dialogue)
        if dialogue.established:
            self.endpoint = self._layer.around(self.endpoint)
            self._layer = None
        else:
            self._listen(self._layer)
        return True

    def _say(self, dialogue: Dialogue) -> None:
        while words := self._unsent or dialogue.data_to_send(PIECE):
            self._unsent = words
            self._unsent = words[self.endpoint.sink.write(words) :]

    def _listen(self, layer: Layer) -> None:
        try:
            layer.dialogue.receive(self.endpoint.source.read(layer.piece))
        except EndOfStream:
            layer.dialogue.receive_end()

    def _take_leave(self) -> None:
        """Let the peer hear the last words, if there are any."""
        self._until = self._loop.clock() + LAST_WORDS
        if self._layer and (words := self._unsent + self._layer.dialogue.data_to_send(PIECE)):
            self._farewell = last_words(self._loop, self.endpoint, words)

    def _give_up(self) -> bool:
        self.close()
        error, self._error = self._error, None  # which would keep itself alive, by its traceback
        assert error
        raise error

    def extend(self, deadline: float) -> None:
        """Let it take longer."""
        self.deadline = self._until = deadline

    def close(self) -> None:
        """Give it up."""
        if self._farewell:
            self._farewell.finish(abrupt=True)
        else:
            cut(self._loop, self.endpoint)


def last_words(loop: Loop, endpoint: Endpoint, words: bytes) -> Session:
    """Says them, gives the peer the time to hear them, and closes the endpoint."""
    terms = Terms(one_way=True, idle=LAST_WORDS)
    return Session(loop, Ends(Given(words), Discard()), endpoint, terms)


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

    As many of them as are wanted may be opening at a time, so that one that never gets
    there holds nobody up, and one that fails is only told of.
    """

    BATCH = 64  # clients that begin to open before others get their turn

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
        if self._open:
            return self._open.popleft()
        for _ in range(self.BATCH):
            if len(self._arrivals) >= self.wanted:
                raise WouldBlock(condition=self._ended)
            try:
                self._admit(self._listener.accept())
            except WouldBlock as blocked:
                raise WouldBlock(blocked.fd, blocked.events, condition=self._ended) from None
        raise WouldBlock(after=0)

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
