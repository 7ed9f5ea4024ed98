"""`-z` with several ports or hosts: which are open, and what is told of them.

Only ports are tried that the test has bound itself, with somebody listening or not.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pexpect
import pytest
from harness import (
    NULL,
    PATIENCE,
    PIPE,
    PYNC,
    Program,
    Result,
    descriptors,
    full_backlog,
    needs_ipv6,
)
from plain_peer import HERE

from pync.arguments import read_options
from pync.cli import parse
from pync.environment import Environment
from pync.errors import UsageError
from pync.loop import Loop
from pync.options import Options
from pync.scan.doors import Doors
from pync.scan.report import Report, Wanted
from pync.scan.scan import BATCH, Scan
from pync.scan.targets import Hosts, read_host, read_ports
from pync.scan.trial import Outcome, State, Trial
from pync.stream import EndOfStream, WouldBlock
from pync.transports.inet import InetAddress
from pync.transports.knocker import Knocker


def scan(*words: object, **how: Any) -> Result:
    with Program.pync("-z", *map(str, words), **how) as pync:
        return pync.finish()


def records(*words: object, **how: Any) -> list[dict[str, Any]]:
    """What --json writes."""
    result = scan("--json", *words, **how)
    assert result.err == ""
    return [json.loads(line) for line in result.out.splitlines()]


def states(*words: object) -> dict[int, str]:
    return {one["port"]: one["state"] for one in records(*words)}


class Street:
    """Doors of one host."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def open(self, host: str = HERE) -> int:
        sock = self._bound(host)
        sock.listen(64)
        return int(sock.getsockname()[1])

    def closed(self, host: str = HERE) -> int:
        """Bound, and not listening: refused, and nobody else's meanwhile."""
        return int(self._bound(host).getsockname()[1])

    def _bound(self, host: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = self._stack.enter_context(socket.socket(family))
        sock.bind((host, 0))
        return sock


@pytest.fixture
def street() -> Iterator[Street]:
    with ExitStack() as stack:
        yield Street(stack)


@contextmanager
def serving(serve: Callable[[socket.socket], None], clients: int = 1) -> Iterator[int]:
    """A port whose clients are served one after the other; then it is closed."""
    with socket.create_server((HERE, 0)) as listener:
        listener.settimeout(PATIENCE)

        def serve_all() -> None:
            for _ in range(clients):
                client, _ = listener.accept()
                with client:
                    client.settimeout(PATIENCE)
                    serve(client)

        thread = threading.Thread(target=serve_all)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            thread.join(PATIENCE)
            assert not thread.is_alive()


# --- which ports, which hosts ---


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [range(80, 81)]),
        ("http", ["http"]),
        ("ftp-data", ["ftp-data"]),
        ("20-25", [range(20, 26)]),
        ("1-", [range(1, 65536)]),
        ("-1024", [range(1, 1025)]),
        ("7-7", [range(7, 8)]),
        ("80,443,8000-8100,http", [range(80, 81), range(443, 444), range(8000, 8101), "http"]),
    ],
)
def test_ports_are_numbers_names_ranges_and_lists(text: str, ports: list[str | range]) -> None:
    assert read_ports(text) == ports


BAD_PORTS = [
    "20-10", "70000", "0", "0-5", "65535-65536", "80,", ",", "", "-", "--", "1-2-3", "80,,81",
    "80abc!", "-99999", "²",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_PORTS)
def test_what_is_no_port_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(not a port|neither a port)"):
        read_ports(text)


@pytest.mark.parametrize(
    ("text", "size", "some"),
    [
        ("example.com", 1, ["example.com"]),
        ("10.0.0.1", 1, ["10.0.0.1"]),
        ("fe80::1%eth0", 1, ["fe80::1%eth0"]),
        ("10.0.0.0/30", 4, ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ("10.0.0.2/31", 2, ["10.0.0.2", "10.0.0.3"]),
        ("10.0.0.7/24", 256, ["10.0.0.0", "10.0.0.1"]),
        ("10.0.0.0/16", 65536, ["10.0.0.0"]),
        ("fd00::/112", 65536, ["fd00::", "fd00::1"]),
    ],
)
def test_a_host_may_be_a_network(text: str, size: int, some: list[str]) -> None:
    hosts = read_host(text)
    assert hosts.size == size
    assert [str(host) for host, _ in zip(hosts.each, some, strict=False)] == some


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10.0.0.0/15", "too large"),
        ("10.0.0.0/8", "too large"),
        ("fd00::/111", "too large"),
        ("10.0.0.0/33", "not a network"),
        ("example.com/24", "not a network"),
        ("/", "not a network"),
        ("", "empty"),
    ],
)
def test_what_is_no_host_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_host(text)


