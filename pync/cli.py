"""pync: move bytes between this terminal or pipe and a connection.

Usage: pync [options] [-v]... [-x PROXY]... [--proxy PROXY]...
            [--proxy-allow RULE]... [<address>...]

  pync [options] HOST PORT        connect to HOST
  pync -z [options] HOST PORT...  see which ports are open
  pync -l [options] [HOST] PORT   listen, on HOST's address or on all
  pync -U [options] PATH          the same over a unix socket (@NAME: abstract)

Where to:
  -4, --ipv4                   IPv4 only
  -6, --ipv6                   IPv6 only
  -l, --listen                 listen for a connection
  -k, --keep-open              with -l: serve any number of clients, at once
  --broker                     with -l: pass what a client sends to all others
  --chat                       the same by lines, with the speaker's name
  -u, --udp                    UDP instead of TCP
  -U, --unixsock               a unix socket; with -u, datagrams
  -n, --nodns                  look up no name, service or address
  -p PORT, --source-port PORT  the local port; with -l, the port to listen on
  -s ADDR, --source ADDR       the local address; with -l, where to listen
  --retry N                    try N times more to connect
  --reconnect                  connect again whenever the peer goes
  --retry-delay TIME           the pause before that, more or less; usually 1s
  --fd N                       with -l: descriptor N listens already
  --port-file FILE             with -l: write the port to FILE, once it is open
  --mode MODE                  with -lU: the path's permissions, as in 0600
  --allow LIST                 with -l: only these may connect, as in 10.0.0.1,
                               10.0.0.0/8, 10.0.0.1-20, localhost; with -U,
                               uid:1000, uid:alice, gid:100
  --allowfile FILE             those in FILE, too
  --deny LIST                  with -l: these may not, even if allowed
  --denyfile FILE              those in FILE, too

Is it open:
  -z, --zero                   connect and close: the exit status tells; a scan,
                               of ports as in 22 http 80,443 1-1024, of hosts
                               as in 10.0.0.0/24
  --hosts-from FILE            hosts and networks, a line each; -: from stdin
  -r, --random                 ports in random order
  --parallel N                 try N ports at a time
  --banner                     read what an open port says by itself
  --json                       print an object for each port, a line each
  --wait-open TIME             try until all are open, for TIME at most

How it ends:
  -d, --no-stdin               do not read standard input
  -N, --half-close             pass the end of standard input on (the default)
  --no-shutdown                do not
  -q SECS, --quit SECS         end SECS after standard input; -1: never
  -w TIME, --timeout TIME      limit the connecting; end once idle for TIME
  --wait TIME                  limit the connecting alone
  --idle-timeout TIME          fail once idle for TIME; with -k, that client
  --linger TIME                patience with one side's silence once the other
                               has ended [default: 2s]
  -W N, --recv-limit N         end after N received packets
  --recv-only                  only receive: do not read standard input
  --send-only                  only send: discard what is received

Many clients:
  --label                      with -l: begin each line with who has sent it
  --stdin POLICY               with -k: all get what comes in (the default), the
                               first alone does, or each gets the whole of it
  --outbox SIZE                with -k: what may wait for a client (1M); then it
                               is dropped, unless it moves
  --max-conns N                with -k: N clients at a time; more of them wait

What passes:
  -i TIME, --interval TIME     pause for TIME after each line or port
  -C, --crlf                   send LF as CR LF; an existing CR LF stays
  -t, --telnet                 answer telnet negotiation, and strip it
  --safe-tty                   show control characters as \\xNN on a terminal
  -F, --fd-pass                hand the connection itself to standard output

TLS:
  --ssl                        TLS 1.2 or later; every option here implies it
  --ssl-verify                 check the peer's certificate (the default)
  --ssl-insecure               do not
  --ssl-trustfile FILE         trust the authorities in FILE, not the system's
  --ssl-fingerprint FP         trust one certificate, sha256:HEX, and no other
  --ssl-servername NAME        the name to ask for and check, in HOST's place
  --ssl-cert FILE              our certificate, and what leads to its authority
  --ssl-key FILE               its key, where it is not in the same file
  --ssl-client-ca FILE         with -l: clients need a certificate of these
  --ssl-alpn LIST              application protocols, as in h2,http/1.1
  --ssl-ciphers LIST           ciphers for TLS 1.2, in OpenSSL's words
  --starttls PROTO             begin in plain smtp, lmtp, imap, pop3, ftp, ldap,
                               postgres, mysql, xmpp, nntp or sieve

Through proxies:
  -x PROXY, --via PROXY        through a SOCKS5 proxy, HOST[:PORT] or URL; given
                               again: and then through that one
  --proxy PROXY                the same with HTTP; env: as the environment says
  -X TYPE, --proxy-type TYPE   4, 4a, 5, http or connect, or https, for those
                               without a URL; with -l, what to serve as
  -P USER, --proxy-user USER   who we are; PYNC_PROXY_PASSWORD is the password
  --proxy-auth LOGIN           the same with a password, USER:PASS
  --proxy-dns WHERE            where HOST is looked up: remote (by the proxy),
                               local, both or none
  --proxy-allow RULE           with -l: where clients may go, HOST[:PORTS]; may
                               be repeated

Programs:
  -e CMD, --exec CMD           run a program on each connection, found on PATH
  -c CMD, --sh-exec CMD        the same with a line for /bin/sh
  --pty                        give it a terminal of its own
  --exec-stderr                send its errors too

Relaying:
  --relay TARGET               with -l: join each client with HOST:PORT, with
                               ssl://HOST:PORT or with unix:PATH
  --proxy-protocol VERSION     tell the target first who the client is, in the
                               words (v1) or bytes (v2) of HAProxy's protocol

Socket settings:
  -b, --broadcast              allow broadcast addresses
  -I SIZE, --recv-buffer SIZE  the kernel's receive buffer, in bytes
  -O SIZE, --send-buffer SIZE  the kernel's send buffer, in bytes
  -T TOS, --tos TOS            type of service: ef, af11, lowdelay, a number
  -M TTL, --ttl TTL            hop limit of what is sent
  -m TTL, --min-ttl TTL        least hop limit of what is accepted
  -D, --debug                  SO_DEBUG
  -S, --md5sig                 TCP MD5 signatures, keyed by PYNC_MD5SIG_KEY
  --tcp-keepalive TIME         probe a silent connection every TIME

Talk:
  -v, --verbose                say what happens; twice for more
  -h, --help                   this text
  --version                    the version

TIME is 1.5, 500ms, 2s, 1m or 1h; SIZE is 4096, 64k or 1M.
The manual says more, with examples: man pync
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from docopt import DocoptExit, DocoptLanguageError, docopt

from pync import __version__
from pync.arguments import REFUSED, read_options
from pync.environment import Environment
from pync.errors import Interrupted, PyncError, UsageError
from pync.interrupts import Interrupts, die_by, let_interrupts_end_us
from pync.options import Options
from pync.program import run
from pync.status import ExitStatus, status_of

USAGE = __doc__ or ""
HEAD, *PARAGRAPHS = USAGE.split("\n  -")  # one for each option
REPEATED = {
    "x PROXY,": " [-x PROXY]...",
    "-proxy PROXY": " [--proxy PROXY]...",
    "-proxy-allow RULE": " [--proxy-allow RULE]...",
}


def main() -> int:
    """Run pync as this process, and return its exit status."""
    open_closed_descriptors()
    environment = Environment()
    try:
        options = read_arguments(sys.argv[1:], environment)
        let_interrupts_end_us()
        if options is not None:
            run(options, environment, Interrupts if os.name == "posix" else None)
    except (Interrupted, KeyboardInterrupt) as interrupt:
        return status_of(die_by(interrupt))
    except PyncError as error:
        if not error.quiet:
            environment.complain(str(error))
        return status_of(error)
    except Exception as error:
        if environment.variables.get("PYNC_TRACEBACK"):
            raise
        name = type(error).__name__
        environment.complain(f"internal error: {name}: {error} (PYNC_TRACEBACK=1 shows where)")
        return ExitStatus.LOCAL
    return ExitStatus.DONE


def open_closed_descriptors() -> None:
    """Let no socket become standard input, output or error: open /dev/null on closed ones."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is fd


