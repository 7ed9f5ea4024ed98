"""Internet addresses: looked up, named, bound."""

from __future__ import annotations

import errno
import os
import socket
from itertools import zip_longest
from typing import NamedTuple, Protocol

from pync.errors import AddressTaken, LocalError, OutOfDescriptors, ResolveError, UsageError
from pync.options import Options
from pync.transports.handed import adopt
from pync.transports.settings import set_socket_options
from pync.transports.sockets import (
    NO_DESCRIPTOR,
    Address,
    closed_on_error,
    connect_error,
    reason,
)

# For machines without /etc/services, such as small containers.
WELL_KNOWN = {
    "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "http": 80, "pop3": 110,
    "ntp": 123, "imap": 143, "ldap": 389, "https": 443, "imaps": 993, "pop3s": 995,
}  # fmt: skip

ANY_FAMILY = socket.AF_UNSPEC
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class InetAddress(NamedTuple):
    """An address to connect to, or one that somebody came from.

    name: the host as it was asked for, if it was.  protocol: tcp or udp.
    """

    family: int
    sockaddr: Address
    protocol: str
    name: str = ""

    @property
    def credentials(self) -> None:
        """The network does not tell them."""

    @property
    def host(self) -> str:
        """The number, without the prefix of an IPv4 address that a dual-stack socket gives."""
        return str(self.sockaddr[0]).removeprefix("::ffff:")

    @property
    def port(self) -> int:
        return int(self.sockaddr[1])

    def at(self, port: int) -> InetAddress:
        """Another port of the same host."""
        place = (self.sockaddr[0], port, *self.sockaddr[2:])
        return InetAddress(self.family, place, self.protocol, self.name)

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"

    @property
    def _named(self) -> str:
        return f"{self.name} ({self.host})" if self.name not in ("", self.host) else self.host

    @property
    def target(self) -> str:
        return f"{self._named} port {self.port} ({self.protocol})"

    def reached(self, numeric: bool) -> str:
        service = "*" if numeric else service_name(self.port, self.protocol)
        return f"{self._named} {self.port} port [{self.protocol}/{service}]"

    def came_from(self, numeric: bool) -> str:
        if numeric:
            return f"{self.host} {self.port}"
        try:
            name, _ = socket.getnameinfo((self.host, self.port), 0)
        except (OSError, UnicodeError):
            name = self.host
        return f"{name} {self.port}"

    def near_side(self, sockaddr: Address) -> InetAddress:
        return InetAddress(self.family, sockaddr, self.protocol)


class Lookup(Protocol):
    """A host's addresses that are being looked up."""

    def finish(self) -> list[InetAddress]:
        """Best first.  Raises WouldBlock or NetworkError."""

    def abandon(self) -> None:
        """They are not wanted any more.  May be repeated, and come too late."""


def beyond(host: str, port: int, protocol: str) -> InetAddress:
    """The far side of a proxy, which alone may know the address of `host`."""
    return InetAddress(socket.AF_UNSPEC, (host, port), protocol, host)


def service_name(port: int, protocol: str) -> str:
    try:
        return socket.getservbyport(port, protocol)
    except OSError:
        return "*"


def port_number(text: str, protocol: str, numeric: bool) -> int:
    """The number of a port or service.  Raises UsageError."""
    if text.isdigit():
        return int(text)
    if numeric:
        raise UsageError(f"port {text!r} is a name, and --nodns forbids to look it up")
    try:
        return socket.getservbyname(text.lower(), protocol)
    except OSError:
        if text.lower() in WELL_KNOWN:
            return WELL_KNOWN[text.lower()]
    raise UsageError(f"port {text!r} is not a service that this machine knows")


def family_wanted(options: Options) -> int:
    if options.ipv4:
        return socket.AF_INET
    return socket.AF_INET6 if options.ipv6 else socket.AF_UNSPEC


