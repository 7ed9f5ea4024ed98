"""What happens before a connection is open: look-ups, families, waiting, paths, handing over.

Some machines cannot be had on this one: a slow name server, a kernel without
IPv6, a slow file system.  Those are played by a C library that is compiled here
and that pync is started with.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import PATIENCE, PIPE, Program, free_port, full_backlog
from plain_peer import HERE, complaints, drain, start
from test_signals import until
from test_unix_sockets import a_socket

from pync.dial import Accepting
from pync.loop import Loop
from pync.opening import Opening, OpeningListener
from pync.stream import NEVER, Endpoint, Listener
from pync.transports.memory import Discard, Silence
from pync.transports.unix import UnixAddress

SOON = 5.0  # seconds, for what should happen at once on a machine that may be busy
SIGNALS = [signal.SIGINT, signal.SIGTERM]

MACHINE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* There is no IPv6 here. */
int socket(int family, int type, int protocol)
{
    int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
    if (family == AF_INET6) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return real(family, type, protocol);
}

/* Two sockets cannot share a port. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    int (*real)(int, int, int, const void *, socklen_t) =
        (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
    if (level == SOL_SOCKET && name == SO_REUSEADDR)
        return 0;
    return real(fd, level, name, value, length);
}

/* The host `slow` takes longer than any test; `several` is ::1 and 127.0.0.1, and `two`
   is 127.0.0.1 and 127.0.0.2. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))
            dlsym(RTLD_NEXT, "getaddrinfo");
    int error;
    if (hints && hints->ai_flags & AI_NUMERICHOST)
        return real(host, service, hints, found);
    if (host && !strcmp(host, "slow")) {
        static const char told[] = "looking up\n";
        if (write(2, told, sizeof told - 1) > 0)
            for (int second = 0; second < 60; second++)
                for (int tenth = 0; tenth < 10; tenth++)
                    usleep(100000);
        return EAI_AGAIN;
    }
    if (!host || (strcmp(host, "several") && strcmp(host, "two")))
        return real(host, service, hints, found);
    const char *first = strcmp(host, "two") ? "::1" : "127.0.0.1";
    const char *second = strcmp(host, "two") ? "127.0.0.1" : "127.0.0.2";
    error = real(first, service, hints, found);
    if (!error) {
        struct addrinfo *last = *found;
        while (last->ai_next)
            last = last->ai_next;
        error = real(second, service, hints, &last->ai_next);
    }
    return error;
}

/* It takes its time to remove a path, in which others may look at it. */
int unlink(const char *path)
{
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    usleep(50000);
    return real(path);
}
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment that makes another machine of this one for pync."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("there is no C compiler, cc, to play another machine with")
    library = tmp_path_factory.mktemp("machine") / "machine.so"
    options = ["-shared", "-fPIC", "-x", "c", "-o", str(library), "-", "-ldl"]
    done = subprocess.run(
        [compiler, *options], input=MACHINE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {"LD_PRELOAD": str(library)}


# Until the connection is there, it can be given up.


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "options",
    [(), ("-w", "1m"), ("--retry", "1"), ("--reconnect",), ("-z", "--wait-open", "1m"), ("-l",)],
    ids=" ".join,
)
def test_a_signal_ends_a_look_up(
    number: int, options: tuple[str, ...], machine: dict[str, str]
) -> None:
    with start(*options, "slow", "2389", env=machine, stdin=PIPE) as pync:
        pync.expect("looking up")
        pync.signal(number)
        result = pync.finish(within=SOON)
        assert result.status == -number
        assert "Traceback" not in result.err
        assert not complaints(result)


@pytest.mark.parametrize(
    "options",
    [
        ("-w", "200ms"),
        ("--wait", "200ms"),
        ("-w", "200ms", "-x", f"socks5://{HERE}:1", "--proxy-dns", "local"),
        ("-z", "-v", "--wait-open", "200ms", "-x", f"socks4://{HERE}:1"),
    ],
    ids=" ".join,
)
def test_a_limit_is_for_the_look_up_too(options: tuple[str, ...], machine: dict[str, str]) -> None:
    with start(*options, "slow", "2389", env=machine) as pync:
        result = pync.finish(within=SOON)
    assert (result.status, complaints(result)) == (1, ["pync: cannot resolve slow: timed out"])


def test_each_attempt_has_the_limit_for_its_look_up(machine: dict[str, str]) -> None:
    options = ("-w", "100ms", "--retry", "20", "--retry-delay", "50ms")
    with start("-v", *options, "slow", "2389", env=machine) as pync:
        result = pync.finish()
    assert (result.status, len(complaints(result))) == (1, 21)


def connecting(port: int) -> bool:
    """Whether somebody tries to connect to that port."""
    table = Path("/proc/net/tcp").read_text(encoding="ascii")
    return f" 0100007F:{port:04X} 02 " in table  # 02: SYN_SENT, see proc(5)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_connecting_that_has_a_limit(number: int) -> None:
    with full_backlog() as port, start("-w", "1m", HERE, str(port), stdin=PIPE) as pync:
        until(lambda: connecting(port))
        pync.signal(number)
        assert pync.finish(within=SOON).status == -number


@pytest.mark.parametrize("options", [(), ("-w", "1m")], ids=["", "-w"])
def test_a_reader_of_stdout_that_leaves_ends_the_connecting(options: tuple[str, ...]) -> None:
    reader, writer = (os.fdopen(fd, mode) for fd, mode in zip(os.pipe(), "rw", strict=True))
    with (
        reader,
        writer,
        full_backlog() as port,
        start(*options, HERE, str(port), stdin=PIPE, stdout=writer) as pync,
    ):
        writer.close()
        until(lambda: connecting(port))
        reader.close()
        result = pync.finish(within=SOON)
        assert result.status == 141
        assert not complaints(result)


def test_where_no_port_is_shared_one_waits_for_the_other(machine: dict[str, str]) -> None:
    with (
        full_backlog() as port,
        start("-w", "600ms", "-p", str(free_port()), "two", str(port), env=machine) as pync,
    ):
        assert complaints(pync.finish()) == [
            f"pync: connect to two ({HERE}) port {port} (tcp) failed: Connection timed out",
            f"pync: connect to two (127.0.0.2) port {port} (tcp) not tried: the time was over",
        ]


# An address of a family that the machine does not have is one that failed.


def test_a_family_that_is_missing_is_passed_over(machine: dict[str, str]) -> None:
    with socket.create_server((HERE, 0)) as server:
        server.settimeout(PATIENCE)
        port = server.getsockname()[1]
        with start("-v", "several", str(port), stdin=b"hello", env=machine) as client:
            peer, _ = server.accept()
            with peer:
                peer.settimeout(PATIENCE)
                assert peer.recv(100) == b"hello"
            result = client.finish()
    assert result.status == 0
    assert re.search(rf"connect to several \(::1\) port {port} \(tcp\) failed: ", result.err)
    assert f"Connection to several (127.0.0.1) {port} port" in result.err


def test_a_family_that_is_missing_is_told_when_no_other_accepts(machine: dict[str, str]) -> None:
    port = free_port()
    with start("several", str(port), env=machine) as client:
        result = client.finish()
    assert result.status == 1
    told = [rf"pync: connect to several \({host}\) port {port} \(tcp\) failed: .+"
            for host in ("::1", "127.0.0.1")]  # fmt: skip
    lines = result.err.splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(*both) for both in zip(told, lines, strict=True))


# Several who want one path that a dead one has left behind: one gets it.

SEVERAL = 4
ROUNDS = 5

# Starts several listeners at the same moment, round after round; what became of each
# round is told in a line, and hello is what came out of the one that got the path.
RACE = """
import os, signal, socket, sys
from pync import cli

