"""From options to a proxy server."""

from __future__ import annotations

import errno
import hmac
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from pync.access import TargetRule, TargetRules, read_target
from pync.admission import Admission
from pync.dial import stop_listening
from pync.environment import Environment
from pync.errors import Forbidden, NetworkError, PyncError, ResolveError, UsageError
from pync.gateway.reaching import Way
from pync.gateway.reception import Codes, ProxyDialogue, Wish
from pync.gateway.routes import Routes
from pync.gateway.visit import ANSWER_LIMIT, Limits, Service, Visit
from pync.hub import FAREWELL
from pync.loop import Loop, Task
from pync.opening import PATIENCE
from pync.options import Options
from pync.proxies import password
from pync.stream import NEVER, Endpoint, Listener, WouldBlock
from pync.values import Login
from pync.wire.dialogue import Check

OPEN_PROXY = (
    "Anybody may go anywhere through this proxy: "
    "an address to listen on, --proxy-auth, --allow or --proxy-allow would say who, and where"
)

TAKEN = "another client has the one turn; --keep-open serves any number"

Dialogues = Callable[[], ProxyDialogue]  # one for each client


class Kind(NamedTuple):
    """What can be served.

    dialogues: imports them; later there may be no descriptor for that.  asks: whether
    clients can be asked for a password.
    """

    name: str
    dialogues: Callable[[Check | None], Dialogues]
    codes: Codes
    asks: bool = True


def socks4(_check: Check | None) -> Dialogues:
    from pync.wire.socks4 import Socks4Server

    return Socks4Server


def socks5(check: Check | None) -> Dialogues:
    from pync.wire.socks5 import Socks5Server

    return partial(Socks5Server, check=check)


def http(check: Check | None) -> Dialogues:
    from pync.wire.http.proxy import HttpProxy

    return partial(HttpProxy, check=check)


# The codes are those of wire.socks4.REFUSALS, of wire.socks5.Reply, and of RFC 9110 section 15.
SOCKS4 = Kind("SOCKS4", socks4, Codes({}, 91), asks=False)
SOCKS5_CODES = {
    Forbidden: 2,
    errno.ENETUNREACH: 3,
    errno.EHOSTUNREACH: 4,
    ResolveError: 4,
    errno.ECONNREFUSED: 5,
    errno.ETIMEDOUT: 6,
}
KINDS: Mapping[str, Kind] = {
    "http": Kind("HTTP", http, Codes({Forbidden: 403, errno.ETIMEDOUT: 504}, 502)),
    "socks4": SOCKS4,
    "socks4a": SOCKS4,
    "socks5": Kind("SOCKS5", socks5, Codes(SOCKS5_CODES, 1)),
}


class Turn:
    """A task: lets clients in until one gets its way, and lasts as long as that one.

    visit: of that one, once it is known.  over: whether it has left.
    To be woken when either changes.
    """

    def __init__(self, loop: Loop, listener: Listener, admission: Admission) -> None:
        self.visit: Visit | None = None
        self.over = False
        self._loop = loop
        self._listener = listener
        self._admission = admission

    def advance(self) -> bool:
        if self.over:
            return False
        if self.visit:
            raise WouldBlock
        return self._admission.advance()

    def take(self, visit: Visit) -> None:
        """Nobody else is let in any more."""
        self.visit = visit
        stop_listening(self._loop, self._listener)


