"""pync as a client: connect, once or again and again; scan; wait."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pync import dial
from pync.connecting import Connecting
from pync.errors import ConnectionLost, LocalError, NetworkError
from pync.mode import Mode, hand_over
from pync.options import Options
from pync.reaching import Performance, Result, Script, connect, find
from pync.stream import NEVER, Endpoint, Ends, Peer, Sink
from pync.transports import transport_of

if TYPE_CHECKING:
    from pync.jobs import Jobs
    from pync.transports.inet import InetAddress, Lookup
    from pync.transports.resolver import Resolver

LEAST_TO_SCAN = 8  # descriptors that are free


class Client(Mode):
    """Goes to where options lead, and does there what they say."""

    _resolver: Resolver | None = None

    def go(self) -> None:
        try:
            self._go()
        finally:
            if self._resolver:
                self._resolver.close()

    def _go(self) -> None:
        if self._options.wait_open:
            self._wait_open()
        elif self._options.ports:
            self._scan()
        else:
            self._connect()

    def _connect(self) -> None:
        try:
            first = self._read_way(self._options, self._deadline)
            if self._options.dials_again:
                self._connect_again(first)
            else:
                self._connect_once(first)
        except NetworkError as error:
            error.quiet = self._options.zero and not self._options.verbose
            raise

    def _connect_once(self, first: Options) -> None:
        deadline = self._deadline()
        use = self._purpose()
        # Without a limit it needs no thread, which takes long to start: no signal is minded yet.
        found = transport_of(first).addresses(first) if deadline == NEVER else None
        self._mind_interrupts()
        use(self._open(self._reach(first, deadline, self._say_failure, found=found)))

    def _connect_again(self, first: Options) -> None:
        """As often as it takes, and may take."""
        from pync.redial import Dialler

        def dial_once() -> Endpoint:
            return self._open(self._reach(first, self._deadline(), self._say_failure))

        self._mind_interrupts()
        repeat = self._say_failure
        complain = repeat if self._options.zero else self._environment.complain
        dialler = Dialler(self._loop, dial_once, self._options, complain, repeat, self._say)
        if self._options.reconnect:
            dialler.keep_talking(self._local(self._output()), self._session, self._hold)
        else:
            use = self._purpose()
            use(dialler.reach())

    def _deadline(self) -> float:
        """Of a connection that is begun now."""
        limit = self._options.connect_limit
        return NEVER if limit is None else self._loop.clock() + limit

    def _purpose(self) -> Callable[[Endpoint], None]:
        """What the connection is for.  What that needs is had now."""
        if self._options.zero:
            return lambda remote: remote.close()
        if self._options.fd_pass:
            return functools.partial(hand_over, self._environment.stdout)
        if self._options.command:
            from pync.jobs import Jobs

            return self._run_program(Jobs(self._loop, self._options, self._environment))
        return self._talk(self._output())

    def _talk(self, output: Sink) -> Callable[[Endpoint], None]:
        return lambda remote: self._hold(self._session(self._local(output), remote))

    def _run_program(self, jobs: Jobs) -> Callable[[Endpoint], None]:
        def run(remote: Endpoint) -> None:
            self._attend_alone(remote, jobs.attend)
            jobs.check()

        return run

    def _wait_open(self) -> None:
        """Until each port has been found open."""
        from pync.waiting import Waiting

        self._mind_interrupts()
        say = functools.partial(self._say_failure, least=2)
        waiting = Waiting(self._options, self._loop, say)

        def open_one(first: Options, deadline: float) -> Endpoint:
            return self._open(self._reach(first, deadline, say, waiting.patience))

        try:
            for options in waiting.each():
                first = self._read_way(options, waiting.next_deadline)
                waiting.connect(functools.partial(open_one, first)).close()
        except NetworkError as error:
            error.quiet = not self._options.verbose
            raise

    def _scan(self) -> None:
        from pync.transports.descriptors import available, raise_limit

        raise_limit()
        if not available(LEAST_TO_SCAN):  # also for what is imported from here on
            needs = f"a scan needs {LEAST_TO_SCAN} free descriptors"
            raise LocalError(f"{needs}, and ulimit -n allows fewer")
        from pync.scan.run import scan, targets

        hosts = targets(self._options, self._environment)
        self._mind_interrupts()  # now that standard input is read
        records = self._output() if self._options.json else None
        scan(hosts, self._options, self._environment, self._loop, records)

    def _open(self, reaching: Script[Endpoint]) -> Endpoint:
        """The connection, ready for the user's first byte."""
        endpoint = self._perform(reaching)
        if self._options.zero and not endpoint.has_end:
            self._probe(endpoint)
        self._say(f"Connection to {endpoint.peer.reached(self._options.nodns)} succeeded!")
        self._tell_notes(endpoint)
        return endpoint

    def _reach(
        self,
        first: Options,
        deadline: float,
        say: Callable[[str], None],
        patience: float = NEVER,
        found: Sequence[Peer] | None = None,
    ) -> Script[Endpoint]:
        """The way to a peer.

        first: how to connect to whoever is first on it.  patience: seconds that this may take
        once the look-up is over.  found: its addresses; None to look them up beside the loop.
        """
        clock = self._loop.clock
        if found is None:
            found = yield from find(first, self._look_up, clock, deadline)
        deadline = min(deadline, clock() + patience)
        connecting = Connecting(first, self._loop, say, found, deadline)
        open_endpoint = None if self._layers is None else self._opening
        hop = self._hops[0] if self._hops else None
        return (yield from connect(connecting, open_endpoint, hop))

    def _perform(self, script: Script[Result]) -> Result:
        performance = Performance(script)
        try:
            self._loop.run(performance)
        finally:
            performance.close()
        return performance.result

    def _look_up(self, host: str, port: int, protocol: str, options: Options) -> Lookup:
        return self._beside_the_loop().look_up(host, port, protocol, options, "us")

    def _search(self, find: Callable[[], list[InetAddress]], failing: str) -> Lookup:
        return self._beside_the_loop().search(find, failing, "us")

    def _beside_the_loop(self) -> Resolver:
        from pync.transports.resolver import Resolver

        self._resolver = self._resolver or Resolver(self._loop)
        return self._resolver

    def _read_way(self, options: Options, deadline: Callable[[], float]) -> Options:
        """Prepare what is between us and a peer; how to connect to the first on the way.

        deadline: of a look-up that is begun now; a person may have typed a password by then.
        """
        first = self._read_hops(options, deadline)
        self._read_layers()
        return first

    def _read_hops(self, options: Options, deadline: Callable[[], float]) -> Options:
        """Prepare the proxies on the way, if there are any; how to connect to the first."""
        if not (options.via or options.proxy):
            return options
        from pync.proxies import between, find_onwards, reaching, stops

        if not (found := stops(options, self._environment)):
            return options
        finding = find_onwards(found, options, self._search, self._loop.clock, deadline())
        self._hops = between(found, self._perform(finding))
        for hop in self._hops:
            self._say(f"Through {hop}")
        return reaching(self._hops[0], options)

    def _probe(self, remote: Endpoint) -> None:
        """Let a peer that cannot refuse a connection refuse a datagram, or answer it.

        Raises ConnectError if it does refuse.
        """
        from pync.endings import Terms
        from pync.session import Session
        from pync.taps import Limit
        from pync.transports.inet import port_number
        from pync.transports.memory import Discard, Given
        from pync.transports.sockets import connect_error
        from pync.wire.probes import questions

        port = port_number(self._options.port or "0", "udp", self._options.nodns)
        wait = self._options.connect_limit or dial.REPLY_WAIT
        terms = Terms(peer_end_is_final=True, reply_wait=wait)
        ends = Ends(Given(*questions(port)), Discard())
        received = functools.partial(Limit, count=1)
        try:
            self._loop.run(Session(self._loop, ends, remote, terms, received=received))
        except ConnectionLost as error:
            raise connect_error(remote.peer, OSError(error.errno, str(error))) from None
        finally:
            remote.close()