def become_listener(gate, others, stdout, stderr):
    for fd in others:
        os.close(fd)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.read(gate, 1)
    os._exit(cli.main())

def race(path, kind, several):
    with socket.socket(socket.AF_UNIX, kind) as left_behind:
        left_behind.bind(path)
    gate, opener = os.pipe()
    reader, stdout = os.pipe()
    listeners = {}
    for _ in range(several):
        words, stderr = os.pipe()
        pid = os.fork()
        if not pid:
            become_listener(gate, [opener, reader, words, *listeners.values()], stdout, stderr)
        listeners[pid] = words
        os.close(stderr)
    for fd in (gate, stdout, opener):
        os.close(fd)
    got = []
    for pid, words in listeners.items():
        if os.read(words, 1000).startswith(b"Listening on "):
            got.append(pid)
        else:
            os.waitpid(pid, 0)
    try:
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(path)
            client.send(b"hello")
            heard = os.read(reader, 100).decode()
    except OSError as error:
        heard = str(error)
    print(len(got), heard, flush=True)
    for pid in got:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for fd in (reader, *listeners.values()):
        os.close(fd)
    if os.path.lexists(path):
        os.unlink(path)

path, kind, several, rounds = sys.argv[1], *map(int, sys.argv[2:])
sys.argv[1:] = ["-lUvk" if kind == socket.SOCK_STREAM else "-lUvku", path]
for _ in range(rounds):
    race(path, kind, several)