def options(line: str) -> Options:
    return read_options(*parse(line.split()))


@pytest.mark.parametrize(
    ("line", "host", "port", "ports"),
    [
        ("-z h 80", "h", "80", ()),
        ("-z h ftp-data", "h", "ftp-data", ()),
        ("-z h 80 81", "h", None, ("80", "81")),
        ("-z h 80,81", "h", None, ("80,81",)),
        ("-zr h -1024", "h", None, ("-1024",)),
        ("-z -- h -1024,8080", "h", None, ("-1024,8080",)),
        ("-z 10.0.0.0/24 80", "10.0.0.0/24", None, ("80",)),
        ("-z --json h 80", "h", None, ("80",)),
        ("-z --banner h 80", "h", None, ("80",)),
        ("-z --hosts-from f 80 443", None, None, ("80", "443")),
    ],
)
def test_one_port_alone_is_no_scan(
    line: str, host: str | None, port: str | None, ports: tuple[str, ...]
) -> None:
    found = options(line)
    assert (found.host, found.port, found.ports) == (host, port, ports)


MISTAKES = {
    "-z h": "HOST and PORT are needed",
    "-z --hosts-from f": "HOST and PORT are needed",
    "-z h 20-10": "port '20-10' is not a port",
    "-z h 80 70000": "port '70000' is not a port",
    "-z 10.0.0.0/8 80": "host '10.0.0.0/8' is too large to scan",
    "--banner h 80": "--banner needs --zero",
    "--json h 80": "--json needs --zero",
    "-r h 80": "--random needs --zero",
    "--parallel 5 h 80": "--parallel needs --zero",
    "--hosts-from f 80 81": "--hosts-from needs --zero",
    "-z --parallel 0 h 80": "--parallel: '0' is not a whole number above zero",
    "-zU --json path": "--unixsock and --json exclude each other",
    "-zlr 80": "--zero and --listen exclude each other",
    "-z -i 1 h 80": "--interval is a pause between ports, and there is one alone",
    "-zU -i 1 path": "--unixsock and --zero exclude --interval",
    "-z --wait-open 5s -i 1 h 80 81": "--wait-open and --interval exclude each other",
    "h 80 81": "HOST and PORT are needed",
    "-z --ssl h 80 81": "--ssl: a scan does no more than connect",
    "-z -x p h 80 81": "--via: a scan does no more than connect",
}


# What is about the user's bytes.
BYTES = {
    "-C": "crlf", "-t": "telnet", "--safe-tty": "safe-tty", "-W 1": "recv-limit",
    "--recv-only": "recv-only", "--send-only": "send-only", "-q 1": "quit",
    "--no-shutdown": "no-shutdown", "--idle-timeout 1": "idle-timeout",
}  # fmt: skip


@pytest.mark.parametrize(("given", "name"), BYTES.items())
@pytest.mark.parametrize("what", ["h 80", "h 80-81", "--wait-open 5s h 80", "-U path"])
def test_no_bytes_move_and_none_are_changed(given: str, name: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"^--zero and --{name} exclude each other$"):
        options(f"-z {given} {what}")


