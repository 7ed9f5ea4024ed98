"""The contract between what moves bytes and what they move through.

Bytes move one way, from a Source to a Sink.  An Endpoint is one of each with
one peer behind them; a Listener gives Endpoints.

Try first, wait after: every operation is tried at once and raises WouldBlock,
with what to wait for, if it cannot go on.  So a descriptor that never blocks
(a file, /dev/null) never reaches the selector, which may refuse it, and one
that nobody wants anything of is not watched.

EndOfStream is an exception, never empty bytes: an empty datagram is a datagram.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, TypeVar

if TYPE_CHECKING:
    from pync.errors import PyncError

READ = 1  # the same numbers as selectors.EVENT_READ and EVENT_WRITE
WRITE = 2

NEVER = float("inf")
NEVER_YET = float("-inf")

Waiter = TypeVar("Waiter")

LARGEST_PACKET = 1 << 20  # bytes; unix datagrams can be longer, which is an error then
# Where what is read passes through within a call.  It takes memory only as far as it is used.
ROOM = memoryview(bytearray(LARGEST_PACKET))


class EndOfStream(Exception):
    """The source has given everything."""


class Condition:
    """Something that tasks wait for and that somebody will notify."""

    def __init__(self) -> None:
        self._waiting: dict[Any, Callable[[Any], None]] = {}

    def add(self, waiter: Waiter, wake: Callable[[Waiter], None]) -> None:
        """Call wake(waiter) once, at the next notify."""
        self._waiting[waiter] = wake

    def discard(self, waiter: object) -> None:
        self._waiting.pop(waiter, None)

    def notify(self) -> None:
        """Wake everything that waits now."""
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            for waiter, wake in waiting.items():
                wake(waiter)


class WouldBlock(Exception):
    """Try again once any of these comes true; with none of them, never.

    fd, events: the descriptor is ready for READ or WRITE.
    until: the loop's clock says so, in seconds.  after: that many seconds passed.
    condition: it was notified.
    """

    def __init__(
        self,
        fd: int | None = None,
        events: int = 0,
        *,
        until: float = NEVER,
        after: float = NEVER,
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        self.fd = fd
        self.events = events
        self.until = until
        self.after = after
        self.condition = condition


class Source:
    """Where bytes come from.

    raw_fd: a descriptor whose bytes are the stream's bytes, and on which splice does
    not block, or None.  position: where in it the stream goes on, if it is a file that
    others read too; whoever moves bytes from there moves this.
    framed: whether each read is a packet of its own.
    """

    raw_fd: int | None = None
    position: int | None = None
    framed = False

    @property
    def moved_at(self) -> float:
        """When something last moved further up, by the loop's clock."""
        return NEVER_YET

    def read(self, limit: int) -> bytes:
        """At most `limit` bytes, or one whole datagram.

        Raises WouldBlock, EndOfStream, or a PyncError if the source broke.  A source
        has this or read_into, and the other follows.
        """
        return bytes(ROOM[: self.read_into(ROOM if self.framed else ROOM[:limit])])

    def read_into(self, buffer: memoryview) -> int:
        """The same into `buffer`, which has room for any datagram; how many bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def failure(self, error: OSError) -> PyncError:
        """What it means that raw_fd could not be read."""
        raise NotImplementedError

    def stop(self) -> None:
        """No more is wanted than the backlog, to which comes what waited for more."""

    @property
    def backlog(self) -> int:
        """Bytes taken from further up and not given out yet."""
        return 0


class Sink:
    """Where bytes go.

    raw_fd: as in Source; a socket there is non-blocking.  framed: whether each write
    is a packet of its own.  limit: the most bytes that one may be given.
    descriptors: what end() closes, to be forgotten before.
    """

    raw_fd: int | None = None
    framed = False
    limit: int = 1 << 30
    descriptors: tuple[int, ...] = ()

    @property
    def moved_at(self) -> float:
        """When something last moved further down, by the loop's clock."""
        return NEVER_YET

    def write(self, data: bytes | memoryview) -> int:
        """Take some of `data`, and return how many bytes.  Raises as read does."""
        raise NotImplementedError

    def failure(self, error: OSError) -> Exception:
        """What it means that raw_fd could not be written: an error, or WouldBlock."""
        raise NotImplementedError

    def end(self) -> None:
        """No more will be written.  May be repeated, and may raise WouldBlock: not yet."""

    def unacknowledged(self) -> int:
        """Bytes written that the other side's kernel has not confirmed yet."""
        return 0

    def keep_unsent(self) -> None:
        """From now on, keep what is written for take_back, until it is the system's."""

    def take_back(self) -> bytes:
        """What was written, is kept, and has not been given to the system, so that the other
        side has nothing of it."""
        return b""

    def check(self) -> None:
        """Raise a NetworkError if what is unacknowledged will remain so."""

    def knock(self) -> None:
        """Raise a NetworkError if it is known that nobody will take what is written."""

    def watch(self) -> NoReturn:
        """Raise OutputClosed if whoever reads from here has gone, else WouldBlock."""
        raise WouldBlock