def read_arguments(arguments: list[str], environment: Environment) -> Options | None:
    """The options; None once --help or --version has been answered."""
    given, addresses = parse(arguments)
    if "help" in given:
        environment.answer(USAGE)
        return None
    if "version" in given:
        environment.answer(f"pync {__version__}\n")
        return None
    if "listen" in given and not addresses and given.keys().isdisjoint(("fd", "source_port")):
        given.update(environment.handed_in)
    options = read_options(given, addresses)
    return options._replace(md5_key=md5_key(environment)) if options.md5sig else options


def parse(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The options given, by field name, and the bare arguments.  Raises UsageError."""
    try:
        found = docopt(usage_for(arguments), arguments, default_help=False)
    except DocoptLanguageError as error:
        raise UsageError(str(error)) from None
    except DocoptExit as error:
        raise UsageError(explain(str(error))) from None
    addresses = found.pop("<address>")
    given = {
        name[2:].replace("-", "_"): value
        for name, value in found.items()
        if value not in (None, False, [])  # nor -v's 0; but "" is given
    }
    for address in [one for one in addresses if one != "-" and one.rstrip("46") == "-"]:
        addresses.remove(address)  # docopt takes -4 for a negative number
        given.update({f"ipv{digit}": True for digit in address[1:]})
    if "--" in addresses:
        addresses.remove("--")
    return given, addresses


def usage_for(arguments: list[str]) -> str:
    """The usage text with those options alone that `arguments` could name.

    docopt compares each option of the text with every other, which takes long.  What
    it makes of the arguments does not depend on those left out.
    """
    words = ["-v", *arguments]  # the usage line names -v
    kept = [text for text in PARAGRAPHS if any(could_name(word, text) for word in words)]
    head = HEAD
    for beginning, named in REPEATED.items():
        if not any(text.startswith(beginning) for text in kept):
            head = head.replace(named, "")
    return "\n  -".join([head, *kept])


def could_name(word: str, paragraph: str) -> bool:
    """Whether `word` could mean the option of `paragraph`, which lacks its first dash.

    By the option's letter, or by its long name or the beginning of it.  Too many
    do no harm, so that nothing is said here of which words are options.
    """
    if word.startswith("--"):
        return word != "--" and word.partition("=")[0] in f"-{paragraph}"
    return word.startswith("-") and paragraph[0] in word[1:]


def explain(message: str) -> str:
    """docopt's complaint as one line that names the option."""
    names = re.findall(r"Option\((?:'(-.)'|None), (?:'(--[^']+)'|None)", message)
    for short, long in names:
        if reason := REFUSED.get(short or long):
            return f"{short or long}: {reason}"
        known = long and hasattr(Options, long[2:].replace("-", "_"))
        return f"{long or short} is given twice" if known else f"no such option: {short or long}"
    return message.partition("\n")[0] + "; see pync --help"


def md5_key(environment: Environment) -> bytes:
    """The key of --md5sig, at most 80 bytes."""
    data = environment.secret("PYNC_MD5SIG_KEY", "TCP MD5 key: ")
    if not 1 <= len(data) <= 80:
        raise UsageError("--md5sig needs a key of 1 to 80 bytes, in PYNC_MD5SIG_KEY")
    return data
