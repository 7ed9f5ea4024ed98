"""What the modes of pync share: options, a loop, and how a conversation is held."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from pync import dial
from pync.environment import Environment
from pync.errors import Interrupted, OutputClosed, PyncError
from pync.interrupts import Instead
from pync.loop import Loop, Task
from pync.options import Options
from pync.stream import NEVER, Endpoint, Ends, Sink

if TYPE_CHECKING:
    from pync.hub import Attend, Orderly
    from pync.opening import Layers, Opening
    from pync.proxies import Hop
    from pync.session import Session

Interrupts = Callable[[Instead], Task]


class OutputWatch:
    """A task that notices when whoever reads our output has gone."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def advance(self) -> bool:
        self._sink.watch()


class Mode:
    """interrupts: as program.run's."""

    def __init__(
        self,
        options: Options,
        environment: Environment,
        loop: Loop,
        interrupts: Interrupts | None,
    ) -> None:
        self._options = options
        self._environment = environment
        self._loop = loop
        self._interrupts = interrupts
        self._hops: list[Hop] = []
        self._layers: Layers | None = None
        self._numbers = itertools.count(1)

    def _mind_interrupts(self, instead: Instead | None = None) -> None:
        if self._interrupts:
            self._loop.spawn(self._interrupts(instead or {}))

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

    def _output(self) -> Sink:
        """Standard output, watched from now on."""
        output = dial.local_sink(self._options, self._environment)
        self._loop.spawn(OutputWatch(output))
        return output

    def _local(self, output: Sink) -> Ends:
        """Standard input and output."""
        return Ends(dial.local_source(self._options, self._environment), output)

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

    def _run_in_order(self, task: Orderly) -> None:
        """Let nobody take an end before the time for the end."""
        try:
            self._loop.run(task)
        except Interrupted as error:
            task.wind_up()
            self._loop.run(task)
            task.break_off(error)
            raise
        except PyncError as error:
            task.break_off(error)
            raise

    def _attend_alone(self, client: Endpoint, attend: Attend) -> None:
        from pync.hub import Lone

        self._run_in_order(Lone(self._loop, attend(client)))

    def _tell_notes(self, endpoint: Endpoint) -> None:
        for note in endpoint.notes if self._options.verbose else ():
            self._say(note)

    def _say(self, line: str, least: int = 1) -> None:
        if self._options.verbose >= least:
            self._environment.say(line)

    def _say_failure(self, failure: str, least: int = 1) -> None:
        if self._options.verbose >= least:
            self._environment.complain(failure)


def hand_over(stdout: int, remote: Endpoint) -> None:
    """Give the connection itself to whoever is behind standard output."""
    from pync.transports import stdio

    try:
        stdio.hand_over(stdout, remote.descriptors[0])
    finally:
        remote.close()
