"""From options to a scan, and what it comes to."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence

from pync.address import is_one_port
from pync.environment import Environment
from pync.errors import Interrupted, NetworkError, ResolveError, UsageError
from pync.loop import Loop
from pync.options import Options
from pync.scan.again import Again
from pync.scan.doors import Doors
from pync.scan.report import Progress, Report, Wanted
from pync.scan.scan import Scan
from pync.scan.targets import Hosts, hosts_from, port_texts, read_host
from pync.scan.trial import Asking, Hearing, Trial
from pync.stream import Attempt, Sink
from pync.transports import inet, transport
from pync.transports.descriptors import raise_limit
from pync.transports.inet import InetAddress, Lookup
from pync.transports.knocker import Knocker
from pync.transports.resolver import Resolver

MOST_AT_A_TIME = 1000
KEPT_FREE = 32  # descriptors, for all but the scan's sockets
PATIENCE = 2.0  # seconds that each port has, if no option says otherwise
LOOKUP_LEAST = 2.0  # seconds that a name has at least


def scan(
    hosts: list[Hosts],
    options: Options,
    environment: Environment,
    loop: Loop,
    records: Sink | None,
) -> None:
    """Raises NetworkError, which is not to be told, if no port is open.

    records: where an object for each port goes, if anywhere.
    """
    ports = port_numbers(options)
    report = Report(environment, wanted(options, hosts), options.nodns, records)
    resolver = Resolver(loop)
    look_up = functools.partial(find, resolver, options)
    usable = functools.partial(inet.within_reach if len(hosts) == 1 else reachable, options=options)
    kind = Again if options.udp else Doors
    doors = kind(
        loop,
        hosts,
        order(options, ports),
        look_up,
        max(patience(options), LOOKUP_LEAST),
        usable,
        report.tell_missing,
    )
    knocker = Knocker(options)
    most = parallel(options)
    task = Scan(loop, doors, trials(options, loop, knocker), report, most, options.interval or 0)
    if environment.watched:
        loop.spawn(Progress(report, len(ports) * sum(some.size for some in hosts), environment))
    begun = loop.clock()
    try:
        loop.run(task)
    except Interrupted:
        if options.verbose or environment.watched:
            report.sum_up(loop.clock() - begun)
        raise
    finally:
        task.close()
        resolver.close()
        knocker.close()
        report.hide()
    if options.verbose:
        report.sum_up(loop.clock() - begun)
    if not report.found:
        raise nothing_open()


def nothing_open() -> NetworkError:
    error = NetworkError("no port is open")
    error.quiet = True
    return error


def targets(options: Options, environment: Environment) -> list[Hosts]:
    """Raises UsageError or LocalError."""
    if options.hosts_from:
        return hosts_from(options.hosts_from, environment.stdin)
    if options.nodns and "/" not in (options.host or ""):
        inet.look_up(options.host, 0, protocol(options), options)  # says so if it is a name
    return [read_host(options.host or "")]


def protocol(options: Options) -> str:
    return "udp" if options.udp else "tcp"


def find(resolver: Resolver, options: Options, host: str) -> Lookup:
    """Each host with a share of its own, so that none waits for dead ones."""
    return resolver.look_up(host, 0, protocol(options), options, host)


def reachable(addresses: list[InetAddress], options: Options) -> list[InetAddress]:
    """As inet.within_reach, but of many hosts one may be out of it: that is no mistake."""
    try:
        return inet.within_reach(addresses, options)
    except UsageError as error:
        raise ResolveError(str(error)) from None


def port_numbers(options: Options) -> list[int]:
    """Each once, in the order asked for.  Raises UsageError."""
    texts = port_texts(options.ports)
    numbers = (inet.port_number(text, protocol(options), options.nodns) for text in texts)
    return list(dict.fromkeys(numbers))


def order(options: Options, ports: Sequence[int]) -> Callable[[], Sequence[int]]:
    """What gives the ports of a host."""
    if options.random:
        return lambda: random.sample(ports, len(ports))
    return lambda: ports


def wanted(options: Options, hosts: Sequence[Hosts]) -> Wanted:
    """As Debian's nc, -v tells of each port, unless they are many that nobody has named."""
    verbose = options.verbose > 0
    entries = (entry for text in options.ports for entry in text.split(","))
    named = all(some.size == 1 for some in hosts) and all(map(is_one_port, entries))
    return Wanted(
        missing=verbose or bool(options.hosts_from),
        opened=verbose or (options.banner and not options.json),
        others=options.verbose > 1 or (verbose and named),
        banners=options.banner,
    )


def parallel(options: Options) -> int:
    limit = raise_limit() - KEPT_FREE
    return max(1, min(options.parallel or MOST_AT_A_TIME, limit))


def patience(options: Options) -> float:
    return options.connect_limit or PATIENCE


def trials(options: Options, loop: Loop, knocker: Knocker) -> Callable[[InetAddress], Trial]:
    """What begins one."""
    kind: type[Trial] = Hearing if options.banner else Trial
    connect: Callable[[InetAddress], Attempt] = knocker.connect
    if options.udp:
        kind = Asking
        connect = functools.partial(transport("udp").connect, options=options)
    return lambda address: kind(connect(address), address, loop.clock, patience(options))