@pytest.mark.parametrize(("line", "told"), MISTAKES.items())
def test_a_mistake_is_told_before_anything_is_tried(line: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        options(line)


def test_a_service_that_nobody_knows_is_a_mistake(street: Street) -> None:
    result = scan(HERE, street.open(), "nosuchservice")
    assert result == (
        2,
        b"",
        "pync: port 'nosuchservice' is not a service that this machine knows\n",
    )


def test_names_are_not_looked_up_when_that_is_forbidden() -> None:
    status, _, err = scan("-n", "localhost", "1-2")
    assert (status, err) == (2, "pync: 'localhost' is a name, and --nodns forbids to look it up\n")


# --- what is found ---


def test_the_exit_status_says_whether_any_is_open(street: Street) -> None:
    opened, closed = street.open(), street.closed()
    assert scan(HERE, closed, opened) == (0, b"", "")
    assert scan(HERE, closed, f"{closed}-{closed}") == (1, b"", "")


def test_each_port_is_found_as_it_is(street: Street) -> None:
    opened, closed = street.open(), street.closed()
    with full_backlog() as silent:
        assert states("-w", "300ms", HERE, opened, f"{closed},{silent}") == {
            opened: "open",
            closed: "closed",
            silent: "filtered",
        }


def test_a_port_is_tried_once_however_often_it_is_named(street: Street) -> None:
    port = street.open()
    assert len(records(HERE, port, port, f"{port}-{port}")) == 1


def test_a_connection_that_is_cut_at_once_was_accepted() -> None:
    """What counts is that somebody listens there."""
    with serving(cut, 4) as port:
        for _ in range(4):
            (one,) = records(HERE, f"{port}-{port}")
            assert (one["state"], one["reason"]) == ("open", None)


def cut(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Known(NamedTuple):
    """A name whose addresses are known."""

    addresses: list[InetAddress]

    def finish(self) -> list[InetAddress]:
        return self.addresses

    def abandon(self) -> None:
        pass


class Notes(Report):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__(Environment(), Wanted(), numeric=True, records=None)
        self.told: list[Outcome] = []

    def tell(self, outcome: Outcome) -> None:
        self.told.append(outcome)


class SlowNotes(Notes):
    """Takes what it is told one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[int] = []

    def flush(self) -> None:
        self.waiting.append(len(self.told) - sum(self.waiting))
        if self.waiting[-1]:
            raise WouldBlock(after=0)


def scan_name(
    addresses: list[str], ports: list[int], patience: float = PATIENCE, notes: Notes | None = None
) -> list[Outcome]:
    """What becomes of a name's ports."""
    notes = notes or Notes()
    before = descriptors()
    known = Known([InetAddress(socket.AF_INET, (host, 0), "tcp", "name") for host in addresses])
    hosts = [Hosts(("name",), 1)]
    with Loop() as loop:
        doors = Doors(
            loop, hosts, lambda: ports, lambda _: known, PATIENCE, list, notes.tell_missing
        )
        knocker = Knocker(Options())
        task = Scan(
            loop,
            doors,
            lambda address: Trial(knocker.connect(address), address, loop.clock, patience),
            notes,
            parallel=10,
            pause=0,
        )
        loop.run(task)
        task.close()
        knocker.close()
    assert descriptors() == before
    return notes.told


def test_a_port_is_open_if_it_is_at_one_of_the_addresses(street: Street) -> None:
    ports = [street.open("127.0.0.2"), street.open("127.0.0.3"), street.closed("127.0.0.3")]
    told = scan_name(["127.0.0.2", "127.0.0.3"], ports)
    assert [(one.peer.host, one.peer.port, one.state) for one in told] == [
        ("127.0.0.2", ports[0], State.OPEN),
        ("127.0.0.3", ports[1], State.OPEN),
        ("127.0.0.2", ports[2], State.CLOSED),
    ]


def test_an_address_that_is_silent_holds_up_no_other() -> None:
    with full_backlog() as port, socket.create_server(("127.0.0.2", port)):
        (one,) = scan_name([HERE, "127.0.0.2"], [port])
    assert (one.peer.host, one.state) == ("127.0.0.2", State.OPEN)
    assert one.seconds < PATIENCE / 2


def test_of_two_failures_the_better_news_counts(street: Street) -> None:
    with full_backlog() as port:
        (one,) = scan_name([HERE, "127.0.0.2"], [port], patience=0.2)
    assert (one.peer.host, one.state) == ("127.0.0.2", State.CLOSED)


def test_a_host_that_cannot_be_reached_is_filtered() -> None:
    (one,) = records("fe80::1", "1-1")
    assert (one["state"], one["reason"]) == ("filtered", os.strerror(22))


@pytest.mark.parametrize("most", [1, 2, 7])
def test_fewer_at_a_time_find_the_same(street: Street, most: int) -> None:
    expected = {street.open(): "open" for _ in range(5)}
    expected |= {street.closed(): "closed" for _ in range(5)}
    with full_backlog() as silent:
        expected[silent] = "filtered"
        assert states("-w", "200ms", "--parallel", most, HERE, *expected) == expected


def test_the_local_end_may_be_chosen(street: Street) -> None:
    opened, closed = street.open("127.0.0.1"), street.closed()
    assert states("-s", "127.0.0.9", HERE, opened, closed) == {opened: "open", closed: "closed"}


@needs_ipv6
def test_a_local_end_of_another_family_is_a_mistake() -> None:
    told = "pync: --source 127.0.0.1 and ::1 are of different families\n"
    assert scan("-s", HERE, "::1", "1-1") == (2, b"", told)


@needs_ipv6
def test_of_many_hosts_one_may_be_of_another_family(street: Street, tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("::1\n127.0.0.1\n")
    told = f"pync: --source {HERE} and ::1 are of different families\n"
    for port, status in ((street.open(), 0), (street.closed(), 1)):
        assert scan("-s", HERE, "--hosts-from", path, port) == (status, b"", told)


def test_the_descriptors_that_there_are_have_to_do(street: Street) -> None:
    """Also where more are silent than there can be sockets."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    opened = street.open()
    with ExitStack() as stack:
        silent = [stack.enter_context(full_backlog()) for _ in range(40)]
        found = records("-w", "100ms", HERE, *silent, opened, preexec_fn=few)
    assert len(found) == 41
    assert [one["port"] for one in found if one["state"] == "open"] == [opened]


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("words", [(), ("-u",), ("--json",)])
def test_too_few_descriptors_are_told(street: Street, words: tuple[str, ...], soft: bool) -> None:
    """But those that may be had are taken."""
    few = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (8, 1024 if soft else 8))
    status, _, err = scan(*words, HERE, f"{street.closed()},{street.closed()}", preexec_fn=few)
    told = "pync: a scan needs 8 free descriptors, and ulimit -n allows fewer\n"
    assert (status, err) == ((1, "") if soft else (2, told))


# --- several hosts ---


def test_a_network_is_scanned(street: Street) -> None:
    ports = [street.open("127.0.0.5"), street.open("127.0.0.6")]
    opened = [one for one in records("127.0.0.4/30", *ports) if one["state"] == "open"]
    assert [(one["host"], one["port"]) for one in opened] == [
        ("127.0.0.5", ports[0]),
        ("127.0.0.6", ports[1]),
    ]


HOSTS = """
# the machines
127.0.0.5      # the first
localhost

127.0.0.8/31
no.such.host.invalid
"""


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_hosts_may_come_from_a_file(street: Street, tmp_path: Path, way: str) -> None:
    path = tmp_path / "hosts"
    path.write_text(HOSTS)
    port = street.open(HERE)
    with path.open("rb") as file:
        name, stdin = (str(path), NULL) if way == "file" else ("-", file)
        result = scan("-4", "--json", "--hosts-from", name, port, stdin=stdin)
    found = {one["host"]: one["state"] for one in map(json.loads, result.out.splitlines())}
    assert found.keys() == {
        *("127.0.0.5", "127.0.0.8", "127.0.0.9", "localhost", "no.such.host.invalid"),
    }
    assert found["no.such.host.invalid"] == "unresolved"
    assert re.fullmatch("pync: cannot resolve no.such.host.invalid: .+\n", result.err)
    assert result.status == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"127.0.0.1\n10.0.0.0/8\n", "line 2: '10.0.0.0/8' is too large"),
        (b"a\0b\n", "line 1: 'a\\x00b' is not a name"),
        (b"# nobody\n\n", "there is no host in it"),
        (b"\xff\n", "it is not text in UTF-8"),
        (None, "No such file or directory"),
    ],
)
def test_a_bad_file_is_told_before_anything_is_tried(
    tmp_path: Path, text: bytes | None, told: str
) -> None:
    path = tmp_path / "hosts"
    if text is not None:
        path.write_bytes(text)
    status, out, err = scan("--hosts-from", path, "1-1")
    assert (status, out) == (2, b"")
    assert err.startswith(f"pync: --hosts-from {path}")
    assert told in err.replace("\\\\", "\\")


def test_a_host_without_an_address(street: Street) -> None:
    port = street.open()
    assert scan("no.such.host.invalid", port, "1-1") == (1, b"", "")
    status, out, err = scan("-v", "no.such.host.invalid", port, "1-1")
    assert (status, out) == (1, b"")
    assert err.startswith("pync: cannot resolve no.such.host.invalid: ")


def test_json_has_an_object_for_a_host_without_an_address() -> None:
    (one,) = records("no.such.host.invalid", "1-9")
    assert one.pop("reason").startswith("cannot resolve no.such.host.invalid: ")
    assert {field for field in one if one[field] is not None} == {"host", "state"}
    assert (one["host"], one["state"]) == ("no.such.host.invalid", "unresolved")


class Unknown(NamedTuple):
    """A name that nobody answers for."""

    def finish(self) -> list[InetAddress]:
        raise WouldBlock

    def abandon(self) -> None:
        pass


def test_a_dead_name_holds_up_no_other() -> None:
    """It has its time, and then it is told."""
    told: list[tuple[str, str]] = []

    def complain(name: str, why: str) -> None:
        told.append((name, why))

    lookups = {
        "dead": Unknown(),
        "here": Known([InetAddress(socket.AF_INET, (HERE, 0), "tcp", "here")]),
    }
    hosts = [Hosts(("dead", "here"), 2)]
    with Loop() as loop:
        doors = Doors(loop, hosts, lambda: [1], lookups.__getitem__, 0.1, list, complain)
        (address,) = doors.next().addresses
        assert (address.host, address.port, told) == (HERE, 1, [])
        with pytest.raises(WouldBlock) as waits:
            doors.next()
        assert waits.value.condition
        loop.run(Nap())
        with pytest.raises(EndOfStream):
            doors.next()
    assert told == [("dead", "cannot resolve dead: timed out")]


class Nap:
    """A task that lasts for a while."""

    def __init__(self) -> None:
        self._over = False

    def advance(self) -> bool:
        if self._over:
            return False
        self._over = True
        raise WouldBlock(after=0.2)


# --- order and pace ---


def test_the_scan_waits_for_whoever_reads_of_it(street: Street) -> None:
    ports = [street.closed()] * 1000
    notes = SlowNotes()
    assert len(scan_name([HERE], ports, notes=notes)) == 1000
    assert max(notes.waiting) <= BATCH
    assert sum(notes.waiting) == 1000


def test_ports_are_tried_in_the_order_asked_for(street: Street) -> None:
    ports = [street.closed() for _ in range(20)]
    assert [one["port"] for one in records("--parallel", 1, HERE, *ports)] == ports


def test_a_random_order_has_them_all(street: Street) -> None:
    ports = [street.closed() for _ in range(20)]
    seen = [[one["port"] for one in records("-r", "--parallel", 1, HERE, *ports)] for _ in "ab"]
    assert [sorted(order) for order in seen] == 2 * [sorted(ports)]
    assert seen[0] != seen[1]


def test_there_may_be_a_pause_between_them(street: Street) -> None:
    ports = [street.closed() for _ in range(4)]
    status, _, err = scan("-v", "-i", "100ms", HERE, *ports)
    seconds = re.search(r"4 ports in (\d+\.\d) s", err)
    assert status == 1
    assert seconds
    assert float(seconds[1]) >= 0.3


def test_there_is_no_pause_before_the_first_or_after_the_last(street: Street) -> None:
    """Nor one for a name that is still being looked up."""
    port = street.open()
    began = time.monotonic()
    assert scan("-4", "-i", "1h", "localhost", f"{port}-{port}").status == 0
    assert time.monotonic() - began < PATIENCE


# --- what is told ---


def test_v_tells_of_each_that_was_named(street: Street) -> None:
    opened, closed = street.open(), street.closed()
    status, out, err = scan("-vn", HERE, opened, closed)
    *lines, summary = err.splitlines()
    assert lines == [
        f"Connection to {HERE} {opened} port [tcp/*] succeeded!",
        f"pync: connect to {HERE} port {closed} (tcp) failed: Connection refused",
    ]
    assert re.fullmatch(r"2 ports in \d+\.\d s: 1 open, 1 closed, 0 filtered", summary)
    assert (status, out) == (0, b"")


@pytest.mark.parametrize(
    ("ports", "told"),
    [("{0} {1}", 2), ("{0},{1}", 2), ("{0},{1} {1}", 2), ("{0},{1}-{1}", 1), ("{0}-{0} {1}", 1)],
)
def test_a_list_names_its_ports(street: Street, ports: str, told: int) -> None:
    words = ports.format(street.open(), street.closed()).split()
    assert len(scan("-v", HERE, *words).err.splitlines()) == told + 1


@pytest.mark.parametrize(("options", "told"), [("-v", 1), ("-vv", 3)])
def test_of_a_range_or_a_network_v_tells_the_open_ones(
    street: Street, options: str, told: int
) -> None:
    opened, closed = street.open(), street.closed()
    line = f"{opened}-{opened},{closed}-{closed}"
    assert len(scan(options, HERE, line, f"{closed}").err.splitlines()) == 1 + told - (told > 1)
    network = scan(options, "127.0.0.1/32", opened).err.splitlines()
    assert len(network) == 2


def test_a_name_is_told_with_the_address(street: Street) -> None:
    opened, closed = street.open(), street.closed()
    lines = scan("-v4", "localhost", opened, closed).err.splitlines()
    assert lines[0].startswith(f"Connection to localhost ({HERE}) {opened} port [tcp/")
    assert (
        f"connect to localhost ({HERE}) port {closed} (tcp) failed: Connection refused" in lines[1]
    )


def test_json_has_an_object_for_each_port(street: Street) -> None:
    opened, closed = street.open(), street.closed()
    one, other = records("-4", "localhost", opened, closed)
    assert 0 <= one.pop("seconds") < PATIENCE
    assert one == {
        "host": "localhost", "address": HERE, "port": opened, "protocol": "tcp", "state": "open",
        "service": None, "reason": None, "banner": None,
    }  # fmt: skip
    assert (other["state"], other["reason"]) == ("closed", "Connection refused")


def test_json_and_v_go_to_different_places(street: Street) -> None:
    status, out, err = scan("-v", "--json", HERE, street.open(), street.closed())
    assert status == 0
    assert len(out.splitlines()) == 2
    assert len(err.splitlines()) == 3


def test_a_reader_that_goes_ends_it(street: Street) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert scan("--json", HERE, street.closed(), street.closed(), stdout=writer) == (
            141,
            b"",
            "",
        )
    finally:
        os.close(writer)


def test_a_reader_that_goes_is_noticed_while_nothing_is_found() -> None:
    with full_backlog() as silent:
        reader, writer = os.pipe()
        with Program.pync("-z", "--json", "-w", "1h", HERE, str(silent), stdout=writer) as pync:
            os.close(writer)
            os.close(reader)
            assert pync.finish() == (141, b"", "")


def test_a_full_disk_is_told(street: Street) -> None:
    with Path("/dev/full").open("wb") as full:
        result = scan("--json", HERE, street.closed(), street.closed(), stdout=full)
    assert result == (2, b"", "pync: cannot write standard output: No space left on device\n")


# --- banners ---


def greet(client: socket.socket) -> None:
    client.sendall(b"SSH-2.0-Test\x1b[2J\xff\r\n")
    client.recv(1)


def test_a_banner_is_shown_escaped() -> None:
    with serving(greet) as port:
        result = scan("--banner", "-n", HERE, port)
    assert result.err == (
        f"Connection to {HERE} {port} port [tcp/*] succeeded!\n"
        f"{HERE} {port} says: SSH-2.0-Test\\x1b[2J\\xff\n"
    )
    assert (result.status, result.out) == (0, b"")


def test_json_has_the_banner_whole() -> None:
    with serving(greet) as port:
        (one,) = records("--banner", HERE, port)
    assert one["banner"] == "SSH-2.0-Test\x1b[2J\\xff\r\n"


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (lambda client: client.recv(1), None),
        (lambda client: None, None),
        (cut, None),
        (lambda client: client.sendall(b"x" * 5000), "x" * 1024),
    ],
    ids=["says nothing", "ends", "cuts", "says much"],
)
def test_a_port_is_open_whatever_it_says(
    serve: Callable[[socket.socket], None], said: str | None
) -> None:
    with serving(serve) as port:
        (one,) = records("--banner", HERE, port)
    assert (one["state"], one["banner"]) == ("open", said)


def test_a_banner_of_a_closed_or_silent_port(street: Street) -> None:
    closed = street.closed()
    with full_backlog() as silent:
        assert states("--banner", "-w", "200ms", HERE, closed, silent) == {
            closed: "closed",
            silent: "filtered",
        }


# --- signals ---


def test_a_signal_ends_it() -> None:
    """What is known by then has been told, and is counted."""
    with full_backlog() as silent, socket.socket() as closed:
        closed.bind((HERE, 0))
        words = ("-zvv", "-w", "20s", HERE, str(silent), str(closed.getsockname()[1]))
        with Program.pync(*words) as pync:
            pync.expect("Connection refused\n")
            pync.signal(signal.SIGINT)
            status, _, err = pync.finish()
    assert re.search(r"\n1 port in .* s: 0 open, 1 closed, 0 filtered\n$", err)
    assert status == -signal.SIGINT


def test_a_signal_shows_a_person_how_far_it_has_got() -> None:
    with full_backlog() as silent:
        words = [*PYNC[1:], "-z", "-w", "20s", HERE, f"{silent}-{silent}"]
        terminal = pexpect.spawn(PYNC[0], words, timeout=PATIENCE, encoding="utf-8")
        try:
            terminal.expect("0 of 1 port,")
            terminal.sendintr()
            terminal.expect(r"\r\x1b\[K0 ports in .* s: 0 open, 0 closed, 0 filtered\r\n$")
            terminal.expect(pexpect.EOF)
        finally:
            terminal.close()
    assert terminal.signalstatus == signal.SIGINT


def test_a_signal_ends_a_scan_that_nobody_watches_in_silence(street: Street) -> None:
    with full_backlog() as silent:
        words = ("-z", "-w", "20s", "--json", HERE, str(silent), str(street.closed()))
        with Program.pync(*words) as pync:
            pync.expect("refused", "out")  # it does not wait for what comes later
            pync.signal(signal.SIGINT)
            status, _, err = pync.finish()
    assert (status, err) == (-signal.SIGINT, "")


def test_a_signal_ends_the_reading_of_hosts() -> None:
    with Program.pync("-z", "--hosts-from", "-", "1-1", stdin=PIPE) as pync:
        pync.send(b"127.0.0.1\n")
        while unread(pync):
            assert pync.process.poll() is None
        pync.signal(signal.SIGINT)
        assert pync.finish() == (-signal.SIGINT, b"", "")


def unread(program: Program) -> bool:
    """Whether there is something left of what it was sent."""
    assert program.process.stdin
    count = bytearray(4)
    fcntl.ioctl(program.process.stdin, termios.FIONREAD, count)
    return any(count)


# --- progress ---


@pytest.mark.parametrize(
    ("columns", "shown"), [(80, "0 of 3 ports, 0/s, 0 open"), (10, "0 of 3 po")]
)
def test_a_terminal_is_shown_how_far_it_has_got(columns: int, shown: str) -> None:
    """In one line, however narrow it is."""
    with ExitStack() as stack:
        silent = [str(stack.enter_context(full_backlog())) for _ in range(3)]
        words = [*PYNC[1:], "-z", "-w", "1600ms", HERE, *silent]
        terminal = pexpect.spawn(
            PYNC[0], words, timeout=PATIENCE, encoding="utf-8", dimensions=(24, columns)
        )
        try:
            terminal.expect(rf"\r\x1b\[K{shown}\r\x1b")
            terminal.expect(pexpect.EOF)
            assert re.search(r"\r\x1b\[K$", terminal.before)
            assert "\n" not in terminal.before
        finally:
            terminal.close()
    assert terminal.exitstatus == 1


def test_nobody_else_is() -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(full_backlog()) for _ in range(3)]
        assert scan("-w", "1600ms", HERE, *silent) == (1, b"", "")
