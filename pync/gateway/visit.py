"""One client of ours as a proxy, from its first word to its last byte."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from pync.endings import Terms
from pync.errors import Forbidden, NetworkError, ProtocolError
from pync.gateway.passage import Passage
from pync.gateway.reaching import Association, Way
from pync.gateway.reception import Codes, Pause, ProxyDialogue, Reception, Wish
from pync.loop import Loop
from pync.opening import PATIENCE, Layer, Opening, cut, last_words
from pync.reaching import Performance, Script
from pync.session import Session
from pync.stream import NEVER, Endpoint
from pync.taps import Unread
from pync.tunnel import Tunnel, cut_off, take_leave
from pync.wire.http.exchange import Exchange

MOST_LAST_WORDS = 64 * 1024  # bytes
ANSWER_LIMIT = 60.0  # seconds that an origin may be silent, if no option says otherwise


class Service(NamedTuple):
    """A kind of proxy: how it talks with a client, and what it calls failures."""

    name: str
    dialogue: Callable[[], ProxyDialogue]
    codes: Codes


class Limits(NamedTuple):
    """Seconds.  open: until a client has said what it wants, and again until it has it.

    answer: that an origin may be silent.  idle, idle_failure: as in endings.Terms.
    """

    open: float = PATIENCE
    answer: float = ANSWER_LIMIT
    idle: float | None = None
    idle_failure: float | None = None


class Host(Protocol):
    """Whom clients visit."""

    def find_way(self, wish: Wish, client: Endpoint, /) -> Way:
        """To what `client` wants; a task that is not spawned yet."""

    def take_turn(self, visit: Visit, /) -> None:
        """It gets its way, as far as that is up to us.  May be repeated."""

    def part(self, visit: Visit, error: NetworkError | None, /) -> None:
        """It is over.  error: what ended it if it failed, which names the client."""


class Visit:
    """A task: one client, from its first word to its last byte."""

    def __init__(
        self,
        loop: Loop,
        client: Endpoint,
        service: Service,
        limits: Limits,
        host: Host,
    ) -> None:
        self._loop = loop
        self._client = client
        self._way: Way | None = None
        self._tunnel: Tunnel | None = None
        self._service = service
        self._dialogue = service.dialogue()
        self._limits = limits
        self._host = host
        self._performance = Performance(self._serve())

    def __str__(self) -> str:
        return f"client {self._client.peer}"

    def advance(self) -> bool:
        try:
            again = self._performance.advance()
        except NetworkError as error:
            self._host.part(self, self._told(error))
            return False
        if not again:
            self._host.part(self, None)
        return again

    def _told(self, error: NetworkError) -> NetworkError:
        """So that nobody has to ask who that was."""
        return NetworkError(f"{self}: {error}")

    def wind_up(self) -> None:
        """Let a tunnel give out what it holds; end all else at once."""
        if self._tunnel:
            self._tunnel.wind_up()
        else:
            self.break_off()
            self._host.part(self, None)

    def break_off(self) -> None:
        """End it at once, so that neither side takes this for the end."""
        self._loop.cancel(self)
        self._performance.close()
        cut(self._loop, self._client)
        if self._way:
            self._way.close()

    def _serve(self) -> Script[None]:
        while not self._dialogue.over:
            exchange = yield from self._receive()
            if self._way is None:
                break
            if self._way.relay:
                yield Association(self._loop, self._way)
                return
            assert self._way.endpoint
            if exchange is None:
                yield from self._join(self._way.endpoint)
                return
            yield from self._pass_on(exchange, self._way.endpoint)
        yield from self._take_leave()
        if self._dialogue.failure:
            raise self._dialogue.failure

    def _receive(self) -> Script[Exchange | None]:
        """What the client wants, and the way there."""

        def set_out(wish: Wish) -> Way:
            """From here on it is the target's time, and then the client's to take the answer."""
            opening.extend(self._loop.clock() + 2 * self._limits.open)
            return self._host.find_way(wish, self._client)

        reception = Reception(
            self._loop, self._client, self._dialogue, self._service.codes, set_out, self._found
        )
        layer = Layer(self._service.name, reception, lambda endpoint: endpoint, late=reception.late)
        deadline = self._loop.clock() + self._limits.open
        opening = Opening(self._loop, self._client, [lambda _: layer], deadline)
        try:
            yield opening
        except NetworkError:
            reception.close()
            raise
        except GeneratorExit:
            reception.close()
            opening.close()
            raise
        self._way = reception.way
        return reception.exchange

    def _found(self, way: Way) -> None:
        if not isinstance(way.error, Forbidden):
            self._host.take_turn(self)

    def _join(self, remote: Endpoint) -> Script[None]:
        """The tunnel."""
        source = self._client.source
        if self._dialogue.surplus:
            source = Unread(source, self._dialogue.surplus)
        terms = Terms(
            idle=self._limits.idle,
            idle_failure=self._limits.idle_failure,
            linger=NEVER,
            passes_failure=True,
        )
        self._tunnel = Tunnel(self._loop, self._client, remote, terms, source)
        try:
            yield self._tunnel
        except GeneratorExit:
            self._tunnel.break_off()
            raise

    def _pass_on(self, exchange: Exchange, origin: Endpoint) -> Script[None]:
        """One exchange, up to the client's next words."""
        try:
            yield Passage(self._loop, self._client, origin, exchange, self._limits.answer)
        except NetworkError:
            cut(self._loop, self._client)
            raise
        if exchange.failure:
            farewell = self._cut_off if exchange.cut else self._take_leave
            yield from farewell()
            raise exchange.failure
        try:
            exchange.resume()
            if not (self._dialogue.over or self._dialogue.request):
                yield Pause(self._loop, self._client, self._dialogue, self._limits.open)
        except ProtocolError:
            words = self._dialogue.data_to_send(MOST_LAST_WORDS)
            with suppress(NetworkError):
                yield last_words(self._loop, self._client, words)
            raise
        except NetworkError:
            cut(self._loop, self._client)
            raise

    def _cut_off(self) -> Script[None]:
        """Let the client see that something is missing, once it has what there was."""
        with suppress(NetworkError):
            yield from self._part(cut_off(self._loop, self._client))

    def _take_leave(self) -> Script[None]:
        return self._part(take_leave(self._loop, self._client, self._limits.answer))

    def _part(self, parting: Session) -> Script[None]:
        try:
            yield parting
        except GeneratorExit:
            parting.finish(abrupt=True)
            raise
