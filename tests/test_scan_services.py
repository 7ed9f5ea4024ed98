"""Scans and waits with real services, which a test starts on free ports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import starttls_servers
import web_servers
from harness import Program, free_port
from plain_peer import HERE
from proxy_clients import sshd
from proxy_servers import installed


@contextmanager
def open_ssh(directory: Path) -> Iterator[int]:
    with sshd(directory) as account:
        yield account.port


@contextmanager
def nginx(directory: Path) -> Iterator[int]:
    web_servers.make_pages(directory)
    with web_servers.nginx(directory) as port:
        yield port


@contextmanager
def redis(directory: Path) -> Iterator[int]:
    """Not waited for: --wait-open does that."""
    port = free_port()
    program = installed("redis-server", "redis-server")
    place = ("--port", f"{port}", "--bind", HERE, "--dir", f"{directory}")
    with Program(program, *place, "--save", ""):
        yield port


def started(protocol: str) -> Callable[[Path], AbstractContextManager[int]]:
    return lambda _: starttls_servers.serving(protocol, None)


# What starts it, and what it says by itself; None: nothing.
SERVICES = {
    "sshd": (open_ssh, r"SSH-2\.0-OpenSSH.*\r\n"),
    "nginx": (nginx, None),
    "redis": (redis, None),
    "postgres": (started("postgres"), None),
    "postfix": (started("smtp"), r"220 .* ESMTP.*\r\n"),
    "dovecot": (started("imap"), r"\* OK .*\r\n"),
    "vsftpd": (started("ftp"), r"220 .*\r\n"),
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_found_and_heard(name: str, tmp_path: Path) -> None:
    start, says = SERVICES[name]
    with start(tmp_path) as port:
        with Program.pync("-z", "--wait-open", "20s", HERE, str(port)) as waiting:
            assert waiting.finish() == (0, b"", "")
        with Program.pync("-z", "--banner", "--json", HERE, str(port)) as pync:
            one = json.loads(pync.finish().out)
    assert one["state"] == "open"
    assert one["banner"] is None if says is None else re.fullmatch(says, one["banner"])
