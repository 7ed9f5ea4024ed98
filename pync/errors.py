"""Everything that can go wrong, as one tree.

    PyncError
    ├── UsageError           a bad option, value or combination
    ├── LocalError           something on this machine: cannot bind, cannot write a file
    │   ├── OutOfDescriptors the process or the system has no descriptor left
    │   └── AddressTaken     another socket has the local address and port
    ├── NetworkError         the network or the peer failed
    │   ├── ResolveError     a name has no address
    │   ├── ConnectError     a connection could not be opened
    │   ├── ConnectionLost   an open connection broke
    │   ├── ProtocolError    the peer breaks its protocol, or says no in it
    │   │   └── WantsNewConnection  what it asked for can be told on another connection
    │   ├── Forbidden        the peer wants what it must not have
    │   └── TimedOut         nothing happened for too long
    ├── ProgramFailed        the program that we ran says so
    ├── OutputClosed         the reader of standard output went away
    └── Interrupted          a signal asked us to end

`str(error)` is what a person is told, without the leading "pync: "; it may be
several lines where several things failed.  status.py says which exit status
each of them gives.
"""


class PyncError(Exception):
    """The root: pync raises nothing else on purpose.

    quiet: the exit status says it all, and no line is printed.
    """

    quiet = False


class UsageError(PyncError):
    """The command line asks for something that makes no sense."""


class LocalError(PyncError):
    """This machine refused something: a file, a port, a permission."""


class OutOfDescriptors(LocalError):
    """accept() or socket() found no free descriptor; trying later may help."""


class AddressTaken(LocalError):
    """Another socket, maybe one of ours, has the local address and port."""


class NetworkError(PyncError):
    """The peer, or the way to it, failed.

    undelivered: bytes taken from the local side that the peer's kernel has not
    acknowledged; told at the end of the message.  errno: the system's number for the
    reason, where there is one; of several addresses, for the last one tried.
    """

    undelivered = 0

    def __init__(self, message: str = "", errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno

    def __str__(self) -> str:
        text = super().__str__()
        if not self.undelivered:
            return text
        unit = "byte" if self.undelivered == 1 else "bytes"
        return f"{text}; {self.undelivered} {unit} not delivered"


class ResolveError(NetworkError):
    """A host name has no address."""


class ConnectError(NetworkError):
    """No address of the host accepted a connection."""


class ConnectionLost(NetworkError):
    """An established connection broke."""


class ProtocolError(NetworkError):
    """The peer breaks its protocol, or says no in it."""


class WantsNewConnection(ProtocolError):
    """This connection is no use any more; another one can go on from what was learnt."""


class Forbidden(NetworkError):
    """A rule of ours keeps the peer from what it wants."""


class TimedOut(NetworkError):
    """A time limit passed."""


class ProgramFailed(PyncError):
    """A program that ran for the one client has failed, and told of it itself.

    status: its exit status, as a shell tells it.
    """

    quiet = True

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


class OutputClosed(PyncError):
    """Whoever read our standard output has gone."""

    quiet = True


class Interrupted(PyncError):
    """The process got a signal that asks it to end.

    signum: the signal's number.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"signal {signum}")
        self.signum = signum
