"""What pync does, from options to the end.  Errors are raised, for cli to tell.

What only some of the modes need is imported where they begin, for a fast start.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from pync import dial
from pync.connecting import Connecting
from pync.environment import Environment
from pync.errors import (
    Interrupted,
    NetworkError,
    OutputClosed,
    PyncError,
)
from pync.interrupts import Instead
from pync.loop import Loop, Task
from pync.options import Options
from pync.reaching import Performance, connect
from pync.stream import NEVER, Endpoint, Ends, Listener, Sink

if TYPE_CHECKING:
    from pync.broker import Broker
    from pync.doorkeeper import Doorkeeper
    from pync.gateway.server import ProxyServer
    from pync.hub import Attendance, Hub, Lone
    from pync.opening import Layers, Opening
    from pync.proxies import Hop
    from pync.relay import Relay
    from pync.session import Session


def run(
    options: Options, environment: Environment, interrupts: Callable[[Instead], Task] | None = None
) -> None:
    """Do what `options` say.

    interrupts makes the task that minds signals, of which some ask for something else
    than our end, once there is something that a signal should not simply cut off; the
    look-up of a name is nothing of the kind.
    """
    if unwanted := environment.variables.get("PYNC_FORBID"):
        from pync.movers import forbid

        forbid(unwanted)
    with Loop(environment.clock) as loop:
        program = Program(options, environment, loop, interrupts)
        if options.wait_open:
            program.wait_open()
        elif options.ports:
            program.scan()
        elif options.listen:
            program.listen()
        else:
            program.connect()


class OutputWatch:
    """A task that notices when whoever reads our output has gone."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def advance(self) -> bool:
        self._sink.watch()


