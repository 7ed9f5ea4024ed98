"""pync with itself and with the other netcats, each listening and connecting.

For every pairing: neither hangs; every byte that a peer was given comes out of
pync; and where pync says 0, every byte that pync was given came out of the peer.
Between two pyncs nothing is lost, whoever ends first.

Two peers, as listeners, leave before they have sent everything.  LEAVES_EARLY says
when and why: pync cannot save bytes that were never sent, but all that came must
come out, and if its own were not taken, that must not be called a success.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import PATIENCE, PEERS, PYNC, Program, free_port
from plain_peer import HERE, run, start
from stdio_kinds import STDINS, STDOUTS, a_stdin, a_stdout

pytestmark = pytest.mark.usefixtures("_each_mover")

MIB = 1 << 20


class Netcat(NamedTuple):
    """A netcat's command line as a listener and as a connector."""

    listen: tuple[str, ...]
    connect: tuple[str, ...]


# Chosen so that each tells the port it listens on, sends FIN at stdin's end (which is
# openbsd's -N), and then goes on receiving for as long as it takes (socat's -t).
NETCATS = {
    "pync": Netcat(
        (*PYNC, "-lnv", "--linger", "LINGER", HERE, "PORT"),
        (*PYNC, "--linger", "LINGER", HERE, "PORT"),
    ),
    "openbsd": Netcat(
        ("nc.openbsd", "-lnvN", HERE, "PORT"),
        ("nc.openbsd", "-nN", HERE, "PORT"),
    ),
    "ncat": Netcat(
        ("ncat", "-lnv", HERE, "PORT"),
        ("ncat", "-n", HERE, "PORT"),
    ),
    "socat": Netcat(
        ("socat", "-dd", f"-t{PATIENCE}", f"TCP-LISTEN:PORT,bind={HERE}", "STDIO"),
        ("socat", f"-t{PATIENCE}", f"TCP:{HERE}:PORT", "STDIO"),
    ),
}

PAIRINGS = [  # listener, connector
    ("pync", "pync"),
    ("pync", "openbsd"),
    ("openbsd", "pync"),
    ("pync", "ncat"),
    ("ncat", "pync"),
    ("pync", "socat"),
    ("socat", "pync"),
]


class Given(NamedTuple):
    """What one side gets as its stdin."""

    kind: str
    size: int = 0


IDLE = Given("idle")  # until everything has come; a pync's even longer
NULL = Given("null")

FLOWS = {  # what the listener is given, and the connector
    "the listener sends, the connector is idle": (Given("file", 2 * MIB), IDLE),
    "the listener sends, the connector has no stdin": (Given("file", 2 * MIB), NULL),
    "the connector sends, the listener is idle": (IDLE, Given("file", 2 * MIB)),
    "the connector sends, the listener has no stdin": (NULL, Given("file", 2 * MIB)),
    "both send as much": (Given("file", 2 * MIB), Given("file", 2 * MIB)),
    "the listener sends more": (Given("file", 3 * MIB), Given("file", MIB)),
    "the connector sends more": (Given("file", 100), Given("file", 3 * MIB)),
    "both come late": (Given("late", MIB), Given("pausing", MIB)),
}

# Both quit at their client's end, with their own stdin half read; whether that comes
# before or after their last byte is a matter of luck.
QUITS_EARLY = ("openbsd", "ncat")
LEAVES_EARLY = [
    (listener, "pync", flow)
    for listener in QUITS_EARLY
    for flow in (
        "the listener sends, the connector has no stdin",
        "both send as much",
        "the listener sends more",
        "both come late",
    )
]


class Side:
    """One of the two programs, with what it is given and what comes out of it."""

    def __init__(
        self, name: str, given: Given, out: str, resources: ExitStack, tmp_path: Path
    ) -> None:
        self.name = name
        self.given = given
        self._resources = resources
        data = os.urandom(given.size)
        self._stdin = resources.enter_context(a_stdin(given.kind, data, tmp_path))
        self._stdout = resources.enter_context(a_stdout(out, tmp_path))

    @property
    def data(self) -> bytes:
        return self._stdin.data

    def listen(self) -> int:
        """Start it as the listener; the port it says it has."""
        self._start(NETCATS[self.name].listen, free_port() if self.name == "ncat" else 0)
        return int(self._program.expect(r"(?m)istening on .*[: ](\d+)$")[1])

    def connect(self, port: int) -> None:
        self._start(NETCATS[self.name].connect, port)

    def _start(self, command: tuple[str, ...], port: int) -> None:
        linger = "200ms" if self.given.kind == "idle" else "1m"  # no stdin that ends is cut short
        values = {"PORT": str(port), "LINGER": linger}
        argv = [re.sub("PORT|LINGER", lambda name: values[name[0]], word) for word in command]
        how = {**self._stdin.how, **self._stdout.how}
        if "shell" in self._stdin.how and "shell" in self._stdout.how:
            how["shell"] = 'exec "$@" <&- >&-'
        self._program = self._resources.enter_context(run(*argv, **how))

    def feed(self) -> None:
        with suppress(BrokenPipeError):  # from a peer that leaves early
            self._stdin.feed(self._program)

    def collect(self, awaited: int) -> None:
        """See it come to its end; an idle peer has to be told once it has all it waits for."""
        if self.given == IDLE and self.name != "pync":
            self._program.receive(awaited)
            self._program.end()
        self.status, collected, self.err = self._program.finish()
        self.received = self._stdout.received(collected)


