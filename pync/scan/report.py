"""What a scan tells: lines for people, objects for programs, how far it has got."""

from __future__ import annotations

import functools
import json
from collections import Counter
from typing import NamedTuple

from pync.environment import Environment
from pync.scan.trial import Outcome, State
from pync.stream import Sink, WouldBlock
from pync.transports.inet import service_name

PROGRESS_AFTER = 1.0  # seconds; what is over sooner needs none
PROGRESS_EVERY = 0.25
SILENT_TOLD = 20  # ports that may be open, of those that nobody has named
ERASE = "\r\x1b[K"

service = functools.cache(service_name)


class Wanted(NamedTuple):
    """What is said: hosts without an address; ports that are open; those that are not; what
    open ones say."""

    missing: bool = False
    opened: bool = False
    others: bool = False
    banners: bool = False


class Report:
    """Is told of each port.  records: where an object for each goes, if anywhere."""

    def __init__(
        self, environment: Environment, wanted: Wanted, numeric: bool, records: Sink | None
    ) -> None:
        self.counts: Counter[State] = Counter()
        self._doubtful = 0
        self._silent: list[Outcome] = []
        self._environment = environment
        self._wanted = wanted
        self._numeric = numeric
        self._records = records
        self._unwritten = b""
        self._shows = False

    @property
    def found(self) -> bool:
        """Whether a port is open for sure."""
        return self.counts[State.OPEN] > 0

    def tell(self, outcome: Outcome) -> None:
        self.counts[outcome.state] += 1
        self._doubtful += outcome.doubtful
        if self._records:
            self._unwritten += self._record(outcome)
        if outcome.state is State.OPEN:
            self._tell_open(outcome)
        elif self._wanted.others:
            self._tell_other(outcome)
        elif outcome.state is State.UNANSWERED and len(self._silent) <= SILENT_TOLD:
            self._silent.append(outcome)

    def tell_missing(self, host: str, why: str) -> None:
        """Of a host whose ports cannot be tried.  Of the only one the exit status tells."""
        if self._records:
            self._unwritten += record(host=host, state="unresolved", reason=why)
        if self._wanted.missing:
            self.say(f"pync: {why}")

    def _tell_open(self, outcome: Outcome) -> None:
        if self._wanted.opened:
            self.say(f"Connection to {outcome.peer.reached(self._numeric)} succeeded!")
            if self._wanted.banners and outcome.said:
                place = f"{outcome.peer.name or outcome.peer.host} {outcome.peer.port}"
                self.say(f"{place} says: {as_text(outcome.said).rstrip()}")

    def _tell_other(self, outcome: Outcome) -> None:
        if outcome.state is State.UNANSWERED:
            may_be = "open, filtered or closed" if outcome.doubtful else "open or filtered"
            self.say(f"No answer from {outcome.peer.reached(self._numeric)}: {may_be}")
        else:
            self.say(f"pync: connect to {outcome.peer.target} failed: {outcome.reason}")

    def _record(self, outcome: Outcome) -> bytes:
        peer = outcome.peer
        known = "*" if self._numeric else service(peer.port, peer.protocol)
        reason = None if outcome.state is State.OPEN else outcome.reason
        said = as_text(outcome.said) if self._wanted.banners and outcome.said else None
        return record(
            host=peer.name or peer.host,
            address=peer.host,
            port=peer.port,
            protocol=peer.protocol,
            state=outcome.state.words,
            service=None if known == "*" else known,
            reason=reason,
            banner=said,
            seconds=round(outcome.seconds, 6),
        )

    def flush(self) -> None:
        """Write the objects that are waiting.  Raises WouldBlock, or what the sink does."""
        if self._unwritten:
            self.hide()
        while self._unwritten and self._records:
            self._unwritten = self._unwritten[self._records.write(self._unwritten) :]

    def say(self, line: str) -> None:
        self.hide()
        self._environment.say(line)

    def sum_up(self, seconds: float) -> None:
        for outcome in self._silent if len(self._silent) <= SILENT_TOLD else ():
            self._tell_other(outcome)
        found = ", ".join(f"{self.counts[state]:,} {state.words}" for state in self._states())
        self.say(f"{counted(sum(self.counts.values()))} in {seconds:.1f} s: {found}")
        if self._doubtful:
            limited = "may be closed, since refusals are limited: -i 1 gives them time"
            self.say(f"{self._doubtful:,} of the silent ports {limited}")

    def _states(self) -> list[State]:
        """Those that people ask for, and the one that datagrams alone have if there is any."""
        usual = [State.OPEN, State.CLOSED, State.FILTERED]
        return [state for state in reversed(State) if state in usual or self.counts[state]]

    def show(self, text: str) -> None:
        """Let `text` be the terminal's last line, as far as that has room for it."""
        self._shows = True
        self._environment.show(ERASE + text[: self._environment.columns - 1])

    def hide(self) -> None:
        if self._shows:
            self._shows = False
            self._environment.show(ERASE)


class Progress:
    """A task that shows how far a scan of `most` ports has got."""

    def __init__(self, report: Report, most: int, environment: Environment) -> None:
        self._report = report
        self._most = most
        self._clock = environment.clock
        self._begun = environment.clock()

    def advance(self) -> bool:
        passed = self._clock() - self._begun
        if passed < PROGRESS_AFTER:
            raise WouldBlock(until=self._begun + PROGRESS_AFTER)
        done = sum(self._report.counts.values())
        rate = done / passed
        left = f", {(self._most - done) / rate:.0f} s left" if done else ""
        opened = self._report.counts[State.OPEN]
        self._report.show(f"{done:,} of {counted(self._most)}, {rate:,.0f}/s{left}, {opened} open")
        raise WouldBlock(after=PROGRESS_EVERY)


FIELDS = ["host", "address", "port", "protocol", "state", "service", "reason", "banner", "seconds"]


def record(**known: object) -> bytes:
    """An object with all FIELDS, on a line; what is not known is null."""
    return json.dumps({field: known.get(field) for field in FIELDS}).encode() + b"\n"


def counted(ports: int) -> str:
    return f"{ports:,} port" if ports == 1 else f"{ports:,} ports"


def as_text(said: bytes) -> str:
    return said.decode("utf-8", "backslashreplace")