class ProxyServer:
    """A task: serves the clients of a listener as a proxy, for ever.

    Without --keep-open it is over with the first that gets its way.
    """

    def __init__(self, loop: Loop, options: Options, environment: Environment) -> None:
        """Raises UsageError for what cannot be served."""
        self._loop = loop
        self._options = options
        self._environment = environment
        self._service = service(options, environment)
        self._limits = limits(options)
        onward = for_targets(options)
        self._routes = Routes(loop, onward, rules(options), self._limits.open, self._say)
        self._visits: set[Visit] = set()
        self._listener: Listener | None = None
        self._serving: Task | None = None
        self._turn: Turn | None = None
        self._until = NEVER  # when it has to be over

    def warn(self) -> None:
        """Say so if anybody may use it, from anywhere."""
        options = self._options
        if options.open_to_all and not (options.login or options.proxy_allow):
            self._environment.say(OPEN_PROXY)

    def open(self, listener: Listener) -> None:
        """Before it may run."""
        self._listener = listener
        admission = Admission(listener, self._admit, self._environment.complain, self._room)
        if not self._options.keep_open:
            self._turn = Turn(self._loop, listener, admission)
        self._serving = self._turn or admission

    def advance(self) -> bool:
        assert self._serving
        if self._until == NEVER:
            return self._serving.advance()
        if self._visits and self._loop.clock() < self._until:
            raise WouldBlock(until=self._until)
        return False

    def _room(self) -> float:
        return self._options.most_clients - len(self._visits)

    def _admit(self, client: Endpoint) -> None:
        self._say(f"Connection received on {client.peer.came_from(numeric=True)}")
        visit = Visit(self._loop, client, self._service, self._limits, self)
        self._visits.add(visit)
        self._loop.spawn(visit)

    def find_way(self, wish: Wish, client: Endpoint) -> Way:
        return self._routes.find(wish, client)

    def take_turn(self, visit: Visit) -> None:
        """Without --keep-open the others cannot be served any more."""
        if self._turn and self._turn.visit is None:
            self._turn.take(visit)
            self._loop.wake(self)
            for other in self._visits - {visit}:
                self._environment.complain(f"{other}: {TAKEN}")
                other.break_off()
            self._visits = {visit}

    def part(self, visit: Visit, error: NetworkError | None) -> None:
        """Raises the error of the one that has the one turn."""
        self._visits.discard(visit)
        self._loop.wake(self)
        if self._turn and visit is self._turn.visit:
            self._turn.over = True
            if error:
                raise error
        elif error:
            self._environment.complain(str(error))

    def _say(self, line: str) -> None:
        if self._options.verbose:
            self._environment.say(line)

    def wind_up(self) -> None:
        """Admit no more, and be over when tunnels have given out what they hold, or soon."""
        assert self._listener
        stop_listening(self._loop, self._listener)
        self._until = self._loop.clock() + FAREWELL
        for visit in [*self._visits]:
            visit.wind_up()

    def break_off(self, _error: PyncError) -> None:
        """End all visits at once."""
        for visit in self._visits:
            visit.break_off()

    def close(self) -> None:
        """Once it does not run any more."""
        self._routes.close()


def rules(options: Options) -> TargetRules:
    return TargetRules([read_rule(text) for text in options.proxy_allow])


def read_rule(text: str) -> TargetRule:
    try:
        return read_target(text)
    except ValueError as error:
        raise UsageError(f"--proxy-allow: {text!r} is {error}") from None


def service(options: Options, environment: Environment) -> Service:
    """What is served.  Raises UsageError for what cannot be."""
    kind = KINDS.get(options.proxy_type or "")
    if not kind:
        raise UsageError(f"--proxy-type: pync serves {', '.join(KINDS)}; --ssl puts TLS in front")
    if options.login and not kind.asks:
        raise UsageError(f"--proxy-type: {kind.name} has no passwords; SOCKS5 and HTTP have")
    who = login(options, environment)
    check = partial(is_login, who) if who else None
    return Service(kind.name, kind.dialogues(check), kind.codes)


def for_targets(options: Options) -> Options:
    """What holds on the way to targets, and not between clients and us alone."""
    return options._replace(unixsock=False, md5_key=b"")


def login(options: Options, environment: Environment) -> Login | None:
    """Whom clients have to be."""
    who = options.login
    return who._replace(password=password(environment)) if who and who.password is None else who


def is_login(who: Login, user: str, password: str) -> bool:
    """Whether these are they, which takes the same time whatever they have in common."""
    return same(user, who.user) & same(password, who.password or "")


def same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(encoded(given), encoded(wanted))


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def limits(options: Options) -> Limits:
    return Limits(
        open=options.connect_limit or PATIENCE,
        answer=options.idle_timeout or options.timeout or ANSWER_LIMIT,
        idle=options.timeout,
        idle_failure=options.idle_timeout,
    )
