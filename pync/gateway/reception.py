"""What a client wants of us as a proxy, and its target's being reached.

While that takes its time nothing is said to the client, and nothing it says is
read: so the rest waits where the fast path, or the next request, finds it.  Nothing
tells then that the client has gone, so it is asked from time to time.  Its end alone is
no sign of that: it may have said all it has to say, and wait for the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from pync.errors import NetworkError, PyncError, TimedOut
from pync.gateway.reaching import Way
from pync.loop import Loop
from pync.stage import Dialogue
from pync.stream import EndOfStream, Endpoint, WouldBlock
from pync.wire.http.exchange import Exchange

PIECE = 64 * 1024  # bytes of a next request that are read at a time
ATTENTION = 0.5  # seconds after which a client that has gone is noticed


class Wish(Protocol):
    """A client's request.  datagrams: for a relay of them; host and port are where from, then."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...

    @property
    def datagrams(self) -> bool: ...


class ProxyDialogue(Dialogue, Protocol):
    """The dialogue with a client.

    request: what it wants, once that is known; then one of the others is called.
    over: whether it wants nothing (more).  failure: what is to be told of it then, if
    anything is.  surplus: what came behind the request.
    """

    @property
    def over(self) -> bool: ...

    @property
    def failure(self) -> NetworkError | None: ...

    @property
    def request(self) -> Wish | None: ...

    @property
    def surplus(self) -> bytes: ...

    def grant(self, bound_host: str, bound_port: int, /) -> Exchange | None:
        """The way is found.  What stands between the two; None for a tunnel."""

    def refuse(self, code: int, why: str, /) -> None:
        """There is no way to the target, or there must not be."""

    def late(self) -> None:
        """The client takes too long to say what it wants.  May raise ProtocolError."""


class Codes(NamedTuple):
    """What a protocol calls failures: by the system's number, or by the class of the error."""

    known: Mapping[object, int]
    otherwise: int

    def of(self, error: PyncError) -> int:
        number = getattr(error, "errno", None)
        return self.known.get(number, self.known.get(type(error), self.otherwise))


class Reception:
    """A dialogue (see stage.Dialogue) at the end of which there is a way to what is wanted.

    way: None if nothing is wanted.  exchange: what stands between the client and the
    target; None for a tunnel.  found: called before the client is told how the search ended.
    """

    def __init__(
        self,
        loop: Loop,
        client: Endpoint,
        dialogue: ProxyDialogue,
        codes: Codes,
        find_way: Callable[[Wish], Way],
        found: Callable[[Way], None],
    ) -> None:
        self.way: Way | None = None
        self.exchange: Exchange | None = None
        self._loop = loop
        self._client = client
        self._dialogue = dialogue
        self._codes = codes
        self._find_way = find_way
        self._found = found
        self._finding: Way | None = None
        self._answered = False

    @property
    def established(self) -> bool:
        return self._dialogue.over or self.way is not None

    def receive(self, data: bytes | memoryview) -> None:
        self._dialogue.receive(data)

    def receive_end(self) -> None:
        self._dialogue.receive_end()

    def data_to_send(self, limit: int) -> bytes:
        """Raises WouldBlock while a way is looked for.

        Raises NetworkError if there is none, or if the client has gone.
        """
        words = self._dialogue.data_to_send(limit)
        if words or self._answered or not self._dialogue.request:
            return words
        self._answer(self._finding or self._set_out(self._dialogue.request))
        return self._dialogue.data_to_send(limit)

    def _set_out(self, wish: Wish) -> Way:
        way = self._finding = self._find_way(wish)
        self._loop.spawn(way)
        return way

    def _answer(self, way: Way) -> None:
        self._check_client()
        if not way.over:
            raise WouldBlock(after=ATTENTION, condition=way.changed)
        self._answered = True
        self._found(way)
        if way.error:
            why = str(way.error).replace("\n", "; ")
            self._dialogue.refuse(self._codes.of(way.error), why)
            raise NetworkError(why)
        self.way = way
        self.exchange = self._dialogue.grant(*way.bound)

    def _check_client(self) -> None:
        try:
            self._client.sink.check()
        except NetworkError:
            self._answered = True  # there is nobody to answer any more
            raise

    def late(self) -> None:
        """The time is up.  Raises NetworkError."""
        if self._dialogue.request:
            raise TimedOut("timed out: it does not take its answer")
        self._dialogue.late()
        raise TimedOut("timed out: it does not say what it wants")

    def close(self) -> None:
        """Give it up."""
        if self._finding:
            self._finding.close()


class Pause:
    """A task: from one exchange to what the client says next; silence is its end."""

    def __init__(self, loop: Loop, client: Endpoint, dialogue: ProxyDialogue, limit: float) -> None:
        self._clock = loop.clock
        self._client = client
        self._dialogue = dialogue
        self._until = loop.clock() + limit

    def advance(self) -> bool:
        try:
            self._dialogue.receive(self._client.source.read(PIECE))
        except EndOfStream:
            self._dialogue.receive_end()
        except WouldBlock as blocked:
            if self._clock() < self._until:
                blocked.until = min(blocked.until, self._until)
                raise
            self._dialogue.late()
            self._dialogue.receive_end()
        return False
