"""Which ports of which hosts, as the command line and a file name them.

Nothing here is ever written out as pairs of a host and a port: a scan may have
65,536 hosts with 65,535 ports each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pync.address import check_name, check_port, is_one_port, port_range
from pync.errors import LocalError, UsageError

MOST_HOSTS = 1 << 16  # of one network: a /16 of IPv4, a /112 of IPv6


def read_ports(text: str) -> list[str | range]:
    """Service names and ranges of numbers, which have commas between them.

    Raises ValueError with words that go behind "... is".
    """
    return [read_entry(entry) for entry in text.split(",")]


def read_entry(text: str) -> str | range:
    if text.isdigit() or not is_one_port(text):
        return port_range(text)
    check_port(text)
    return text


def port_texts(texts: Iterable[str]) -> Iterator[str]:
    """Each port of `texts`, a number or a name."""
    for text in texts:
        for entry in read_ports(text):
            yield from (entry,) if isinstance(entry, str) else map(str, entry)


class Hosts(NamedTuple):
    """Some hosts; the text of each is its name or number."""

    each: Iterable[object]
    size: int


def read_host(text: str) -> Hosts:
    """The host, or all that are in a network.  Raises ValueError as read_ports does."""
    check_name(text)
    return read_network(text) if "/" in text else Hosts((text,), 1)


def read_network(text: str) -> Hosts:
    import ipaddress

    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("not a network such as 10.0.0.0/24 or fd00::/120") from None
    if network.num_addresses > MOST_HOSTS:
        raise ValueError("too large to scan: a /16 of IPv4 or a /112 of IPv6 is the most")
    return Hosts(network, network.num_addresses)


def read_hosts(lines: Iterable[str], where: str) -> list[Hosts]:
    """One host or network on each line; a # begins a comment.

    where: what the lines are, for a person.  Raises UsageError, with the number of the line.
    """
    hosts = []
    for number, line in enumerate(lines, 1):
        if text := line.partition("#")[0].strip():
            try:
                hosts.append(read_host(text))
            except ValueError as error:
                raise UsageError(f"{where}, line {number}: {text!r} is {error}") from None
    if not hosts:
        raise UsageError(f"{where}: there is no host in it")
    return hosts


def hosts_from(path: str, stdin: int) -> list[Hosts]:
    """Those in the file `path`, or with "-" on standard input.

    Raises UsageError or LocalError.
    """
    where = f"--hosts-from {path}"
    try:
        with open(stdin if path == "-" else path, encoding="utf-8", closefd=path != "-") as file:
            return read_hosts(file, where)
    except OSError as error:
        raise LocalError(f"{where}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LocalError(f"{where}: it is not text in UTF-8") from None