class Program:
    """The modes, over one loop."""

    def __init__(
        self,
        options: Options,
        environment: Environment,
        loop: Loop,
        interrupts: Callable[[Instead], Task] | None,
    ) -> None:
        self._options = options
        self._environment = environment
        self._loop = loop
        self._interrupts = interrupts
        self._hops: list[Hop] = []
        self._numbers = itertools.count(1)
        self._layers: Layers | None = None

    def connect(self) -> None:
        try:
            if self._options.dials_again:
                self._connect_again(self._read_way())
            else:
                self._connect_once(self._read_way())
        except NetworkError as error:
            error.quiet = self._options.zero and not self._options.verbose
            raise

    def _connect_once(self, first: Options) -> None:
        connecting = Connecting(first, self._loop, self._say_failure)
        self._mind_interrupts()  # after the look-up
        output = self._output() if self._options.talks else None
        self._use(self._open(connecting), output)

    def _connect_again(self, first: Options) -> None:
        """As often as it takes, and may take."""
        from pync.redial import Dialler

        self._mind_interrupts()
        output = self._output() if self._options.talks else None

        def dial_once() -> Endpoint:
            return self._open(Connecting(first, self._loop, self._say_failure))

        complain = self._say_failure if self._options.zero else self._environment.complain
        dialler = Dialler(self._loop, dial_once, self._options, complain, self._say)
        if output and self._options.reconnect:
            dialler.keep_talking(self._local(output), self._session, self._hold)
        else:
            self._use(dialler.reach(), output)

    def _use(self, remote: Endpoint, output: Sink | None) -> None:
        if output:
            self._hold(self._session(self._local(output), remote))
        elif self._options.fd_pass:
            hand_over(self._environment.stdout, remote)
        else:
            remote.close()

    def _read_way(self) -> Options:
        """Prepare what is between us and a peer; how to connect to the first on the way."""
        first = self._read_hops()
        self._read_layers()
        return first

    def wait_open(self) -> None:
        """Until each port has been found open."""
        from pync.waiting import Waiting

        self._mind_interrupts()
        say = functools.partial(self._say_failure, least=2)
        waiting = Waiting(self._options, self._loop, say)
        try:
            for self._options in waiting.each():
                waiting.connect(self._read_way(), self._open).close()
        except NetworkError as error:
            error.quiet = not self._options.verbose
            raise
        finally:
            waiting.close()

    def scan(self) -> None:
        from pync.scan.run import scan, targets

        hosts = targets(self._options, self._environment)
        self._mind_interrupts()  # now that standard input is read
        records = self._output() if self._options.json else None
        scan(hosts, self._options, self._environment, self._loop, records)

    def _open(self, connecting: Connecting) -> Endpoint:
        """The connection, ready for the user's first byte."""
        endpoint = self._reach(connecting)
        if self._options.zero and not endpoint.has_end:
            self._probe(endpoint)
        self._say(f"Connection to {endpoint.peer.reached(self._options.nodns)} succeeded!")
        self._tell_notes(endpoint)
        return endpoint

    def _reach(self, connecting: Connecting) -> Endpoint:
        open_endpoint = None if self._layers is None else self._opening
        hop = self._hops[0] if self._hops else None
        reaching = Performance(connect(connecting, open_endpoint, hop))
        try:
            self._loop.run(reaching)
        finally:
            reaching.close()
        return reaching.result

    def _read_hops(self) -> Options:
        """Prepare the proxies on the way, if there are any; how to connect to the first."""
        if not (self._options.via or self._options.proxy):
            return self._options
        from pync.proxies import hops, reaching

        self._hops = hops(self._options, self._environment)
        for hop in self._hops:
            self._say(f"Through {hop}")
        return reaching(self._hops[0], self._options) if self._hops else self._options

    def _read_layers(self) -> None:
        """Prepare the protocols between us and peers, if there are any."""
        if self._options.ssl or self._options.telnet or self._hops:
            from pync.layers import layers

            self._layers = layers(self._options, self._environment, self._loop, self._hops)

    def _opening(self, endpoint: Endpoint, deadline: float = NEVER) -> Opening:
        from pync.opening import PATIENCE, Opening

        assert self._layers
        latest = self._loop.clock() + (self._options.connect_limit or PATIENCE)
        return Opening(self._loop, endpoint, self._layers, min(deadline, latest))

    def _mind_interrupts(self, instead: Instead | None = None) -> None:
        if self._interrupts:
            self._loop.spawn(self._interrupts(instead or {}))

    def listen(self) -> None:
        serve = self._serving()
        self._read_layers()
        door = dial.doorkeeper(self._options, self._environment.complain)
        instead = self._rereading(door)
        if self._options.unixsock:
            self._mind_interrupts(instead)  # before there is a path to remove
        listener = self._listener(door)
        if not self._options.unixsock:
            self._mind_interrupts(instead)  # after the look-up
        try:
            for place in listener.places:
                self._say(f"Listening on {place}")
            if self._options.port_file:
                from pync.port_file import write_port

                write_port(self._options.port_file, listener.places[0].rpartition(" ")[2])
            serve(listener)
        finally:
            listener.close()

    def _serving(self) -> Callable[[Listener], None]:
        """What is done with clients.  What that needs is read now."""
        if self._options.relay:
            from pync.relay import Relay

            relay = Relay(self._loop, self._options, self._environment, self._say)
            return functools.partial(self._serve_as_relay, relay)
        if self._options.proxy_type:
            from pync.gateway.server import ProxyServer

            server = ProxyServer(self._loop, self._options, self._environment)
            return functools.partial(self._serve_as_proxy, server)
        if self._options.broker:
            broker = self._broker()(self._loop, self._session_between, self._options.outbox)
            return functools.partial(self._attend_all, attend=broker.attend)
        return self._serve if self._options.keep_open else self._serve_one

    def _broker(self) -> type[Broker]:
        if self._options.chat:
            from pync.chat import Chat

            return Chat
        from pync.broker import Broker

        return Broker

    def _rereading(self, door: Doorkeeper | None) -> Instead:
        """What SIGHUP asks for where there are files of rules."""
        if not (door and (self._options.allowfile or self._options.denyfile)):
            return {}
        from pync.rereading import Rereading

        rereading = Rereading(self._loop, door, self._say, self._environment.complain)
        return {"SIGHUP": rereading.ask_for}

    def _listener(self, door: Doorkeeper | None) -> Listener:
        listener = dial.listen(self._options, door)
        if self._layers is None:
            return listener
        from pync.opening import OpeningListener

        return OpeningListener(self._loop, listener, self._opening, self._environment.complain)

    def _serve_one(self, listener: Listener) -> None:
        output = self._output()
        endpoint = self._accept_one(listener)
        self._welcome(endpoint)
        if self._options.fd_pass:
            hand_over(self._environment.stdout, endpoint)
        else:
            self._hold(self._session(self._local(output), endpoint))

    def _accept_one(self, listener: Listener) -> Endpoint:
        """The first peer; others are not listened to any more."""
        accepting = dial.Accepting(listener)
        self._loop.run(accepting)
        assert accepting.endpoint
        for fd in listener.descriptors:
            self._loop.forget(fd)
        listener.close()
        return accepting.endpoint

    def _serve(self, listener: Listener) -> None:
        """All that come, with standard input and output between them."""
        from pync.policies import attending

        attend = attending(
            self._loop, self._options, self._environment, self._output(), self._session
        )
        self._attend_all(listener, attend)

    def _attend_all(self, listener: Listener, attend: Callable[[Endpoint], Attendance]) -> None:
        from pync.hub import Hub
        from pync.transports.descriptors import raise_limit

        def welcome(endpoint: Endpoint) -> Attendance:
            self._welcome(endpoint)
            return attend(endpoint)

        raise_limit()
        hub = Hub(self._loop, listener, welcome, self._environment.complain)
        self._run_in_order(hub, listener)

    def _attend_one(self, listener: Listener, attend: Callable[[Endpoint], Attendance]) -> None:
        from pync.hub import Lone

        endpoint = self._accept_one(listener)
        self._welcome(endpoint)
        self._run_in_order(Lone(self._loop, attend(endpoint)), listener)

    def _run_in_order(self, task: Hub | Lone, listener: Listener) -> None:
        """Let nobody take an end before the time for the end."""
        try:
            self._loop.run(task)
        except Interrupted as error:
            listener.close()
            task.wind_up()
            self._loop.run(task)
            task.break_off(error)
            raise
        except PyncError as error:
            task.break_off(error)
            raise

    def _serve_as_relay(self, relay: Relay, listener: Listener) -> None:
        attend = self._attend_all if self._options.keep_open else self._attend_one
        try:
            attend(listener, relay.attend)
        finally:
            relay.close()

    def _serve_as_proxy(self, server: ProxyServer, listener: Listener) -> None:
        from pync.transports.descriptors import raise_limit

        try:
            server.warn()
            raise_limit()
            self._loop.run(server.serving(listener))
        finally:
            server.close()

    def _local(self, output: Sink) -> Ends:
        """Standard input and output."""
        return Ends(dial.local_source(self._options, self._environment), output)

    def _hold(self, session: Session) -> None:
        """Lead it to its end."""
        try:
            self._loop.run(session)
        except (OutputClosed, Interrupted) as error:
            session.break_off(error)  # so that the peer does not take this for the end
            raise
        finally:
            session.remote.close()
            moved = f"{session.inward.moved} bytes sent, {session.outward.moved} received"
            self._say(moved, least=2)

    def _session(self, local: Ends, remote: Endpoint) -> Session:
        from pync.session import Session

        options, environment = self._options, self._environment
        return Session(
            self._loop,
            local,
            remote,
            dial.terms(options, environment, remote.has_end, bool(self._hops)),
            dial.received(options, environment, self._label(remote)),
        )

    def _label(self, remote: Endpoint) -> str:
        """What its lines begin with.  One without an address has a number instead."""
        if not self._options.label:
            return ""
        return f"{remote.peer if remote.peer.host else f'client {next(self._numbers)}'}: "

    def _session_between(self, others: Ends, remote: Endpoint) -> Session:
        """One of a client with the others."""
        from pync.session import Session

        terms = dial.terms_among_clients(self._options, remote.has_end)
        return Session(self._loop, others, remote, terms)

    def _probe(self, remote: Endpoint) -> None:
        """Let a peer that cannot refuse a connection refuse an empty datagram."""
        from pync.endings import Terms
        from pync.session import Session
        from pync.taps import Limit
        from pync.transports.memory import Discard, Given

        wait = self._options.connect_limit or dial.REPLY_WAIT
        terms = Terms(peer_end_is_final=True, reply_wait=wait)
        ends = Ends(Given(b""), Discard())
        received = functools.partial(Limit, count=1)
        try:
            self._loop.run(Session(self._loop, ends, remote, terms, received=received))
        finally:
            remote.close()

    def _output(self) -> Sink:
        """Standard output, watched from now on."""
        output = dial.local_sink(self._options, self._environment)
        self._loop.spawn(OutputWatch(output))
        return output

    def _welcome(self, endpoint: Endpoint) -> None:
        if self._options.verbose:
            numeric = self._options.nodns or self._options.relay is not None
            self._say(f"Connection received on {endpoint.peer.came_from(numeric)}")
            self._tell_notes(endpoint)

    def _tell_notes(self, endpoint: Endpoint) -> None:
        for note in endpoint.notes if self._options.verbose else ():
            self._say(note)

    def _say(self, line: str, least: int = 1) -> None:
        if self._options.verbose >= least:
            self._environment.say(line)

    def _say_failure(self, failure: str, least: int = 1) -> None:
        self._say(f"pync: {failure}", least)


def hand_over(stdout: int, remote: Endpoint) -> None:
    """Give the connection itself to whoever is behind standard output."""
    from pync.transports import stdio

    try:
        stdio.hand_over(stdout, remote.descriptors[0])
    finally:
        remote.close()
