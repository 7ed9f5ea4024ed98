"""pync: move bytes between this terminal or pipe and a connection.

Usage: pync [options] [-v]... [<address>...]

  pync [options] HOST PORT        connect to HOST
  pync -l [options] [HOST] PORT   listen, on HOST's address or on all
  pync -U [options] PATH          the same over a unix socket (@NAME: abstract)

Where to:
  -4, --ipv4                   IPv4 only
  -6, --ipv6                   IPv6 only
  -l, --listen                 listen for a connection
  -k, --keep-open              with -l: serve any number of clients, at once
  -u, --udp                    UDP instead of TCP
  -U, --unixsock               a unix socket; with -u, datagrams
  -n, --nodns                  numbers only: look up no name, service or address
  -p PORT, --source-port PORT  the local port; with -l, the port to listen on
  -s ADDR, --source ADDR       the local address; with -l, where to listen
  -z, --zero                   connect, say whether it worked by the exit status, close

How it ends:
  -d, --no-stdin               do not read standard input
  -N, --half-close             tell the peer when standard input ends (the default)
  --no-shutdown                do not tell the peer when standard input ends
  -q SECS, --quit SECS         end SECS after standard input did; -1: never, and no end sent
  -w TIME, --timeout TIME      limit the connecting; end once idle for TIME
  --wait TIME                  limit the connecting alone
  --idle-timeout TIME          fail once idle for TIME; with -k, each client by itself
  --linger TIME                once the peer has ended: patience with a silent standard
                               input [default: 2s]
  -W N, --recv-limit N         end after N received packets
  --recv-only                  only receive: never read standard input
  --send-only                  only send: discard what is received

What passes:
  -i TIME, --interval TIME     pause for TIME after each line sent
  -C, --crlf                   send LF as CRLF; an existing CRLF stays
  -t, --telnet                 answer telnet negotiation, and strip it
  --safe-tty                   show control characters as \\xNN on a terminal
  -F, --fd-pass                hand the open connection to standard output, a socket

Socket settings:
  -b, --broadcast              allow broadcast addresses
  -I SIZE, --recv-buffer SIZE  the kernel's receive buffer, in bytes
  -O SIZE, --send-buffer SIZE  the kernel's send buffer, in bytes
  -T TOS, --tos TOS            type of service: a keyword (ef, af11, lowdelay) or a number
  -M TTL, --ttl TTL            hop limit of what is sent
  -m TTL, --min-ttl TTL        least hop limit of what is accepted
  -D, --debug                  SO_DEBUG
  -S, --md5sig                 TCP MD5 signatures; key in PYNC_MD5SIG_KEY, or asked for
  --tcp-keepalive TIME         probe a silent connection every TIME

Talk:
  -v, --verbose                say what happens; twice for more
  -h, --help                   this text
  --version                    the version

TIME is 1.5, 500ms, 2s, 1m or 1h; SIZE is 4096, 64k or 1M.
The manual says more, with examples: man pync
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from typing import Any, NoReturn

from docopt import DocoptExit, DocoptLanguageError, docopt

from pync import __version__
from pync.environment import Environment
from pync.errors import Interrupted, OutputClosed, PyncError, UsageError
from pync.options import REFUSED, Options, option_name, read_options
from pync.program import run
from pync.status import ExitStatus, status_of


def main() -> int:
    """Run pync as this process, and return its exit status."""
    open_closed_descriptors()
    return shell(sys.argv[1:], Environment.of_process())
