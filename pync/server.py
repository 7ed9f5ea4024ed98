"""pync as a server: what is done for those who connect."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from pync import dial
from pync.interrupts import Instead
from pync.mode import Mode, hand_over
from pync.stream import NEVER, Endpoint, Ends, Listener, Peer

if TYPE_CHECKING:
    from pync.broker import Broker
    from pync.doorkeeper import Doorkeeper
    from pync.gateway.server import ProxyServer
    from pync.hub import Attend, Attendance
    from pync.jobs import Jobs
    from pync.relay import Relay
    from pync.session import Session


class Server(Mode):
    """Listens, and serves one client or all that come."""

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
        if self._options.command:
            from pync.jobs import Jobs

            jobs = Jobs(self._loop, self._options, self._environment)
            return functools.partial(self._serve_with_programs, jobs)
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
        dial.stop_listening(self._loop, listener)
        return accepting.endpoint

    def _serve(self, listener: Listener) -> None:
        """All that come, with standard input and output between them."""
        from pync.policies import attending

        attend = attending(
            self._loop, self._options, self._environment, self._output(), self._session
        )
        self._admit_all(listener, attend)

    def _attend_all(self, listener: Listener, attend: Attend, cost: int = 0) -> None:
        """All that come, with somebody to take what it sends for each."""
        listener.drops = self._tell_of_drop
        self._admit_all(listener, attend, cost)

    def _tell_of_drop(self, peer: Peer) -> None:
        self._say(f"datagrams of {peer} are dropped: it takes none")

    def _admit_all(self, listener: Listener, attend: Attend, cost: int = 0) -> None:
        """cost: descriptors for each; 0 if it takes no more than its own connection."""
        from pync.hub import Hub
        from pync.transports.descriptors import enough_for, raise_limit

        def welcome(endpoint: Endpoint) -> Attendance:
            self._welcome(endpoint)
            return attend(endpoint)

        raise_limit()
        most, affordable = self._options.most_clients, enough_for(cost) if cost else NEVER
        complain = self._environment.complain
        hub = Hub(self._loop, listener, welcome, complain, most, affordable)
        self._run_in_order(hub)

    def _attend_one(self, listener: Listener, attend: Attend) -> None:
        endpoint = self._accept_one(listener)
        self._welcome(endpoint)
        self._attend_alone(endpoint, attend)

    def _serve_as_relay(self, relay: Relay, listener: Listener) -> None:
        try:
            relay.refuse_ourselves(listener.places)
            self._attend_as_asked(listener, relay.attend, relay.cost)
        finally:
            relay.close()

    def _serve_with_programs(self, jobs: Jobs, listener: Listener) -> None:
        jobs.warn()
        self._attend_as_asked(listener, jobs.attend, jobs.COST)
        jobs.check()

    def _attend_as_asked(self, listener: Listener, attend: Attend, cost: int) -> None:
        if self._options.keep_open:
            self._attend_all(listener, attend, cost)
        else:
            self._attend_one(listener, attend)

    def _serve_as_proxy(self, server: ProxyServer, listener: Listener) -> None:
        from pync.transports.descriptors import raise_limit

        try:
            server.warn()
            raise_limit()
            server.open(listener)
            self._run_in_order(server)
        finally:
            server.close()

    def _session_between(self, others: Ends, remote: Endpoint) -> Session:
        """One of a client with the others."""
        from pync.session import Session

        terms = dial.terms_among_clients(self._options, remote.has_end)
        return Session(self._loop, others, remote, terms)

    def _welcome(self, endpoint: Endpoint) -> None:
        if self._options.verbose:
            numeric = self._options.nodns or self._options.relay is not None
            self._say(f"Connection received on {endpoint.peer.came_from(numeric)}")
            self._tell_notes(endpoint)
