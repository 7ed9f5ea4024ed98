"""What pync can speak over.

A transport is a module with three functions:

    addresses(options) -> list of Peer        where to connect to, best first
    connect(address, options) -> Attempt
    listen(options) -> Listener

They raise what the errors module has.  To add one, write it beside the others,
give it a row here, and the tests a maker of connected pairs.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pync.options import Options
    from pync.stream import Attempt, Listener, Peer, Sink, Source

# What is asked for -> the module, imported when it is.
TRANSPORTS = {
    "tcp": "pync.transports.tcp",
    "udp": "pync.transports.udp",
    "unix": "pync.transports.unix",
}


class Transport(Protocol):
    """The three functions."""

    def addresses(self, options: Options) -> list[Peer]: ...

    def connect(self, address: Peer, options: Options) -> Attempt: ...

    def listen(self, options: Options) -> Listener: ...


def transport(name: str) -> Transport:
    return importlib.import_module(TRANSPORTS[name])


def transport_of(options: Options) -> Transport:
    if options.unixsock:
        return transport("unix")
    return transport("udp" if options.udp else "tcp")


class Streams(Protocol):
    """What makes a source and a sink of descriptors that pync was started with."""

    def standard_input(self, fd: int) -> Source: ...

    def standard_output(self, fd: int) -> Sink: ...


def standard_streams() -> Streams:
    """Where only sockets can be waited for, on Windows, threads stand in front."""
    name = "pync.transports.stdio" if os.name == "posix" else "pync.transports.stdio_threads"
    return importlib.import_module(name)