def number(host: str, port: int, protocol: str) -> InetAddress | None:
    """The address that `host` is, of whatever family; None for a name."""
    try:
        found = socket.getaddrinfo(host, port, 0, KINDS[protocol], flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return InetAddress(found[0][0], found[0][4], protocol)  # type: ignore[arg-type]


def look_up(host: str | None, port: int, protocol: str, options: Options) -> list[InetAddress]:
    """The addresses of `host`, best first; without a host, those to listen on.

    The families come by turns (RFC 8305 section 4), since one of them may lead nowhere.

    Raises ResolveError, or UsageError for a name when options forbid look-ups.
    """
    flags = 0 if host else socket.AI_PASSIVE
    if options.nodns:
        flags |= socket.AI_NUMERICHOST
    family = family_wanted(options)
    try:
        found = socket.getaddrinfo(as_bytes(host), port, family, KINDS[protocol], flags=flags)
    except OSError as error:  # a gaierror, unless the system itself has failed
        if options.nodns and error.errno == socket.EAI_NONAME:
            raise UsageError(f"{host!r} is a name, and --nodns forbids to look it up") from None
        raise ResolveError(f"cannot resolve {host}: {error.strerror}") from None
    except UnicodeError:
        raise ResolveError(f"cannot resolve {host}: not a host name") from None
    return by_turns([InetAddress(row[0], row[4], protocol, host or "") for row in found])  # type: ignore[arg-type]


def by_turns(addresses: list[InetAddress]) -> list[InetAddress]:
    families: dict[int, list[InetAddress]] = {}
    for address in addresses:
        families.setdefault(address.family, []).append(address)
    rounds = zip_longest(*families.values())
    return [address for row in rounds for address in row if address]


def as_bytes(host: str | None) -> str | bytes | None:
    """What IDNA leaves as it is, before its tables are loaded, which takes long."""
    if host and host.isascii() and all(0 < len(label) < 64 for label in host.split(".")):
        return host.encode()
    return host


def remote_addresses(options: Options, protocol: str) -> list[InetAddress]:
    """Where to connect to, as far as the local address asked for can get there."""
    port = port_number(options.port or "", protocol, options.nodns)
    addresses = look_up(options.host, port, protocol, options)
    return within_reach(addresses, options)


def within_reach(addresses: list[InetAddress], options: Options) -> list[InetAddress]:
    """Those that the local address asked for can get to.  Raises UsageError if there are none."""
    if options.source is None:
        return addresses
    protocol = addresses[0].protocol
    local = {address.family for address in local_addresses(options.source, 0, protocol, options)}
    usable = [address for address in addresses if address.family in local]
    if not usable:
        raise UsageError(
            f"--source {options.source} and {addresses[0].name} are of different families"
        )
    return usable


def local_addresses(
    host: str | None, port: int, protocol: str, options: Options
) -> list[InetAddress]:
    """As look_up, but what cannot be resolved is a mistake on this side."""
    try:
        return look_up(host, port, protocol, options)
    except ResolveError as error:
        raise LocalError(str(error)) from None


def hosts(name: str, options: Options) -> list[str]:
    """The numbers of a name, of both families.  Raises LocalError or UsageError."""
    both = options._replace(ipv4=False, ipv6=False)
    return [address.host for address in local_addresses(name, 0, "tcp", both)]


def outgoing_socket(address: InetAddress, options: Options) -> socket.socket:
    """A socket to reach `address` with, as options want it.

    Raises LocalError, or ConnectError where the machine lacks the address's family.
    """
    try:
        sock = socket.socket(address.family, KINDS[address.protocol])
    except OSError as error:
        if error.errno in NO_DESCRIPTOR:
            raise OutOfDescriptors(f"cannot open a socket: {reason(error)}") from None
        if error.errno != errno.EAFNOSUPPORT:
            raise LocalError(f"cannot open a socket: {reason(error)}") from None
        raise connect_error(address, error) from None
    with closed_on_error(sock):
        set_socket_options(sock, options)
        bind_source(sock, address, options)
    return sock


def bind_source(sock: socket.socket, address: InetAddress, options: Options) -> None:
    """Give `sock` the local end that was asked for."""
    if options.source is None and options.source_port is None:
        return
    port = port_number(options.source_port or "0", address.protocol, options.nodns)
    any_host = "::" if sock.family == socket.AF_INET6 else "0.0.0.0"
    found = local_addresses(options.source or any_host, port, address.protocol, options)
    local = next(entry for entry in found if entry.family == sock.family)
    if address.protocol == "tcp":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bind(sock, local)


def refuse_ourselves(sock: socket.socket, peer: InetAddress) -> None:
    """Raise ConnectionRefusedError for a socket that is connected with itself.

    The system may have given it the very port that it connects to; then nobody else
    has that one.
    """
    if sock.getsockname()[1] == peer.port and sock.getsockname() == sock.getpeername():
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def listening_socket(options: Options, protocol: str) -> tuple[socket.socket, tuple[str, ...]]:
    """A socket bound where options say, and the places, `0.0.0.0 2389`, that this means.

    Without a host one socket serves both families, which keeps them on one port.
    Raises LocalError or UsageError.
    """
    if options.fd is not None:
        return handed_in(options.fd, protocol, options)
    port = port_number(options.port or "0", protocol, options.nodns)
    anywhere = options.host is None and family_wanted(options) == socket.AF_UNSPEC
    dual = anywhere and socket.has_dualstack_ipv6()
    local = local_addresses("::" if dual else options.host, port, protocol, options)[0]
    try:
        sock = socket.socket(local.family, KINDS[protocol])
    except OSError as error:
        raise LocalError(f"cannot open a socket: {reason(error)}") from None
    with closed_on_error(sock):
        if local.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        if protocol == "tcp" and os.name == "posix":  # elsewhere it would share a live port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_socket_options(sock, options)
        bind(sock, local)
        bound = local._replace(sockaddr=sock.getsockname())
    return sock, places(bound, dual)


def handed_in(fd: int, protocol: str, options: Options) -> tuple[socket.socket, tuple[str, ...]]:
    sock = adopt(fd, "inet", KINDS[protocol])
    set_socket_options(sock, options)
    bound = InetAddress(sock.family, sock.getsockname(), protocol)
    six = sock.family == socket.AF_INET6
    dual = six and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return sock, places(bound, dual and bound.host == "::")


def places(bound: InetAddress, dual: bool) -> tuple[str, ...]:
    hosts = ("0.0.0.0", "::") if dual else (bound.host,)
    return tuple(f"{host} {bound.port}" for host in hosts)


def bind(sock: socket.socket, local: InetAddress) -> None:
    try:
        sock.bind(local.sockaddr)
    except OSError as error:
        kind = AddressTaken if error.errno == errno.EADDRINUSE else LocalError
        raise kind(f"cannot bind to {local}: {reason(error)}") from None
