"""From options to what they name: an endpoint, a listener, taps, terms.

What only some options need is imported where they are looked at, for a fast start.
"""

from __future__ import annotations

import errno
import functools
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pync.environment import Environment
from pync.errors import ConnectError, OutOfDescriptors
from pync.loop import Loop
from pync.options import Options
from pync.stream import NEVER, Attempt, Endpoint, Listener, Peer, Sink, Source, WouldBlock
from pync.transports import Transport, standard_streams, transport

if TYPE_CHECKING:
    from pync.endings import Terms

REPLY_WAIT = 1.0  # seconds of silence after which no more replies to a datagram are expected
DATAGRAM_PEER_IDLE = 120.0  # seconds after which a peer that cannot say goodbye is forgotten


def transport_of(options: Options) -> Transport:
    if options.unixsock:
        return transport("unix")
    return transport("udp" if options.udp else "tcp")


class Connecting:
    """A task that tries one address after the other until one accepts.

    endpoint: the connection, once the task is over.  deadline: when it is to be
    there at the latest, by the loop's clock.  advance raises ConnectError with a line
    for each address if none accepts, or none in time.
    """

    def __init__(
        self,
        options: Options,
        loop: Loop,
        say: Callable[[str], None],
        addresses: Iterable[Peer] | None = None,
    ) -> None:
        """say: told of the addresses that failed, where another one accepts.

        addresses: None to look them up, which may take its time and knows no limit.
        """
        self.endpoint: Endpoint | None = None
        self._loop = loop
        self._say = say
        self._failures: list[str] = []
        self._options = options
        self._via = transport_of(options)
        self._addresses = deque(self._via.addresses(options) if addresses is None else addresses)
        self._attempt: Attempt | None = None
        limit = options.connect_limit
        self.deadline = NEVER if limit is None else loop.clock() + limit

    def advance(self) -> bool:
        try:
            self.endpoint = self._try()
        except ConnectError as error:
            self._failures.append(str(error))
            self._drop_attempt()
            if self._addresses:
                return True
            raise ConnectError("\n".join(self._failures), error.errno) from None
        for failure in self._failures:
            self._say(failure)
        return False

    def _try(self) -> Endpoint:
        if self._attempt is None:
            self._attempt = self._via.connect(self._addresses.popleft(), self._options)
        try:
            return self._attempt.finish()
        except WouldBlock as blocked:
            if self._loop.clock() < self.deadline:
                blocked.until = min(blocked.until, self.deadline)
                raise
            self._addresses.clear()
            raise timed_out(self._attempt.peer) from None

    def again(self, deadline: float) -> None:
        """Be a task once more, for another connection to where this one got."""
        assert self._attempt
        self._addresses = deque([self._attempt.peer])
        self._attempt = None
        self._failures.clear()
        self.endpoint = None
        self.deadline = deadline

    def close(self) -> None:
        """Give up what is not open yet."""
        if self.endpoint is None:
            self._drop_attempt()

    def _drop_attempt(self) -> None:
        if self._attempt:
            for fd in self._attempt.descriptors:
                self._loop.forget(fd)
            self._attempt.abandon()
            self._attempt = None


def timed_out(peer: Peer) -> ConnectError:
    message = f"connect to {peer.target} failed: Connection timed out"
    return ConnectError(message, errno.ETIMEDOUT)


class Accepting:
    """A task that waits for one peer.  endpoint: its connection, once the task is over."""

    def __init__(self, listener: Listener) -> None:
        self.endpoint: Endpoint | None = None
        self._listener = listener

    def advance(self) -> bool:
        try:
            self.endpoint = self._listener.accept()
        except OutOfDescriptors:
            raise WouldBlock(after=self._listener.RETRY) from None
        return False


def listen(options: Options, complain: Callable[[str], None]) -> Listener:
    """complain: told of each peer that may not connect."""
    if not any((options.allow, options.allowfile, options.deny, options.denyfile)):
        return transport_of(options).listen(options)
    from pync.access import Doorkeeper, Entries
    from pync.transports.inet import hosts

    allow = Entries("--allow", options.allow, options.allowfile)
    deny = Entries("--deny", options.deny, options.denyfile)
    resolve = functools.partial(hosts, options=options)
    doorkeeper = Doorkeeper(allow, deny, resolve, complain)
    listener = transport_of(options).listen(options)
    listener.admits = doorkeeper.admits
    return listener


def local_source(options: Options, environment: Environment) -> Source:
    """What is sent: standard input, as the options change it."""
    if not options.reads_stdin:
        from pync.transports.memory import Silence

        return Silence()
    source = standard_streams().standard_input(environment.stdin)
    if options.crlf:
        from pync.taps import Translated
        from pync.wire.crlf import Crlf

        source = Translated(source, Crlf())
    if options.interval:
        from pync.taps import Pace

        source = Pace(source, options.interval, environment.clock)
    return source


def local_sink(options: Options, environment: Environment) -> Sink:
    """Where what is received goes."""
    if options.send_only:
        from pync.transports.memory import Discard

        return Discard()
    return standard_streams().standard_output(environment.stdout)


def received(options: Options, environment: Environment) -> Callable[[Source], Source]:
    """What wraps the source of one peer's bytes."""
    return functools.partial(tap_received, options=options, terminal=environment.shows)


def tap_received(source: Source, options: Options, terminal: bool) -> Source:
    if options.recv_limit:
        from pync.taps import Limit

        source = Limit(source, options.recv_limit)
    if options.safe_tty and terminal:
        from pync.taps import Translated
        from pync.wire.safe_text import SafeText

        source = Translated(source, SafeText())
    return source


def terms(
    options: Options, environment: Environment, has_end: bool, through_proxy: bool = False
) -> Terms:
    """How a session with a peer ends.  has_end: as Endpoint's."""
    from pync.endings import Terms

    waits = through_proxy and has_end and not options.send_only
    limited = any((options.quit is not None, options.timeout, options.recv_limit))
    idle = options.timeout
    if idle is None and options.keep_open and not has_end:
        idle = DATAGRAM_PEER_IDLE
    return Terms(
        keeps_end_back=options.listen,
        # Many proxies take the end of one direction for the end of both.
        end_after_silence=options.linger if waits else None,
        sends_end=options.sends_end,
        one_way=options.send_only,
        peer_end_is_final=bool(
            environment.interactive or not options.reads_stdin or options.recv_limit
        ),
        quit_after=options.quit_after,
        reply_wait=None if has_end or options.listen or limited else REPLY_WAIT,
        idle=idle_limit(idle, options),
        idle_failure=idle_limit(options.idle_timeout, options),
        linger=options.linger,
    )


def idle_limit(limit: float | None, options: Options) -> float | None:
    """Our own pauses are not idleness."""
    return None if limit is None else limit + (options.interval or 0)
