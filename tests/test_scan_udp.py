"""`-zu` with several ports: who refuses is closed, who answers open, and who is silent may be."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import pytest
from harness import PATIENCE, Program, Result, free_port
from namespaces import Namespace
from plain_peer import HERE
from proxy_servers import installed

from pync.wire import probes
from pync.wire.probes import QUESTIONS, questions

UDP = socket.SOCK_DGRAM


def scan(*words: object) -> Result:
    with Program.pync("-zu", *map(str, words)) as pync:
        return pync.finish()


def states(*words: object) -> dict[int, str]:
    result = scan("--json", *words)
    assert result.err == ""
    return {one["port"]: one["state"] for one in map(json.loads, result.out.splitlines())}


class Answering:
    """A port with somebody behind it.  heard: what came there."""

    def __init__(self, answer: Callable[[int], bytes | None]) -> None:
        """answer: to the datagram with that number, from 1 on; None for none."""
        self.heard: list[bytes] = []
        self._answer = answer
        self._sock = socket.socket(type=UDP)
        self._sock.bind((HERE, 0))
        self._sock.settimeout(PATIENCE)
        self.port = int(self._sock.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            data, sender = self._sock.recvfrom(65536)
            if data == b"end":
                return
            self.heard.append(data)
            if (answer := self._answer(len(self.heard))) is not None:
                self._sock.sendto(answer, sender)

    def __enter__(self) -> Answering:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with socket.socket(type=UDP) as ender:
            ender.sendto(b"end", (HERE, self.port))
        self._thread.join(PATIENCE)
        self._sock.close()


def silent(number: int) -> None:
    """No answer, however often it is asked."""


@pytest.fixture
def closed() -> int:
    return free_port(UDP)


def test_each_port_is_found_as_it_is(closed: int) -> None:
    with Answering(lambda _: b"") as answering, Answering(silent) as mute:
        assert states("-w", "300ms", HERE, answering.port, mute.port, closed) == {
            answering.port: "open",
            mute.port: "open|filtered",
            closed: "closed",
        }


@pytest.mark.parametrize(
    ("answer", "status"), [(lambda _: b"yes", 0), (silent, 1)], ids=["answers", "is silent"]
)
def test_only_an_answer_makes_it_open(
    closed: int, answer: Callable[[int], bytes | None], status: int
) -> None:
    with Answering(answer) as there:
        assert scan("-w", "200ms", HERE, there.port, closed) == (status, b"", "")


@pytest.mark.parametrize(("words", "status"), [((), 0), (("--json",), 1)], ids=["alone", "a scan"])
def test_one_port_alone_need_not_answer(words: tuple[str, ...], status: int) -> None:
    """Scripts that were written for Debian's nc rely on it."""
    with Answering(silent) as mute:
        assert scan("-w", "200ms", *words, HERE, mute.port).status == status


def test_one_port_alone_that_refuses_is_told_as_any_that_does(closed: int) -> None:
    told = f"pync: connect to {HERE} port {closed} (udp) failed: Connection refused\n"
    assert scan("-v", HERE, closed) == (1, b"", told)
    assert scan(HERE, closed) == (1, b"", "")


# Writes what comes to the port as hexadecimals, a line each, and answers nothing.
HEARING = """
import socket, sys
heard = socket.socket(type=socket.SOCK_DGRAM)
heard.bind(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    print(heard.recv(65536).hex() or "nothing", flush=True)
"""


@pytest.mark.parametrize("port", [53, 54, 161])
def test_one_port_alone_is_asked_what_a_scan_would_ask(port: int) -> None:
    with (
        Namespace() as network,
        network.program(sys.executable, "-c", HEARING, str(port)) as hearing,
    ):
        hearing.expect("ready", "out")
        with network.pync("-zu", "-w", "100ms", HERE, port) as pync:
            assert pync.finish().status == 0
        asked = [question.hex() or "nothing" for question in questions(port)]
        hearing.expect("\n".join(["ready", *asked, ""]), "out")


def test_what_is_asked_is_asked_twice() -> None:
    """Datagrams get lost; and who has nothing to say is sent nothing but emptiness."""
    with Answering(silent) as mute:
        scan("-w", "200ms", HERE, mute.port, f"{mute.port}-{mute.port}")
        assert mute.heard == [b"", b""]