@contextmanager
def met(
    pairing: tuple[str, str],
    given: tuple[Given, Given],
    outs: tuple[str, str],
    tmp_path: Path,
) -> Iterator[tuple[Side, Side]]:
    """A listener and a connector that have met, talked, and ended."""
    if missing := [name for name in pairing if name != "pync" and not PEERS[name]]:
        pytest.skip(f"{missing[0]} is not installed")
    with ThreadPoolExecutor() as pool, ExitStack() as resources:
        listener, connector = (
            Side(*side, resources, tmp_path) for side in zip(pairing, given, outs, strict=True)
        )
        connector.connect(listener.listen())
        work = [
            pool.submit(listener.feed),
            pool.submit(connector.feed),
            pool.submit(listener.collect, len(connector.data)),
            pool.submit(connector.collect, len(listener.data)),
        ]
        for done in as_completed(work, 2 * PATIENCE):
            done.result()
        yield listener, connector


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("pairing", PAIRINGS, ids="-".join)
def test_a_pairing_loses_nothing(pairing: tuple[str, str], flow: str, tmp_path: Path) -> None:
    early = (*pairing, flow) in LEAVES_EARLY
    with met(pairing, FLOWS[flow], ("pipe", "pipe"), tmp_path) as sides:
        for this, other in (sides, sides[::-1]):
            if this.name != "pync":
                continue
            assert this.received == other.data or (early and other.data.startswith(this.received))
            assert other.received == this.data or (early and this.status == 1)
            # An idle pync is the only one that ends by a reset.
            assert this.status == 0 or early or (other.name == "pync" and other.given == IDLE)


@pytest.mark.parametrize("out", STDOUTS)
@pytest.mark.parametrize("kind", STDINS)
def test_two_pyncs_with_every_stdin_and_stdout(kind: str, out: str, tmp_path: Path) -> None:
    given = (Given(kind, MIB), Given(kind, MIB))
    with met(("pync", "pync"), given, (out, out), tmp_path) as (listener, connector):
        assert listener.received == connector.data
        assert connector.received == listener.data
        assert (listener.status, connector.status) == (0, 0)


@pytest.mark.parametrize("out", [*STDOUTS, "closed"])
@pytest.mark.parametrize("kind", [*STDINS, "idle"])
@pytest.mark.parametrize("pairing", PAIRINGS[1:], ids="-".join)
def test_every_stdin_and_stdout_beside_a_peer_that_sends_a_file(
    pairing: tuple[str, str], kind: str, out: str, tmp_path: Path
) -> None:
    ours, theirs = Given(kind, MIB), Given("file", MIB)
    given = (ours, theirs) if pairing[0] == "pync" else (theirs, ours)
    outs = (out, "pipe") if pairing[0] == "pync" else ("pipe", out)
    early = pairing[0] in QUITS_EARLY and kind != "idle"
    with met(pairing, given, outs, tmp_path) as sides:
        pync, peer = sides if pairing[0] == "pync" else sides[::-1]
        if out != "closed":
            assert pync.received == peer.data or (early and peer.data.startswith(pync.received))
        assert peer.received == pync.data or (early and pync.status == 1)
        assert pync.status == 0 or early


@pytest.mark.skipif(not PEERS["openbsd"], reason="openbsd is not installed")
def test_a_listener_that_would_quit_at_our_end_need_not_hear_of_it(tmp_path: Path) -> None:
    data = os.urandom(2 * MIB)
    with (
        a_stdin("file", data, tmp_path) as stdin,
        Program("nc.openbsd", "-lnvN", HERE, "0", **stdin.how) as listener,
        start("--no-shutdown", HERE, str(listener.port)) as pync,
    ):
        assert pync.finish()[:2] == (0, data)
        assert listener.finish().status == 0
