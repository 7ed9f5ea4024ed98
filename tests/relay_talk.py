"""pync as a relay, with clients and targets that are played by hand.

    with relaying(WAYS["ssl tcp"], ground) as relay:
        with relay.join() as (client, far):
            client.sendall(b"hello")
            assert far.recv(5) == b"hello"

Everything waits with a limit, so that nothing here hangs.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from authority import Authority
from gateway_talk import Tunnel, accept
from harness import PATIENCE, Program
from plain_peer import HERE, drain_until_any_end, start
from plain_tls import client_context, server_context
from tls_socket import TlsSocket

FRONTS = ("tcp", "unix", "ssl")
WAYS = [(front, behind) for front in FRONTS for behind in FRONTS]
RESETTABLE = [way for way in WAYS if "unix" not in way]  # a unix socket knows no resets


class Ground(NamedTuple):
    """Where paths and certificates are."""

    directory: Path
    authority: Authority

    @property
    def front(self) -> str:
        return f"{self.directory}/front"

    @property
    def behind(self) -> str:
        return f"{self.directory}/behind"


class Relay:
    """pync, who listens as `front` says, and the target, which `listener` plays."""

    def __init__(self, pync: Program, ground: Ground, front: str, behind: str) -> None:
        self.pync = pync
        self._ground = ground
        self._front = front
        self._behind = behind
        self.listener: socket.socket | None = None

    def dial(self, *, receive_buffer: int = 0) -> Any:
        """A client: a socket, or what is like one."""
        client = socket.socket(socket.AF_UNIX if self._front == "unix" else socket.AF_INET)
        client.settimeout(PATIENCE)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            return self._connected(client)
        except OSError:
            client.close()
            raise

    def _connected(self, client: socket.socket) -> Any:
        unix = self._front == "unix"
        client.connect(self._ground.front if unix else (HERE, self.pync.port))
        if self._front != "ssl":
            return client
        secured = TlsSocket(client, client_context(self._ground.authority.root))
        secured.handshake()
        return secured

    def what_comes(self) -> tuple[bytes, str]:
        """To a client who says nothing, up to the end, and which it was; it may come very soon."""
        try:
            client = self.dial()
        except ConnectionResetError:
            return b"", "RST"
        try:
            return drain_until_any_end(client)
        finally:
            client.close()

    def accept(self) -> Any:
        """The connection that the relay has made for a client."""
        assert self.listener
        far = accept(self.listener)
        if self._behind != "ssl":
            return far
        secured = TlsSocket(far, server_context(self._ground.authority.leaf["valid"]))
        secured.handshake()
        return secured

    @contextmanager
    def join(self, *, at_target: int = 0, **how: Any) -> Iterator[Tunnel]:
        """at_target: the receive buffer there."""
        if at_target and self.listener:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, at_target)
        client = self.dial(**how)
        try:
            far = self.accept()
            try:
                yield Tunnel(client, far)
            finally:
                close(far)
        finally:
            close(client)


def close(end: Any) -> None:
    """Unless the test has done so."""
    if end.fileno() >= 0:
        end.close()


@contextmanager
def relaying(
    way: tuple[str, str], ground: Ground, *options: str, keep: str = "k", **how: Any
) -> Iterator[Relay]:
    """A relay between a client and a target of the two kinds.  keep: as in -lvk."""
    front, behind = way
    with target(behind, ground) as listener:
        name = ground.behind if behind == "unix" else f"{HERE}:{listener.getsockname()[1]}"
        scheme = {"tcp": "", "unix": "unix:", "ssl": "ssl://"}[behind]
        where = f"{scheme}{name}"
        with started(front, ground, where, *trust(behind, ground), *options, keep=keep, **how) as (
            pync
        ):
            relay = Relay(pync, ground, front, behind)
            relay.listener = listener
            yield relay


def trust(behind: str, ground: Ground) -> tuple[str, ...]:
    return ("--ssl-trustfile", f"{ground.authority.root}") if behind == "ssl" else ()


@contextmanager
def started(
    front: str, ground: Ground, where: str, *options: str, keep: str = "k", **how: Any
) -> Iterator[Program]:
    """pync, once it listens."""
    leaf = ground.authority.leaf["valid"]
    shown = ("--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}") if front == "ssl" else ()
    place = ("-U", ground.front) if front == "unix" else (HERE, "0")
    with start(f"-lnv{keep}", "--relay", where, *shown, *options, *place, **how) as pync:
        pync.expect("Listening on")
        yield pync


@contextmanager
def target(behind: str, ground: Ground) -> Iterator[socket.socket]:
    """A listening socket."""
    unix = behind == "unix"
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as listener:
        listener.settimeout(PATIENCE)
        listener.bind(ground.behind if unix else (HERE, 0))
        listener.listen(256)
        yield listener
