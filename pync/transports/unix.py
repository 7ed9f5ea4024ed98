"""Unix sockets: streams and datagrams, on paths and on abstract names (@NAME)."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pync.errors import LocalError, UsageError
from pync.options import Options
from pync.stream import Attempt, Credentials, Endpoint, Listener
from pync.transports import datagrams
from pync.transports.datagram_listeners import kind_of_listener
from pync.transports.handed import adopt
from pync.transports.settings import set_socket_options
from pync.transports.sockets import (
    BACKLOG,
    Address,
    SocketAttempt,
    SocketEndpoint,
    SocketListener,
    SocketSink,
    closed_on_error,
    reason,
)

with contextlib.suppress(ImportError):  # Windows, which has no unix sockets in Python either
    import fcntl

# OpenBSD has SO_PEERCRED too, with another struct.
TELLS_CREDENTIALS = hasattr(socket, "SO_PEERCRED") and os.uname().sysname == "Linux"
CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
SO_PEERGROUPS = 59  # asm-generic/socket.h; not in Python's module
MOST_OPTION = 1024  # bytes that Python's getsockopt takes


class UnixAddress(NamedTuple):
    """A path, or @NAME for a name that is in no file system.

    credentials: who has connected there, if that was asked for.
    """

    path: str
    credentials: Credentials | None = None

    @property
    def host(self) -> str:
        return ""

    @property
    def sockaddr(self) -> str:
        return "\0" + self.path[1:] if self.abstract else self.path

    @property
    def abstract(self) -> bool:
        return self.path.startswith("@")

    def __str__(self) -> str:
        return f"{self.path} ({self.credentials})" if self.credentials else self.path

    @property
    def target(self) -> str:
        return self.path

    def reached(self, numeric: bool) -> str:  # noqa: ARG002
        return self.path

    def came_from(self, numeric: bool) -> str:  # noqa: ARG002
        return self.path

    def near_side(self, sockaddr: Address) -> None:
        pass


def addresses(options: Options) -> list[UnixAddress]:
    return [UnixAddress(options.path or "")]


def connect(address: UnixAddress, options: Options) -> Attempt:
    sock = new_socket(options)
    with closed_on_error(sock):
        clean_up = bind_own_end(sock, options)

    def connected(sock: socket.socket) -> Endpoint:
        if options.udp:
            return datagrams.connected(sock, address, clean_up)
        return SocketEndpoint(sock, address, SocketSink, clean_up)

    return SocketAttempt(sock, address.sockaddr, address, connected, clean_up)


def listen(options: Options) -> Listener:
    sock, address, clean_up = listening_socket(options)
    if options.udp:
        return kind_of_listener(options)(sock, (address.path,), peer_name, clean_up)

    def accepted(connection: socket.socket, _: Address) -> Endpoint:
        who = credentials(connection) if options.restricts else None
        return SocketEndpoint(connection, address._replace(credentials=who), SocketSink)

    return SocketListener(sock, (address.path,), accepted, clean_up)


def listening_socket(options: Options) -> tuple[socket.socket, UnixAddress, Callable[[], None]]:
    """With its address, and what removes that again where we have made it."""
    if options.fd is not None:
        sock = adopt(options.fd, "unix", socket.SOCK_DGRAM if options.udp else socket.SOCK_STREAM)
        set_socket_options(sock, options)
        return sock, peer_name(sock.getsockname()), nothing
    address = UnixAddress(options.path or "")
    sock = new_socket(options)
    with closed_on_error(sock):
        clean_up = bind_path(sock, address, options.mode)
        if not options.udp:
            sock.listen(BACKLOG)
    return sock, address, clean_up


def check_credentials(options: Options) -> None:
    """Raise UsageError or LocalError where nothing would tell who a client is."""
    rules = "--allow and --deny"
    if options.udp:
        raise UsageError(f"{rules}: datagrams do not tell who sent them; --mode says who may send")
    if not TELLS_CREDENTIALS:
        raise LocalError(f"{rules}: this system does not tell who connects; --mode says who may")


def credentials(connection: socket.socket) -> Credentials:
    """Those that the peer had when it connected (unix(7), SO_PEERCRED; SO_PEERGROUPS)."""
    size = CREDENTIALS.size
    _, uid, gid = CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    try:
        told = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MOST_OPTION)
    except OSError:  # there are more than Python takes, or the kernel is older than Linux 4.13
        return Credentials(uid, gid, None)
    return Credentials(uid, gid, frozenset(memoryview(told).cast("I")))


def peer_name(sockaddr: Address) -> UnixAddress:
    """The words for one who sent a datagram; most have no name of their own."""
    name = os.fsdecode(sockaddr) if isinstance(sockaddr, (str, bytes)) else ""
    return UnixAddress("@" + name[1:] if name.startswith("\0") else name or "unnamed socket")


def new_socket(options: Options) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise LocalError("--unixsock: Python has no unix sockets on this system")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if options.udp else socket.SOCK_STREAM)
    with closed_on_error(sock):
        set_socket_options(sock, options)
    return sock


def bind_own_end(sock: socket.socket, options: Options) -> Callable[[], None]:
    """Give a client its address: the one asked for, or for datagrams one to be answered at."""
    if options.source:
        return bind_path(sock, UnixAddress(options.source))
    if not options.udp:
        return nothing
    try:
        sock.bind("")  # Linux, unix(7), autobind: the kernel picks an abstract name
    except OSError:
        path = Path(tempfile.gettempdir(), f"pync-{os.getpid()}.sock")
        return bind_path(sock, UnixAddress(str(path)))
    return nothing


def nothing() -> None:
    """What there is to clean up for a socket without a path."""


def bind_path(
    sock: socket.socket, address: UnixAddress, mode: int | None = None
) -> Callable[[], None]:
    """Bind, in the place of a dead socket if need be; returns what removes the path again.

    mode: the path's permissions; None to leave them to the umask.  Raises LocalError; what
    is alive, or no socket at all, is left alone.
    """
    try:
        with permissions(mode):
            bind_or_replace(sock, address)
    except OSError as error:
        raise LocalError(f"cannot bind to {address}: {reason(error)}") from None
    if address.abstract:
        return nothing
    return functools.partial(remove, Path(address.path), identity(Path(address.path)))


def bind_or_replace(sock: socket.socket, address: UnixAddress) -> None:
    try:
        sock.bind(address.sockaddr)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or address.abstract:
            raise
        with locked(Path(address.path).parent):
            if not is_dead(address):
                raise
            Path(address.path).unlink()
            sock.bind(address.sockaddr)


@contextlib.contextmanager
def permissions(mode: int | None) -> Iterator[None]:
    """Let what is made have these from the start: nobody could slip in before a chmod."""
    if mode is None:
        yield
        return
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let only one pync at a time replace a socket there: two would replace each other's."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def is_dead(address: UnixAddress) -> bool:
    """Whether the path is a socket that nobody has open.

    A datagram socket asks without being noticed: a live listener of streams
    answers EPROTOTYPE, and never sees a connection.
    """
    if not stat.S_ISSOCK(os.lstat(address.path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(address.sockaddr) == errno.ECONNREFUSED


def identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def remove(path: Path, ours: tuple[int, int]) -> None:
    """Remove the path, unless somebody has put something else there."""
    with contextlib.suppress(OSError):
        if identity(path) == ours:
            path.unlink()
