"""Scans of whole hosts and networks, in a network of the test's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness import PYNC, Program, Result
from namespaces import DROPPING, SILENT, Namespace
from plain_peer import HERE

ALL = "1-65535"

# Listens on as many of the arguments as there are, HOST:PORT each, until its input ends.
LISTEN = """
import socket, sys
kept = []
for place in sys.argv[1:]:
    host, port = place.split(":")
    kept.append(socket.create_server((host, int(port)), backlog=256))
print("ready", flush=True)
sys.stdin.read()
"""


def scan(network: Namespace, *words: object, **how: Any) -> Result:
    with network.pync("-z", *words, **how) as pync:
        return pync.finish(within=50)


def listeners(network: Namespace, places: list[str]) -> Program:
    program = network.program(sys.executable, "-c", LISTEN, *places, stdin=-1)
    program.expect("ready", "out")
    return program


class Cost(NamedTuple):
    """Seconds: on the clock, and of the processor, which shows less of how busy the machine is."""

    clock: float
    processor: float


def cost(network: Namespace, *argv: str) -> Cost:
    before, began = os.times(), time.monotonic()
    with network.program(*argv) as program:
        program.finish(within=50)
    after = os.times()
    return Cost(time.monotonic() - began, sum(after[2:4]) - sum(before[2:4]))


def test_all_the_ports_of_a_host_are_found_as_they_are(tmp_path: Path) -> None:
    """Also those that the system would give to a connection that is being made."""
    opened = [22, 80, 31999, 32768, 40000, 50000, 60999, 65535]
    with (
        Namespace() as network,
        listeners(network, [f"{HERE}:{port}" for port in opened]),
        (tmp_path / "records").open("w+b") as file,
    ):
        _, _, err = scan(network, "-v", "-n", "--json", HERE, ALL, stdout=file)
        file.seek(0)
        found = {one["port"]: one["state"] for one in map(json.loads, file)}
    *lines, summary = err.splitlines()
    assert sorted(int(line.split()[3]) for line in lines) == opened
    assert re.fullmatch(r"65,535 ports in .* s: 8 open, 65,527 closed, 0 filtered", summary)
    assert [port for port in found if found[port] == "open"] == opened
    assert sorted(found) == list(range(1, 65536))


def test_a_host_without_open_ports_has_none() -> None:
    """A socket that gets the port that it connects to would be connected with itself."""
    with Namespace("echo 40000 40999 > /proc/sys/net/ipv4/ip_local_port_range") as network:
        for _ in range(5):
            result = scan(network, "-v", HERE, "40000-40999")
            assert "1,000 ports" in result.err
            assert "0 open, 1,000 closed, 0 filtered" in result.err


def test_one_port_is_not_found_open_by_being_tried() -> None:
    with Namespace("echo 40000 40001 > /proc/sys/net/ipv4/ip_local_port_range") as network:
        tries = 'for i in $(seq 3); do "$@" 40000 && exit 1; "$@" 40001 && exit 1; done; exit 0'
        command = ("sh", "-c", tries, "sh", *PYNC)
        for kind in ("-z", "-zu"):
            with network.program(*command, kind, "-w", "200ms", HERE) as shell:
                assert shell.finish() == (0, b"", "")


@pytest.mark.skipif(not shutil.which("nmap"), reason="nmap is not installed (Debian: nmap)")
def test_it_takes_hardly_longer_than_nmap() -> None:
    """By the best of a few, where the first is not good enough."""
    nmap = ("nmap", "-sT", "-T5", "-n", "-p", ALL, HERE)
    ours: list[Cost] = []
    theirs: list[Cost] = []
    with Namespace() as network:
        while len(ours) < 5 and not (ours and as_quick(ours, theirs)):
            ours.append(cost(network, *PYNC, "-z", HERE, ALL))
            theirs.append(cost(network, *nmap))
    assert as_quick(ours, theirs), (ours, theirs)


def as_quick(ours: list[Cost], theirs: list[Cost]) -> bool:
    best = zip(map(min, zip(*ours, strict=True)), map(min, zip(*theirs, strict=True)), strict=True)
    return all(our <= 1.5 * their for our, their in best)


@pytest.mark.parametrize("kind", ["-z", "-zu"])
def test_silence_is_waited_for_once_for_all(kind: str) -> None:
    """1,000 ports that answer nothing cost little more than one: nc.openbsd takes 1,000 s."""
    with Namespace(DROPPING) as network, network.pync(kind, "-v", "-w1", SILENT, "1-1000") as pync:
        begun = time.monotonic()
        result = pync.finish()
        took = time.monotonic() - begun
    state = "filtered" if kind == "-z" else "open|filtered"
    assert f"1,000 {state}" in result.err
    assert 1 <= took < 3


def test_what_is_under_way_is_bounded() -> None:
    """With more ports than may be tried at a time, all silent."""
    words = ("-z", "-w", "50ms", "--parallel", "50", SILENT, "1-1000")
    with Namespace(DROPPING) as network, network.pync(*words) as pync:
        most = 0
        while pync.process.poll() is None:
            most = max(most, sockets(pync.pid))
        assert pync.finish().status == 1
    assert 10 < most <= 53  # what there may be beside: the resolver's pair


def sockets(pid: int) -> int:
    try:
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208
        return sum(os.readlink(f"/proc/{pid}/fd/{name}")[:6] == "socket" for name in names)  # noqa: PTH115
    except OSError:
        return 0


def test_memory_does_not_grow_with_the_scan() -> None:
    """16,384 hosts, and then as many ports, of which each is remembered, beside one port."""
    network = "ip route add local 10.8.0.0/18 dev lo"
    with Namespace(network) as here:
        one, hosts, ports = (
            peak_memory(here, *words)
            for words in ((HERE, "1-1"), ("10.8.0.0/18", "1-1"), (HERE, "1-16384"))
        )
    assert hosts - one < 1 << 20
    assert ports - one < 5 << 19


# Ends when pync does, with what that had in memory at most, in kilobytes.
PEAK = """
import resource, subprocess, sys
subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_memory(network: Namespace, *words: str) -> int:
    with network.program(sys.executable, "-c", PEAK, *PYNC, "-z", *words) as program:
        return int(program.finish(within=50).out) << 10


def test_the_open_hosts_of_a_network_are_all_found_every_time() -> None:
    hosts = [f"10.9.0.{number}" for number in range(5, 245, 12)]
    network = "ip route add local 10.9.0.0/24 dev lo"
    assert len(hosts) == 20
    with Namespace(network) as here, listeners(here, [f"{host}:80" for host in hosts]):
        for _ in range(20):
            result = scan(here, "-vn", "10.9.0.0/24", "80")
            *lines, summary = result.err.splitlines()
            told = [f"Connection to {host} 80 port [tcp/*] succeeded!" for host in hosts]
            assert sorted(lines) == sorted(told)
            assert summary.startswith("256 ports")
