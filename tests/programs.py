"""Programs that pync runs: how clients reach them, and which of them are there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from authority import Authority
from gateway_talk import wait_for
from harness import Program
from rooms import Join

ENDLESS = "exec sleep 100"  # heeds what the shell has not set a trap for
NOTES = r"(?m)^(Listening|Connection|Anybody|TLS:) .*\n"  # what pync says with -v

Room = Callable[..., AbstractContextManager[tuple[Program, Join]]]


def way_to(kind: str, server: Program, tmp_path: Path, authority: Authority) -> tuple[str, ...]:
    """What leads another pync to one that is `served`."""
    if kind == "unix":
        return "-U", f"{tmp_path}/room"
    trust = ("--ssl-trustfile", f"{authority.root}") if kind == "tls" else ()
    datagrams = ("-u",) if kind == "udp" else ()
    return *datagrams, *trust, "127.0.0.1", f"{server.port}"


def children(pid: int) -> dict[int, str]:
    """Those of a process, also if they have exited and are not reaped, and their states."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text(encoding="latin-1").rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == pid:
            found[int(path.parent.name)] = state
    return found


def programs(pync: Program, count: int) -> list[int]:
    """Wait until it has so many; which they are."""
    wait_for(lambda: len(children(pync.pid)) == count)
    return list(children(pync.pid))


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
