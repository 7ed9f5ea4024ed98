"""Programs that speak TLS: openssl, ncat and socat, as clients and as servers for one client.

    with SERVERS["socat"](authority.leaf["valid"], stdin=PIPE) as (socat, port):
        ...
    with CLIENTS["openssl"](port, "-tls1_2", trust=authority.root, stdin=PIPE) as openssl:
        ...

A server comes with the port that it already listens on.  nginx is in web_servers.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from authority import Leaf
from harness import PATIENCE, PEERS, Program, descriptors
from plain_peer import HERE, ended_within

LISTENS = "0A"  # as /proc/net/tcp has it


@contextmanager
def openssl_server(
    leaf: Leaf, *options: str, client_ca: Path | None = None, quiet: bool = True, **how: Any
) -> Iterator[tuple[Program, int]]:
    """openssl s_server, for one client.  The first end ends the session: its stdin's, the client's.

    quiet: otherwise it talks on stdout, and lines of one letter are its commands: R, r, K, k, Q.
    """
    # Without -nbio, stdin that comes together with the client's hello blocks it for ever.
    argv = ["openssl", "s_server", "-nbio", "-naccept", "1", "-accept", f"{HERE}:0"]
    argv += ["-quiet"] if quiet else []
    argv += ["-cert", f"{leaf.chain}", "-key", f"{leaf.key}"]
    if leaf.issuers:
        argv += ["-cert_chain", f"{leaf.issuers}"]
    if client_ca:
        argv += ["-Verify", "1", "-verify_return_error", "-CAfile", f"{client_ca}"]
    with _program(*argv, *options, **how) as server:
        yield server, listening_port(server)


@contextmanager
def ncat_server(leaf: Leaf, *options: str, **how: Any) -> Iterator[tuple[Program, int]]:
    """ncat, for one client.  At its stdin's end it sends FIN without a close_notify."""
    shown = ("--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}")
    with _program("ncat", "-ln", "--ssl", *shown, *options, HERE, "0", **how) as server:
        yield server, listening_port(server)


@contextmanager
def socat_server(
    leaf: Leaf, *options: str, client_ca: Path | None = None, **how: Any
) -> Iterator[tuple[Program, int]]:
    """socat, for one client; `options` are its address's.  It ends each direction by itself."""
    verify = f"cafile={client_ca}" if client_ca else "verify=0"
    address = ("OPENSSL-LISTEN:0", f"bind={HERE}", f"cert={leaf.combined}", verify, *options)
    with _program("socat", f"-t{PATIENCE}", ",".join(address), "STDIO", **how) as server:
        yield server, listening_port(server)


def openssl_client(port: int, *options: str, trust: Path | None = None, **how: Any) -> Program:
    """openssl s_client.  Its stdin's end is nothing to it; the server's ends the session.

    With -no_ign_eof its stdin's end ends it, and lines of one letter are its commands: R, K, k, Q.
    """
    argv = ["openssl", "s_client", "-quiet", "-connect", f"{HERE}:{port}"]
    if trust:
        argv += ["-verify_return_error", "-verify_hostname", "localhost", "-CAfile", f"{trust}"]
    return _program(*argv, *options, **how)


def ncat_client(port: int, *options: str, trust: Path | None = None, **how: Any) -> Program:
    """ncat.  At its stdin's end it sends FIN without a close_notify, and goes on receiving."""
    verify = ("--ssl-verify", "--ssl-trustfile", f"{trust}") if trust else ()
    return _program("ncat", "-4", "--ssl", *verify, *options, "localhost", f"{port}", **how)


def socat_client(port: int, *options: str, trust: Path | None = None, **how: Any) -> Program:
    """socat; `options` are its address's.  It ends each direction by itself."""
    verify = (f"cafile={trust}", "commonname=localhost") if trust else ("verify=0",)
    address = (f"OPENSSL:{HERE}:{port}", *verify, *options)
    return _program("socat", f"-t{PATIENCE}", ",".join(address), "STDIO", **how)


SERVERS: dict[str, Callable[..., AbstractContextManager[tuple[Program, int]]]] = {
    "openssl": openssl_server,
    "ncat": ncat_server,
    "socat": socat_server,
}
CLIENTS: dict[str, Callable[..., Program]] = {
    "openssl": openssl_client,
    "ncat": ncat_client,
    "socat": socat_client,
}


def _program(*argv: str, **how: Any) -> Program:
    if not PEERS[argv[0]]:
        pytest.skip(f"{argv[0]} is not installed")
    return Program(*argv, **how)


def listening_port(program: Program) -> int:
    """The port that a program listens on, as the kernel tells it, once it does."""
    deadline = time.monotonic() + PATIENCE
    while not (port := _listening_port(program.pid)):
        assert not ended_within(program, 0.01), program.finish()
        assert time.monotonic() < deadline, f"{program.argv} does not listen"
    return port


def _listening_port(pid: int) -> int:
    sockets = descriptors(pid).values()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, address, _, state, *_, inode = line.split()[:10]
        if state == LISTENS and f"socket:[{inode}]" in sockets:
            return int(address.rpartition(":")[2], 16)
    return 0