def test_an_answer_to_the_second_is_an_answer() -> None:
    with Answering(lambda number: b"now" if number == 2 else None) as late:
        assert states("-w", "2s", HERE, late.port) == {late.port: "open"}


def test_an_answer_ends_the_asking() -> None:
    with Answering(lambda _: b"yes") as quick:
        assert states("-w", "20s", HERE, quick.port) == {quick.port: "open"}
        assert quick.heard == [b""]


def test_v_tells_of_each_that_was_named(closed: int) -> None:
    with Answering(lambda _: b"yes") as answering, Answering(silent) as mute:
        status, _, err = scan("-vnw", "200ms", HERE, answering.port, mute.port, closed)
    *lines, summary = err.splitlines()
    assert sorted(lines) == [
        f"Connection to {HERE} {answering.port} port [udp/*] succeeded!",
        f"No answer from {HERE} {mute.port} port [udp/*]: open or filtered",
        f"pync: connect to {HERE} port {closed} (udp) failed: Connection refused",
    ]
    assert summary.endswith(" s: 1 open, 1 open|filtered, 1 closed, 0 filtered")
    assert status == 0


@pytest.mark.parametrize(("count", "told"), [(1, 1), (20, 20), (21, 0)])
def test_of_a_range_v_tells_the_silent_ones_while_they_are_few(count: int, told: int) -> None:
    with ExitStack() as stack:
        ports = [stack.enter_context(Answering(silent)).port for _ in range(count)]
        ranges = ",".join(f"{port}-{port}" for port in ports)
        *lines, summary = scan("-vnw", "200ms", HERE, ranges).err.splitlines()
    silence = [f"No answer from {HERE} {port} port [udp/*]: open or filtered" for port in ports]
    assert sorted(lines) == sorted(silence[:told])
    assert f"0 open, {count} open|filtered" in summary


def test_an_answer_can_be_shown() -> None:
    with Answering(lambda _: b"\x00yes\n") as answering:
        status, _, err = scan("--banner", "-n", HERE, answering.port)
    assert err.splitlines()[1:] == [f"{HERE} {answering.port} says: \\x00yes"]
    assert status == 0


# --- a host that limits its refusals, as Linux does over a link: six, and then one a second ---

LINK = """
ip link add near type veth peer name far netns {}
ip link set near up
ip address add 10.9.0.1/24 dev near
"""
FAR = "10.9.0.2"


@contextmanager
def link() -> Iterator[Namespace]:
    """A network with FAR in it, which is another one, where nobody listens."""
    with Namespace() as there, Namespace(LINK.format(there.pid)) as here:
        script = f"ip link set far up && ip address add {FAR}/24 dev far"
        with there.program("sh", "-c", script) as shell:
            assert shell.finish().status == 0
        yield here


def test_who_limits_its_refusals_is_asked_again_slowly() -> None:
    with link() as here, here.pync("-zu", "-v", "-w", "300ms", FAR, "20001-20009") as pync:
        result = pync.finish()
    assert result.err.splitlines()[-1].endswith(" s: 0 open, 9 closed, 0 filtered")
    assert result.status == 1


def test_where_too_many_are_silent_they_are_told_as_doubtful() -> None:
    words = ("-zu", "-vv", "-n", "--json", "-w", "300ms", FAR, "20001-20200")
    with link() as here, here.pync(*words) as pync:
        _, out, err = pync.finish(within=5)
    found = [json.loads(line) for line in out.splitlines()]
    reasons = Counter(one["reason"] for one in found if one["state"] == "open|filtered")
    ((reason, doubtful),) = reasons.items()
    assert reason == "No answer, and the host limits its refusals"
    assert len(found) == 200
    assert 190 <= doubtful <= 194
    assert err.count(" port [udp/*]: open, filtered or closed\n") == doubtful
    assert err.splitlines()[-1] == (
        f"{doubtful} of the silent ports may be closed, "
        "since refusals are limited: -i 1 gives them time"
    )


# --- questions ---


def test_each_question_is_short_enough_for_a_datagram() -> None:
    """On any way there is (RFC 9000 section 14.1 asks for 1,200 bytes)."""
    assert max(len(one) for asked in QUESTIONS.values() for one in asked) == 1200
    assert questions(9) == (b"",)


