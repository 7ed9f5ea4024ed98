"""How fast much data crosses under TLS, and what it costs.

Both ways, since a netcat may encrypt faster than it decrypts: between two of the
same kind, and with OpenSSL's own server as the other side, the same for all.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.netcats import OPENSSL
from benchmarks.processes import tcp_place
from benchmarks.throughput import (
    Case,
    Ends,
    discarded,
    from_file,
    nothing,
    original_file,
    silence,
    trial,
)
from benchmarks.trials import Table, Tools, Trial

SPEED = Table(
    "Throughput under TLS",
    more_is_better=True,
    remark="From the start of the client to the end of both; a file to /dev/null. pync checks the "
    "certificate; ncat does not by default, and socat is told not to.",
)
COST = Table("Processor time of both under TLS", more_is_better=False)
THERE, BACK = "client to listener", "listener to client"
TO_SERVER, FROM_SERVER = "client to openssl s_server", "openssl s_server to client"
WITH_SERVER = "tls with s_server"
MAKE_CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.pem "
    "-out tls.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
)


def trials(tools: Tools) -> list[Trial]:
    if OPENSSL not in tools.netcats:
        return []  # who would make the certificate?
    make_certificate(tools.directory)
    original = original_file(tools)
    return [trial(case, original, tools.fit_for(case.use), (SPEED, COST)) for case in cases()]


def make_certificate(directory: Path) -> None:
    """For this machine, with its key, where the netcats look for it."""
    command = MAKE_CERTIFICATE.split()
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=10)


def cases() -> list[Case]:
    """A listener that receives is given silence: at the end of their input some leave."""
    receive, take = Ends(silence, discarded), Ends(nothing, discarded)
    send, serve, fetch = Ends(from_file, nothing), Ends(nothing, nothing), Ends(request, discarded)
    return [
        Case(THERE, "tls", tcp_place, receive, send),
        Case(BACK, "tls back", tcp_place, send, take),
        Case(TO_SERVER, WITH_SERVER, tcp_place, receive, send, "receive"),
        Case(FROM_SERVER, WITH_SERVER, tcp_place, serve, fetch, "serve"),
    ]


@contextmanager
def request(original: Path) -> Iterator[int]:
    """What s_server -HTTP answers with the file, and then it ends in order.

    With the file on its standard input it may wait for ever for the client's first byte.
    """
    path = original.with_name("request")
    path.write_bytes(b"GET /%s HTTP/1.0\r\n\r\n" % original.name.encode())
    with path.open("rb") as file:
        yield file.fileno()
