"""From options to what they name: an endpoint, a listener, taps, terms.

What only some options need is imported where they are looked at, for a fast start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from pync.environment import Environment
from pync.errors import OutOfDescriptors
from pync.options import Options
from pync.stream import NEVER, Endpoint, Listener, Sink, Source, WouldBlock
from pync.transports import standard_streams, transport_of

if TYPE_CHECKING:
    from pync.doorkeeper import Doorkeeper, Reader
    from pync.endings import Terms
    from pync.loop import Loop

REPLY_WAIT = 1.0  # seconds of silence after which no more replies to a datagram are expected
DATAGRAM_PEER_IDLE = 120.0  # seconds after which a peer that cannot say goodbye is forgotten
# Seconds that a program may still work on all that a client has sent which has gone then.
WORK_OUTLASTS_CLIENT = 10.0


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


def doorkeeper(options: Options, complain: Callable[[str], None]) -> Doorkeeper | None:
    """None where everybody may connect.  complain: told of each peer that may not."""
    if not options.restricts:
        return None
    from pync.doorkeeper import Doorkeeper, Entries

    allow = Entries("--allow", options.allow, options.allowfile)
    deny = Entries("--deny", options.deny, options.denyfile)
    return Doorkeeper(allow, deny, reader_of_rules(options), complain)


def stop_listening(loop: Loop, listener: Listener) -> None:
    for fd in listener.descriptors:
        loop.forget(fd)
    listener.close()


def listen(options: Options, door: Doorkeeper | None) -> Listener:
    listener = transport_of(options).listen(options)
    if door:
        listener.admits = door.admits
    return listener


def reader_of_rules(options: Options) -> Reader:
    """How those who come are known."""
    from pync.doorkeeper import Hosts, Users

    if options.unixsock:
        from pync.transports.unix import check_credentials

        check_credentials(options)
        return Users
    from pync.transports.inet import hosts

    return functools.partial(Hosts, resolve=functools.partial(hosts, options=options))


def local_source(options: Options, environment: Environment) -> Source:
    """What is sent: standard input, as the options change it."""
    if not options.reads_stdin:
        from pync.transports.memory import Silence

        return Silence()
    return as_sent(standard_input(environment), options, environment)


def standard_input(environment: Environment) -> Source:
    return standard_streams().standard_input(environment.stdin)


def as_sent(source: Source, options: Options, environment: Environment) -> Source:
    """What the options make of a source on its way to a peer."""
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


def received(
    options: Options, environment: Environment, label: str = ""
) -> Callable[[Source], Source]:
    """What wraps the source of one peer's bytes.  label: what each line of it begins with."""
    terminal = environment.shows
    return functools.partial(tap_received, options=options, terminal=terminal, label=label)


def tap_received(source: Source, options: Options, terminal: bool, label: str) -> Source:
    packets = source.framed
    if options.recv_limit:
        from pync.taps import Limit

        source = Limit(source, options.recv_limit)
    if options.safe_tty and terminal:
        from pync.taps import Translated
        from pync.wire.safe_text import SafeText

        source = Translated(source, SafeText())
    if label:
        from pync.taps import Translated
        from pync.wire.label import Label

        source = Translated(source, Label(label, packets=packets))
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
        keeps_unsent=options.reconnect,
    )


def terms_among_clients(options: Options, has_end: bool) -> Terms:
    """How the session of a client with the others ends."""
    from pync.endings import Terms

    silence = None if has_end else options.timeout or DATAGRAM_PEER_IDLE
    return Terms(
        looks_for_peer=0.0,
        silence=silence,
        idle=options.timeout if has_end else None,
        idle_failure=options.idle_timeout,
        linger=NEVER,
    )


def terms_of_program(options: Options, has_end: bool) -> Terms:
    """How the session of a program with its client ends, before the program does."""
    from pync.endings import Terms

    idle = options.timeout
    if idle is None and options.keep_open and not has_end:
        idle = DATAGRAM_PEER_IDLE
    return Terms(
        sends_end=options.sends_end,
        idle=idle,
        idle_failure=options.idle_timeout,
        looks_for_peer=WORK_OUTLASTS_CLIENT,
        forgives_pause=has_end,  # nothing else would tell that a peer without an end has gone
    )


def idle_limit(limit: float | None, options: Options) -> float | None:
    """Our own pauses are not idleness."""
    return None if limit is None else limit + (options.interval or 0)
