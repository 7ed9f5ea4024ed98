"""From what stands on the command line to Options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pync.address import check_name, check_port, is_one_port
from pync.combinations import BEYOND_CONNECTING, completed
from pync.errors import UsageError
from pync.options import Options, option_name
from pync.values import READERS

# What may have a password in it, and so is never shown.
SECRET = ("via", "proxy", "proxy_auth")

# What other netcats have and pync does not, each with the way out.
REFUSED = {
    "-V": "there are no routing tables to choose from on Linux; use `ip netns exec`",
    "-Z": "DCCP has left the kernel; use -u for datagrams",
    "-g": "kernels drop source-routed packets; use a proxy or a tunnel",
    "-G": "kernels drop source-routed packets; use a proxy or a tunnel",
    "--lua-exec": "there is no Lua in pync; write the program and pipe it",
    "--sctp": "Python has no SCTP streams; use TCP, or -u for datagrams",
}


def read_options(given: Mapping[str, Any], addresses: list[str]) -> Options:
    """Options from `given` and the bare arguments.

    given: by field name, the text of each option that was given, or True.

    Raises UsageError, which names the option, for a value that cannot be read,
    an option that lacks another, and two that exclude each other.
    """
    values = {field: read_value(field, value) for field, value in given.items()}
    return place(Options(**completed(values)), addresses)


def read_value(field: str, value: Any) -> Any:
    reader = READERS.get(field)
    if reader is None:
        return value
    try:
        return reader(value)
    except ValueError as error:
        shown = "its value" if field in SECRET else repr(value)
        raise UsageError(f"{option_name(field)}: {shown} is {error}") from None


def place(options: Options, addresses: list[str]) -> Options:
    """Put the bare arguments where they belong."""
    for address in addresses:
        checked(check_name, "address", address)
    if options.fd is not None:
        if addresses:
            raise UsageError(f"--fd has its place already, and takes no {told(addresses)}")
        return options
    if options.unixsock:
        return place_unix(options, addresses)
    if options.listen:
        return place_listener(options, addresses)
    if options.zero:
        return place_probe(options, addresses)
    if len(addresses) != 2:
        raise UsageError(f"HOST and PORT are needed, not {told(addresses)}; see pync --help")
    host, port = addresses
    return options._replace(host=host, port=checked(check_port, "port", port))


def place_probe(options: Options, addresses: list[str]) -> Options:
    """`-z HOST PORTS...`, and `-z --hosts-from FILE PORTS...`; one port alone is no scan."""
    hosts = [] if options.hosts_from else addresses[:1]
    ports = addresses[len(hosts) :]
    if not ports:
        raise UsageError(f"HOST and PORT are needed, not {told(addresses)}; see pync --help")
    simple = len(addresses) == 2 and "/" not in addresses[0] and is_one_port(ports[0])
    if simple and hosts and not (options.banner or options.json):
        if options.interval is not None:
            raise UsageError("--interval is a pause between ports, and there is one alone")
        return options._replace(host=hosts[0], port=checked(check_port, "port", ports[0]))
    if options.wait_open and "/" in addresses[0]:
        raise UsageError(f"--wait-open waits for one host, and {addresses[0]!r} is a network")
    from pync.scan.targets import read_host, read_ports

    for field in () if options.wait_open else BEYOND_CONNECTING:
        if getattr(options, field):
            alone = "a scan does no more than connect; ask for one port alone"
            raise UsageError(f"{option_name(field)}: {alone}")
    for host in hosts:
        checked(read_host, "host", host)
    for port in ports:
        checked(read_ports, "port", port)
    return options._replace(host=hosts[0] if hosts else None, ports=tuple(ports))


def place_unix(options: Options, addresses: list[str]) -> Options:
    if options.listen and options.source:
        raise UsageError("--source: a unix listener is where its path is")
    if len(addresses) != 1:
        raise UsageError(f"--unixsock needs one path, not {told(addresses)}")
    if options.mode is not None and addresses[0].startswith("@"):
        raise UsageError("--mode: @NAME is in no file system, and has no permissions; a path has")
    return options._replace(path=addresses[0])


def place_listener(options: Options, addresses: list[str]) -> Options:
    """`-l [HOST] PORT`, `-l -p PORT [HOST]` and `-l -s ADDR -p PORT`."""
    hosts = [*addresses]
    port = options.source_port or (hosts.pop() if hosts else None)
    hosts += [options.source] if options.source else []
    if port is None:
        raise UsageError("--listen needs a port, as in: pync -l 2389")
    if len(hosts) > 1 or any(host.isdigit() for host in hosts):
        raise UsageError("--listen takes one host and one port, as in: pync -l localhost 2389")
    return options._replace(
        host=hosts[0] if hosts else None,
        port=checked(check_port, "port", port, 0),
        source=None,
        source_port=None,
    )


def checked(check: Callable[..., object], what: str, text: str, *arguments: int) -> str:
    try:
        check(text, *arguments)
    except ValueError as error:
        raise UsageError(f"{what} {text!r} is {error}") from None
    return text


def told(addresses: list[str]) -> str:
    return " ".join(map(repr, addresses)) or "nothing"