class Ends(NamedTuple):
    """A source and a sink that face the same way."""

    source: Source
    sink: Sink


class Credentials(NamedTuple):
    """Who a peer on this machine is, by the kernel's word.

    gid: the group that it runs as.  groups: the other ones; None if nothing tells them.
    """

    uid: int
    gid: int
    groups: frozenset[int] | None

    def __str__(self) -> str:
        return f"uid {self.uid}, gid {self.gid}"


class Peer(Protocol):
    """The other side, in the words that scripts know from Debian's nc.

    host: the number of its address; "" where it has none.  credentials: None unless they
    were asked for.
    """

    @property
    def host(self) -> str: ...

    @property
    def credentials(self) -> Credentials | None: ...

    def __str__(self) -> str:
        """`127.0.0.1 port 2389`, or a path."""

    @property
    def target(self) -> str:
        """As it was asked for: `localhost (127.0.0.1) port 80 (tcp)`, or a path."""

    def reached(self, numeric: bool) -> str:
        """`localhost (127.0.0.1) 80 port [tcp/http]`; numeric: without a look-up."""

    def came_from(self, numeric: bool) -> str:
        """`localhost 53682`; numeric: without a look-up."""

    def near_side(self, sockaddr: Any) -> LocalPlace | None:
        """Our side of a connection with it, whose socket is bound to `sockaddr`."""


class LocalPlace(Protocol):
    """A host's number and a port."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


class Endpoint:
    """A source and a sink with one peer behind both.

    has_end: whether the peer can say that it has ended; datagrams cannot.
    descriptors: what to forget before they are closed.
    """

    has_end = True
    descriptors: tuple[int, ...] = ()

    def __init__(self, source: Source, sink: Sink, peer: Peer) -> None:
        self.source = source
        self.sink = sink
        self.peer = peer

    @property
    def notes(self) -> tuple[str, ...]:
        """What -v says of it beyond the peer's name, a line each."""
        return ()

    @property
    def local(self) -> LocalPlace | None:
        """Our side of it, where that has a host and a port."""
        return None

    def close(self) -> None:
        """Let go of it, in order.  May be repeated."""

    def abort(self) -> None:
        """Close it so that the peer cannot take this for the end, where that can be said."""
        self.close()


class Listener:
    """Gives an endpoint for each peer that comes.

    places: where it listens, as -v says it: `0.0.0.0 2389`.  admits: asked of each peer
    before it is given; who is not admitted is cut off at once, or not heard.  wanted: how
    many more there is room for, before accept() is called.  shared: whether that also
    reads what is for peers that were given before, and so has to be called in any case.
    drops: told once of each such peer of which something is dropped, since who is to take it
    takes nothing; None: the others wait, since they have to wait for the same one.
    RETRY: seconds after which a descriptor may have become free.
    """

    RETRY = 0.25
    TURNED_AWAY = 64  # peers that are not admitted before others get their turn

    admits: Callable[[Peer], bool]
    wanted: float = NEVER
    shared = False
    drops: Callable[[Peer], None] | None = None

    places: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()

    def accept(self) -> Endpoint:
        """The next peer.  Raises WouldBlock, or OutOfDescriptors."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop listening, and remove what stands in the file system for it."""


class Attempt:
    """A connection being opened to `peer`."""

    descriptors: tuple[int, ...] = ()

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def finish(self) -> Endpoint:
        """The open connection.  Raises WouldBlock, or ConnectError."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Give it up."""