def tree(data: bytes) -> list[Any]:
    """BER, as a list of tags with what is in them."""
    found: list[Any] = []
    while data:
        tag, length, body, data = data[0], data[1], data[2 : 2 + data[1]], data[2 + data[1] :]
        assert length < 128
        assert len(body) == length
        found.append((tag, tree(body) if tag & 0x20 else body))
    return found


def test_snmp_is_asked_for_its_description() -> None:
    """RFC 1157: a sequence of version, community and request."""
    ((tag, (version, community, (kind, request))),) = tree(probes.SNMP)
    assert (tag, version, community, kind) == (0x30, (2, b"\0"), (4, b"public"), 0xA0)
    ((_, ((_, name), null)),) = request[3][1]
    assert (name, null) == (bytes([0x2B, 6, 1, 2, 1, 1, 1, 0]), (5, b""))


def test_snmp_3_is_asked_for_its_engine() -> None:
    """RFC 3412: version, header, the parameters of the security model, the scoped request."""
    ((_, (version, (_, header), (_, security), scoped)),) = tree(probes.SNMP3)
    assert version == (2, b"\3")
    assert header[2] == (4, b"\4")  # it may be reported, and nothing is signed
    assert [len(part) for _, part in tree(security)[0][1]] == [0, 1, 1, 0, 0, 0]
    assert scoped[0] == 0x30


def test_netbios_is_asked_for_any_name() -> None:
    """RFC 1001 section 14.1: each half of a byte is a letter."""
    encoded = probes.NETBIOS[13:45]
    assert bytes(
        (high - 65) << 4 | (low - 65) for high, low in zip(encoded[::2], encoded[1::2], strict=True)
    ) == b"*" + bytes(15)
    assert struct.unpack(">2H", probes.NETBIOS[46:]) == (0x21, 1)


# --- services, on their own ports, so in a network of their own ---


class Service(NamedTuple):
    """package: Debian's.  settings: of its configuration.  argv: with $configuration, $here and
    $directory.  ready: what it says once it listens.  answer: what is in its answer.
    """

    package: str
    port: int
    argv: str
    ready: str
    answer: str
    settings: str = ""


DNSMASQ = """dnsmasq --keep-in-foreground --no-resolv --no-hosts --conf-file=$configuration --user=
    --listen-address=$here --bind-interfaces --log-facility=- --pid-file="""
CHRONY = """allow all
local stratum 1
cmdport 0
bindaddress $here
pidfile $directory/pid
driftfile $directory/drift
"""
SNMPD = "snmpd -f -C -c $configuration -Le -p $directory/pid -M $directory udp:$here:161"
CHRONYD = "chronyd -d -x -u root -f $configuration"
SERVICES = {
    "dnsmasq": Service("dnsmasq-base", 53, DNSMASQ, "started", r"py\x81"),  # the same id; a reply
    "chronyd": Service("chrony", 123, CHRONYD, "Disabled", "$\1", CHRONY),  # version 4, a server
    "snmpd": Service("snmpd", 161, SNMPD, "NET-SNMP", "public", "rocommunity public"),
    "snmpd, version 3 alone": Service(
        "snmpd",
        161,
        SNMPD,
        "NET-SNMP",
        "\\x80\x00\x1f\\x88",
        "rouser pync",  # its engine's name
    ),
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_answers_what_it_is_asked(name: str, tmp_path: Path) -> None:
    service = SERVICES[name]
    configuration = tmp_path / "configuration"
    words = {"configuration": configuration, "here": HERE, "directory": tmp_path}
    configuration.write_text(Template(service.settings).substitute(words))
    program, *argv = Template(service.argv).substitute(words).split()
    env = {"SNMP_PERSISTENT_DIR": str(tmp_path), "MIBS": ""}
    with (
        Namespace() as network,
        network.program(installed(program, service.package), *argv, env=env) as running,
    ):
        running.expect(service.ready)
        with network.pync("-zu", "-w", "5s", "--json", "--banner", HERE, service.port) as pync:
            (line,) = pync.finish().out.splitlines()
    one = json.loads(line)
    assert one["state"] == "open"
    assert service.answer in one["banner"]
