"""The netcats that are compared, and how each is called."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = "127.0.0.1"


class Netcat(NamedTuple):
    """A program, and what to say to a listener and to a client for each use of it.

    {place} is a port of this machine, or the path of a socket, and {behind} the port that
    a relay leads to; tls.pem is in the
    directory that it runs in.  A use that is not there is one that the program cannot
    be put to.
    """

    name: str
    program: tuple[str, ...]
    uses: dict[str, tuple[str, str]]
    version: str = "--version"

    def listener(self, use: str, place: str, behind: str = "") -> list[str]:
        return self._command(self.uses[use][0], place, behind)

    def client(self, use: str, place: str) -> list[str]:
        return self._command(self.uses[use][1], place)

    def _command(self, arguments: str, place: str, behind: str = "") -> list[str]:
        words = (word.format(place=place, behind=behind) for word in arguments.split())
        return [*self.program, *words]

    def tell_version(self) -> str:
        """What it calls itself, in a word."""
        command = [*self.program, self.version]
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        found = re.search(r"\d+\.\d[^\s)]*", told.stdout + told.stderr)
        return found[0] if found else "?"


def installed_pync() -> tuple[str, ...]:
    """The script that was installed with this Python, or else the module."""
    script = Path(sys.executable).with_name("pync")
    return (str(script),) if script.exists() else (sys.executable, "-m", "pync")


PYNC = Netcat(
    "pync",
    installed_pync(),
    {
        "one way": ("-dln 127.0.0.1 {place}", "-n 127.0.0.1 {place}"),
        "both ways": ("-ln 127.0.0.1 {place}", "-n 127.0.0.1 {place}"),
        "unix": ("-dlU {place}", "-U {place}"),
        "tls": (
            "-dln --ssl --ssl-cert tls.pem 127.0.0.1 {place}",
            "-n --ssl --ssl-trustfile tls.pem 127.0.0.1 {place}",
        ),
        "tls back": (
            "-ln --ssl --ssl-cert tls.pem 127.0.0.1 {place}",
            "-dn --ssl --ssl-trustfile tls.pem 127.0.0.1 {place}",
        ),
        "tls with s_server": ("", "-n --ssl --ssl-trustfile tls.pem 127.0.0.1 {place}"),
        "datagrams": ("-duln 127.0.0.1 {place}", "-un 127.0.0.1 {place}"),
        "many": ("-dlkn 127.0.0.1 {place}", ""),
        "broker": ("-ln --broker 127.0.0.1 {place}", ""),
        "probe": ("", "-zn 127.0.0.1 {place}"),
        "socks5 proxy": ("-lkn --proxy-type socks5 127.0.0.1 {place}", ""),
        "http proxy": ("-lkn --proxy-type http 127.0.0.1 {place}", ""),
        "relay": ("-lkn --relay 127.0.0.1:{behind} 127.0.0.1 {place}", ""),
    },
)
OPENBSD = Netcat(
    "nc.openbsd",
    ("nc.openbsd",),
    {
        "one way": ("-dlnN 127.0.0.1 {place}", "-nN 127.0.0.1 {place}"),
        "both ways": ("-lnN 127.0.0.1 {place}", "-nN 127.0.0.1 {place}"),
        "unix": ("-dlNU {place}", "-NU {place}"),
        "datagrams": ("-duln 127.0.0.1 {place}", "-un 127.0.0.1 {place}"),
        "probe": ("", "-zn 127.0.0.1 {place}"),
    },
    version="-h",
)
# Under TLS a client that is told to --send-only leaves before it has read the session
# tickets, and the reset costs it its last bytes.
NCAT = Netcat(
    "ncat",
    ("ncat",),
    {
        "one way": ("-ln --recv-only 127.0.0.1 {place}", "-n --send-only 127.0.0.1 {place}"),
        "both ways": ("-ln 127.0.0.1 {place}", "-n 127.0.0.1 {place}"),
        "unix": ("-lU --recv-only {place}", "-U --send-only {place}"),
        "tls": (
            "-ln --ssl --ssl-cert tls.pem --ssl-key tls.pem --recv-only 127.0.0.1 {place}",
            "-n --ssl 127.0.0.1 {place}",
        ),
        "tls back": (
            "-ln --ssl --ssl-cert tls.pem --ssl-key tls.pem --send-only 127.0.0.1 {place}",
            "-n --ssl --recv-only 127.0.0.1 {place}",
        ),
        "datagrams": ("-uln --recv-only 127.0.0.1 {place}", "-un 127.0.0.1 {place}"),
        "many": ("-lkn --recv-only -m 1000 127.0.0.1 {place}", ""),
        "broker": ("-ln --broker 127.0.0.1 {place}", ""),
        "probe": ("", "-zn 127.0.0.1 {place}"),
        "http proxy": ("-lkn --proxy-type http 127.0.0.1 {place}", ""),
    },
)
SOCAT = Netcat(
    "socat",
    ("socat",),
    {
        "one way": ("-u TCP-LISTEN:{place},bind=127.0.0.1 -", "-u - TCP:127.0.0.1:{place}"),
        "both ways": ("-t 60 TCP-LISTEN:{place},bind=127.0.0.1 -", "-t 60 - TCP:127.0.0.1:{place}"),
        "unix": ("-u UNIX-LISTEN:{place} -", "-u - UNIX-CONNECT:{place}"),
        "tls": (
            "-u OPENSSL-LISTEN:{place},bind=127.0.0.1,cert=tls.pem,verify=0 -",
            "-u - OPENSSL:127.0.0.1:{place},verify=0",
        ),
        "tls back": (
            "-u - OPENSSL-LISTEN:{place},bind=127.0.0.1,cert=tls.pem,verify=0",
            "-u OPENSSL:127.0.0.1:{place},verify=0 -",
        ),
        "tls with s_server": ("", "-t 60 - OPENSSL:127.0.0.1:{place},verify=0"),
        "relay": ("TCP-LISTEN:{place},bind=127.0.0.1,fork TCP:127.0.0.1:{behind}", ""),
        "datagrams": ("-u UDP-RECV:{place},bind=127.0.0.1 -", "-u - UDP-SENDTO:127.0.0.1:{place}"),
    },
    version="-V",
)
# Its buffer is no matter with datagrams, which come one by one.
ROOMY_SOCAT = Netcat(
    "socat -b 262144",
    ("socat", "-b", "262144"),
    {use: said for use, said in SOCAT.uses.items() if use != "datagrams"},
)
# Not netcats, but what netcats are clients of, or stand beside.
OPENSSL = Netcat(
    "openssl",
    ("openssl",),
    {
        "receive": ("s_server -quiet -naccept 1 -cert tls.pem -accept 127.0.0.1:{place}", ""),
        "serve": ("s_server -quiet -HTTP -naccept 1 -cert tls.pem -accept 127.0.0.1:{place}", ""),
    },
    version="version",
)
MICROSOCKS = Netcat(
    "microsocks",
    ("microsocks",),
    {"socks5 proxy": ("-i 127.0.0.1 -p {place}", "")},
    version="-h",
)
# What a start costs at the least, with the Python that pync runs on.
CONNECT = "import selectors, socket, sys; socket.create_connection(sys.argv[1:]).close()"
BARE_PYTHON = Netcat(
    "bare python", (sys.executable, "-c", CONNECT), {"probe": ("", "127.0.0.1 {place}")}
)

NETCATS = (PYNC, OPENBSD, NCAT, SOCAT, ROOMY_SOCAT, OPENSSL, MICROSOCKS)


def split_by_presence() -> tuple[list[Netcat], list[Netcat]]:
    """Those that are installed here, and those that are not."""
    present = [netcat for netcat in NETCATS if shutil.which(netcat.program[0])]
    return present, [netcat for netcat in NETCATS if netcat not in present]
