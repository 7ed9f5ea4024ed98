"""Proxies from Debian, each with a configuration of its own, on loopback.

    with serving("dante", tmp_path) as port:
        ...
    with serving("tinyproxy", tmp_path, guarded=True) as port:  # for USER with PASSWORD alone
        ...

They stay in the foreground, as whoever runs the tests.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import Program, free_port, ipv6_works
from plain_peer import HERE
from tls_peers import listening_port

USER, PASSWORD = "bob", "opensesame"
PLACES = os.pathsep.join(["/usr/sbin", "/usr/bin"])


class Proxy(NamedTuple):
    """package: Debian's.  speaks: what --proxy-type calls it.

    set_up: writes what it needs into a directory; the command that starts it on a port
    there, for USER with PASSWORD alone if it is guarded.
    """

    package: str
    program: str
    speaks: tuple[str, ...]
    set_up: Callable[[Path, int, bool], list[str]]


def microsocks(_directory: Path, port: int, guarded: bool) -> list[str]:
    proof = ["-u", USER, "-P", PASSWORD] if guarded else []
    return ["-i", HERE, "-p", f"{port}", *proof]


DANTE = """\
logoutput: stderr
{places}
external.rotation: route
clientmethod: none
socksmethod: none
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 }}
"""


def dante(directory: Path, port: int, guarded: bool) -> list[str]:
    if guarded:
        pytest.skip("dante knows the passwords of the system alone")
    hosts = [HERE, "::1"] if ipv6_works() else [HERE]
    places = [f"internal: {host} port = {port}\nexternal: {host}" for host in hosts]
    configuration = directory / "danted.conf"
    configuration.write_text(DANTE.format(places="\n".join(places)))
    return ["-f", f"{configuration}"]


TINYPROXY = """\
Listen {host}
Port {port}
LogLevel Error
"""


def tinyproxy(directory: Path, port: int, guarded: bool) -> list[str]:
    proof = f"BasicAuth {USER} {PASSWORD}\n" if guarded else ""
    configuration = directory / "tinyproxy.conf"
    configuration.write_text(TINYPROXY.format(host=HERE, port=port) + proof)
    return ["-d", "-c", f"{configuration}"]


def ncat(_directory: Path, port: int, guarded: bool) -> list[str]:
    """It does not mind the address that it is told."""
    proof = ["--proxy-auth", f"{USER}:{PASSWORD}"] if guarded else []
    return ["-lk4", "--proxy-type", "http", *proof, HERE, f"{port}"]


PROXIES = {
    "microsocks": Proxy("microsocks", "microsocks", ("socks5",), microsocks),
    "dante": Proxy("dante-server", "danted", ("socks4", "socks5"), dante),
    "tinyproxy": Proxy("tinyproxy", "tinyproxy", ("http",), tinyproxy),
    "ncat": Proxy("ncat", "ncat", ("http",), ncat),
}
GUARDED = ("microsocks", "tinyproxy", "ncat")


@contextmanager
def serving(name: str, directory: Path, *, guarded: bool = False) -> Iterator[int]:
    """The proxy of that name, with a configuration in `directory`; its port."""
    proxy = PROXIES[name]
    program = installed(proxy.program, proxy.package)
    command = [program, *proxy.set_up(directory, free_port(), guarded)]
    with Program(*command, cwd=directory, start_new_session=True) as running:
        try:
            yield listening_port(running)
        finally:
            end_all(running)


def installed(program: str, package: str) -> str:
    """Where that is; the test is skipped if it is nowhere."""
    if not (path := shutil.which(program, path=PLACES)):
        pytest.skip(f"{program} is not installed (Debian: {package})")
    return path


def end_all(running: Program) -> None:
    """End a program, which leads its session, and its children, and wait for them."""
    with suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGTERM)
    running.finish()  # when the last of them has let go of stderr
