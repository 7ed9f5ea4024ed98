"""Running pync, and its peers, as a person would: real processes, pipes and sockets.

    with Program.pync("-lv", "0") as server:
        with Program.pync("localhost", str(server.port), stdin=b"hello") as client:
            assert client.finish().status == 0
        assert server.finish().out == b"hello"

A Program that is left without having ended is killed, so no test leaves one behind.
"""

from __future__ import annotations

import os
import random
import re
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

PIPE = subprocess.PIPE
NULL = subprocess.DEVNULL
PATIENCE = 20.0  # seconds that anything here may take before it counts as hung

GIVEN_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")

PYNC = (sys.executable, "-m", "pync")
PEERS = {  # Debian's packages: netcat-openbsd netcat-traditional ncat socat openssl
    name: shutil.which(program)
    for name, program in {
        "openbsd": "nc.openbsd", "traditional": "nc.traditional", "ncat": "ncat", "socat": "socat",
        "openssl": "openssl",
    }.items()
}  # fmt: skip


class Result(NamedTuple):
    """How a program ended.  status is negative for a signal, as subprocess has it."""

    status: int
    out: bytes
    err: str


class Program:
    """A running process whose stderr, and stdout if it is a pipe, are collected.

    stdin: PIPE (write with send, end with end), NULL, a descriptor or file, or
    bytes, which a process beside it writes, so that a full pipe blocks nobody.
    """

    def __init__(
        self,
        *argv: str,
        stdin: int | IO[Any] | bytes | None = NULL,
        stdout: int | IO[Any] | None = PIPE,
        env: Mapping[str, str] | None = None,
        **popen: Any,
    ) -> None:
        self.argv = argv
        self.err = self.out = b""
        self._feeder: subprocess.Popen[bytes] | None = None
        given = stdin
        if isinstance(stdin, bytes):
            given = self._feed(stdin)
        self.process = subprocess.Popen(
            argv,
            stdin=given,  # type: ignore[arg-type]
            stdout=stdout,
            stderr=PIPE,
            env={**os.environ, **(env or {})},
            **popen,
        )
        if self._feeder and self._feeder.stdout:
            self._feeder.stdout.close()
        self._selector = selectors.DefaultSelector()
        for stream, name in ((self.process.stdout, "out"), (self.process.stderr, "err")):
            if stream:
                self._selector.register(stream, selectors.EVENT_READ, name)

    @classmethod
    def pync(cls, *args: str, **how: Any) -> Program:
        return cls(*PYNC, *args, **how)

    def _feed(self, data: bytes) -> IO[bytes] | None:
        script = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
        spool = os.memfd_create("stdin")
        os.write(spool, data)
        self._feeder = subprocess.Popen(
            [sys.executable, "-c", script, f"/dev/fd/{spool}"],
            stdout=PIPE, stderr=NULL, pass_fds=[spool],
        )  # fmt: skip
        os.close(spool)
        return self._feeder.stdout

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exception: object) -> None:
        self._selector.close()
        for process in (self.process, self._feeder):
            if process is None:
                continue
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream and not stream.closed:
                    stream.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def peak_memory(self) -> int:
        """The most bytes of memory that it had so far."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10

    @property
    def cpu_seconds(self) -> float:
        """How long it has run on a processor so far."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def port(self) -> int:
        """The port a listener started with -v says it got."""
        return int(self.expect(r"Listening on \S+ (\d+)")[1])

    def expect(self, pattern: str, stream: str = "err", within: float = PATIENCE) -> re.Match[str]:
        """Wait until what came out so far matches."""
        deadline = time.monotonic() + within
        while not (match := re.search(pattern, self.text(stream))):
            if not self._collect(deadline):
                raise AssertionError(f"{self.argv}: no {pattern!r} in {self.text(stream)!r}")
        return match

    def text(self, stream: str = "err") -> str:
        return bytes(getattr(self, stream)).decode(errors="backslashreplace")

    def receive(self, size: int, within: float = PATIENCE) -> bytes:
        """Wait for at least `size` bytes of stdout; all that came so far."""
        deadline = time.monotonic() + within
        while len(self.out) < size and self._collect(deadline):
            pass
        return self.out

    def send(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def finish(self, within: float = PATIENCE) -> Result:
        """Collect everything until the process has ended."""
        deadline = time.monotonic() + within
        while self._selector.get_map() and self._collect(deadline):
            pass
        try:
            status = self.process.wait(max(0.01, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            told = f"{self.argv} hangs: out {len(self.out)} bytes, err {self.text()!r}"
            raise AssertionError(told) from None
        return Result(status, self.out, self.text())

    def _collect(self, deadline: float) -> bool:
        """Take what has come; False when time is up or nothing is left to read."""
        if not self._selector.get_map():
            return False
        ready = self._selector.select(max(0.0, deadline - time.monotonic()))
        for key, _ in ready:
            data = os.read(key.fd, 1 << 20)
            if data:
                setattr(self, key.data, getattr(self, key.data) + data)
            else:
                self._selector.unregister(key.fileobj)
        return bool(ready)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago, for peers that cannot say which they got.

    It is below those that the kernel gives to connections, one of which could take it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    first_given = int(GIVEN_PORTS.read_text(encoding="ascii").split()[0])
    for _ in range(1000):
        port = random.SystemRandom().randrange(first_given // 2, first_given)
        with socket.socket(family, kind) as probe, suppress(OSError):
            probe.bind((host, port))
            return port
    raise AssertionError("there is no free port")


def descriptors(pid: int | str = "self") -> dict[str, str]:
    """The open descriptors of a process, and what each is."""
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile, as is the one that lists our own
            found[link.name] = str(link.readlink())
    return found


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port that does not answer who wants to connect: it has a queue of one, and that is full."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        yield int(listener.getsockname()[1])


def kernel_signs_tcp() -> bool:
    """Whether TCP MD5 signatures can be had here."""
    local = struct.pack("=HH4s120x", socket.AF_INET, 0, socket.inet_aton("127.0.0.1"))
    key = struct.pack("=BBHi80s", 0, 0, 3, 0, b"key")
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.IPPROTO_TCP, getattr(socket, "TCP_MD5SIG", 14), local + key)
        except OSError:
            return False
    return True


def ipv6_works() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="there is no IPv6 here")
needs_tcp_md5 = pytest.mark.skipif(
    not kernel_signs_tcp(), reason="the kernel has no TCP MD5 signatures"
)