"""


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_one_of_several_gets_a_stale_path_and_keeps_it(
    kind: socket.SocketKind, machine: dict[str, str], tmp_path: Path
) -> None:
    arguments = [str(tmp_path / "socket"), *(str(int(it)) for it in (kind, SEVERAL, ROUNDS))]
    with Program(sys.executable, "-c", RACE, *arguments, env=machine) as races:
        status, out, err = races.finish()
    assert out.decode().splitlines() == ["1 hello"] * ROUNDS, err
    assert status == 0


# A path that is given up, and a socket that is handed over.


def test_a_clients_own_path_is_removed_when_it_ends(tmp_path: Path) -> None:
    path, own = tmp_path / "socket", tmp_path / "own"
    with a_socket("", path) as server:
        server.listen()
        with start("-U", "-s", str(own), str(path), stdin=b"hello") as client:
            peer, address = server.accept()
            with peer:
                assert address == str(own)
                assert drain(peer) == b"hello"
            assert client.finish().status == 0
        assert not own.exists()


@contextmanager
def a_newcomer(path: Path) -> Iterator[None]:
    """Somebody who says hello to the path."""
    with a_socket("u", path.with_name("newcomer")) as newcomer:
        newcomer.connect(str(path))
        newcomer.send(b"hello")
        yield


def test_the_path_is_removed_when_the_socket_cannot_be_handed_over(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with start("-lvuU", "-F", str(path)) as pync:
        pync.expect("Listening on")
        with a_newcomer(path):
            result = pync.finish(within=SOON)
    assert result[:2] == (2, b"")
    (line,) = complaints(result)
    assert "--fd-pass" in line
    assert not path.exists()


@pytest.mark.parametrize("unix", [False, True], ids=["-lu", "-luU"])
def test_the_first_datagram_is_handed_over_with_the_socket(unix: bool, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    where = ("-U", str(path)) if unix else (HERE, "0")
    with ours, theirs, start("-lnuv", "-F", *where, stdout=theirs) as pync:
        theirs.close()
        if unix:
            pync.expect("Listening on")
            coming = a_newcomer(path)
        else:
            coming = a_udp_newcomer(pync.port)
        with coming:
            _, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
            with socket.socket(fileno=descriptor) as handed:
                handed.settimeout(SOON)
                assert handed.recv(100) == b"hello"
            assert pync.finish().status == 0


@contextmanager
def a_udp_newcomer(port: int) -> Iterator[None]:
    """Somebody who says hello to the port."""
    with socket.socket(type=socket.SOCK_DGRAM) as newcomer:
        newcomer.connect((HERE, port))
        newcomer.send(b"hello")
        yield


# Who has come is opened while others come.


class Crowd(Listener):
    """Clients who come faster than anybody can see to them."""

    def __init__(self) -> None:
        self._came = 0

    def accept(self) -> Endpoint:
        self._came += 1
        assert self._came <= 1000, "nothing else gets a turn"
        return Endpoint(Silence(), Discard(), UnixAddress(f"client {self._came}"))


def test_clients_who_come_without_end_do_not_hold_up_the_first() -> None:
    with Loop() as loop:
        listener = OpeningListener(
            loop, Crowd(), lambda endpoint: Opening(loop, endpoint, (), NEVER), pytest.fail
        )
        accepting = Accepting(listener)
        loop.run(accepting)
        listener.close()
    assert accepting.endpoint
    assert str(accepting.endpoint.peer) == "client 1"
