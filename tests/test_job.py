"""A program that runs for a client: what passes between the two, and how either's end is met."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from authority import Authority
from harness import PATIENCE
from plain_peer import HERE, drain, drain_until_any_end, flood, reset
from plain_tls import context_against
from test_process import running
from tls_socket import TlsSocket

from pync import endings, movers
from pync.admission import Admission
from pync.dial import Accepting
from pync.endings import Terms
from pync.environment import Environment
from pync.errors import Interrupted, NetworkError
from pync.job import Job
from pync.layers import tls
from pync.loop import Loop
from pync.opening import Opening
from pync.options import Options
from pync.program_variables import variables_for
from pync.stream import NEVER, Endpoint, Listener, WouldBlock
from pync.transports import process, transport
from pync.transports.process import Command, Process
from pync.transports.unix import UnixAddress

MUCH = os.urandom(3 << 20)
WAYS = ("tcp", "unix", "tls")
ENDLESS = "while :; do sleep 0.05; done"

every_way = pytest.mark.parametrize("way", WAYS)
each_that_resets = pytest.mark.parametrize("way", ["tcp", "tls"])


class Ground(NamedTuple):
    """Where a client, in a thread, meets the program that is run for it, in the loop."""

    loop: Loop
    pool: ThreadPoolExecutor
    resources: ExitStack
    folder: Path
    authority: Authority

    def listener(self, way: str, **more: Any) -> Listener:
        name = "tcp" if way == "tls" else way
        options = Options(listen=True, host=HERE, port="0", path=str(self.folder / "socket"))
        options = options._replace(unixsock=way == "unix", udp=way == "udp", **more)
        listener = transport(name).listen(options)
        self.resources.callback(listener.close)
        return listener

    def client(self, way: str, listener: Listener) -> socket.socket:
        family = socket.AF_UNIX if way == "unix" else socket.AF_INET
        kind = socket.SOCK_DGRAM if way == "udp" else socket.SOCK_STREAM
        sock = self.resources.enter_context(socket.socket(family, kind))
        sock.settimeout(PATIENCE)
        place = listener.places[0]
        sock.connect(place if way == "unix" else (HERE, int(place.split()[-1])))
        return sock

    def met(self, way: str) -> tuple[Any, Endpoint]:
        """A client, and the endpoint that it is to us."""
        listener = self.listener(way)
        client = self.client(way, listener)
        if way == "udp":
            client.send(b"first\n")
        accepting = Accepting(listener)
        self.loop.run(accepting)
        assert accepting.endpoint
        if way == "tls":
            return self.over_tls(client, accepting.endpoint)
        return client, accepting.endpoint

    def over_tls(self, sock: socket.socket, plain: Endpoint) -> tuple[Any, Endpoint]:
        leaf = self.authority.leaf["valid"]
        client = TlsSocket(sock, context_against(self.authority, "listens", leaf))
        options = Options(listen=True, ssl=True, ssl_cert=str(leaf.chain), ssl_key=str(leaf.key))
        opening = Opening(self.loop, plain, [tls(options, Environment(), self.loop)], NEVER)
        done = self.pool.submit(client.handshake)
        self.loop.run(opening)
        done.result()
        return client, opening.endpoint

    def program(self, client: Endpoint, line: str, **how: Any) -> Process:
        command = Command(["sh", "-c", line], os.environ, **how)
        return command.start(self.loop, variables_for(client, os.environ))

    def job(self, client: Endpoint, line: str, terms: Terms | None = None, **how: Any) -> Job:
        return Job(self.loop, self.program(client, line, **how), client, terms or Terms())

    def play(self, way: str, line: str, play: Callable[[Any], Any], **how: Any) -> tuple[Any, Any]:
        """What comes of it in the client's eyes, and the program's status, once all is over."""
        client, endpoint = self.met(way)
        job = self.job(endpoint, line, **how)
        played = self.pool.submit(play, client)
        self.loop.run(job)
        return played.result(), job.status

    def wait_for(self, condition: Callable[[], bool]) -> None:
        self.loop.run(Looking(condition))


class Looking:
    """A task: looks at something until it is so."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition
        self._deadline = time.monotonic() + PATIENCE

    def advance(self) -> bool:
        if not self._condition():
            assert time.monotonic() < self._deadline
            raise WouldBlock(after=0.01)
        return False


@pytest.fixture
def ground(tmp_path: Path, authority: Authority) -> Iterator[Ground]:
    with Loop() as loop, ThreadPoolExecutor() as pool, ExitStack() as resources:
        yield Ground(loop, pool, resources, tmp_path, authority)


def saying(data: bytes) -> Callable[[Any], bytes]:
    """Says that, ends, and hears all to the other side's end."""

    def play(client: Any) -> bytes:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return drain(client)

    return play


def listening(client: Any) -> bytes:
    return drain(client)


# What passes, and the ends.


@every_way
@pytest.mark.parametrize("ways", [movers.MOVERS, [movers.Copy]], ids=["all movers", "copying"])
def test_both_ways_and_both_ends(
    ground: Ground, way: str, ways: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movers, "MOVERS", ways)

    def play(client: Any) -> bytes:
        said = ground.pool.submit(saying_alone, client)
        heard = drain(client)
        said.result()
        return heard

    def saying_alone(client: Any) -> None:
        client.sendall(MUCH)
        client.shutdown(socket.SHUT_WR)

    if way == "tls":  # which is no thing for two threads
        play, much = saying(b"words"), b"words"
    else:
        much = MUCH
    assert ground.play(way, "cat; exit 3", play) == (much, 3)


@every_way
@pytest.mark.parametrize(
    ("line", "said", "heard", "status"),
    [
        ("cat >/dev/null; sleep 0.2; echo after the end", b"words", b"after the end\n", 0),
        ("exec <&-; sleep 0.2; echo unread", MUCH[:100000], b"unread\n", 0),
        ("head -c 3; exit 4", b"words", b"wor", 4),
        ("true", b"", b"", 0),
        ("false", b"words", b"", 1),
        ("kill -TERM $$", b"", b"", 128 + signal.SIGTERM),
        ("(sleep 0.3; echo late) & echo soon; exit 5", b"", b"soon\nlate\n", 5),
        ("head -c 3000000 /dev/zero", b"", bytes(3000000), 0),
        ("echo $PYNC_PROTO $PYNC_REMOTE_PORT | tr -d 0-9", b"", None, 0),
    ],
)
def test_a_client_that_ends_hears_all_to_the_end(
    ground: Ground, way: str, line: str, said: bytes, heard: bytes | None, status: int
) -> None:
    if heard is None:
        heard = b"unix\n" if way == "unix" else b"tcp \n"
    assert ground.play(way, line, saying(said)) == (heard, status)


@every_way
@pytest.mark.parametrize(
    ("line", "heard", "status"),
    [("true", b"", 0), ("head -c 3; exit 6", b"wor", 6), ("echo words; exit 7", b"words\n", 7)],
)
def test_the_program_s_end_is_the_end_for_a_client_that_has_not_ended(
    ground: Ground, way: str, line: str, heard: bytes, status: int
) -> None:
    def play(client: Any) -> bytes:
        client.sendall(b"words, and then silence")
        heard = drain(client)
        client.close()
        return heard

    assert ground.play(way, line, play) == (heard, status)


def test_nor_for_one_that_goes_on_sending(ground: Ground) -> None:
    def play(client: Any) -> tuple[bytes, str]:
        flood = ground.pool.submit(send_without_end, client)
        heard = drain_until_any_end(client)
        flood.result()
        return heard

    assert ground.play("tcp", "head -c 3; exit 6", play) == ((bytes(3), "FIN"), 6)


def send_without_end(client: Any) -> None:
    try:
        while True:
            client.sendall(bytes(1 << 16))
    except OSError:
        pass


def test_a_program_that_has_closed_its_output_may_finish_its_work(ground: Ground) -> None:
    done = ground.folder / "done"
    line = f"exec >&-; cat >/dev/null; sleep 0.3; touch {done}; exit 8"
    assert ground.play("tcp", line, saying(b"words")) == (b"", 8)
    assert done.exists()


def test_a_shell_in_a_terminal_ends_with_its_client(ground: Ground) -> None:
    heard, status = ground.play(
        "tcp", "exec bash --norc -i", saying(b"echo $((6*7)); exit 9\n"), in_terminal=True
    )
    assert b"42\r\n" in heard
    assert status == 9


# What else ends it hangs the program up.


@each_that_resets
@pytest.mark.parametrize("line", [f"echo; {ENDLESS}", "yes", f"exec >&-; echo >&2; {ENDLESS}"])
def test_a_client_that_resets_the_connection(ground: Ground, way: str, line: str) -> None:
    client, endpoint = ground.met(way)
    job = ground.job(endpoint, line)
    ground.pool.submit(reset_after_a_word, client)
    with pytest.raises(NetworkError, match=r"connection with .* lost"):
        ground.loop.run(job)
    assert job.status in {128 + signal.SIGHUP, 128 + signal.SIGPIPE}


def reset_after_a_word(client: Any) -> None:
    client.recv(1)
    reset(getattr(client, "sock", client))


@every_way
def test_a_client_that_goes_while_it_is_written_to(ground: Ground, way: str) -> None:
    client, endpoint = ground.met(way)
    job = ground.job(endpoint, "trap '' PIPE; exec yes 2>/dev/null")
    ground.pool.submit(lambda: (client.recv(1), getattr(client, "sock", client).close()))
    with pytest.raises(NetworkError):
        ground.loop.run(job)
    assert job.status is not None


@each_that_resets
def test_a_client_that_resets_the_connection_although_nobody_reads_what_it_has_sent(
    ground: Ground, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endings, "LOOK_FOR_PEER", 0.2)
    client, endpoint = ground.met(way)
    job = ground.job(endpoint, "exec sleep 100")
    ground.pool.submit(flood_and_reset, client)
    with pytest.raises(NetworkError, match=r"connection with .* lost: Connection reset"):
        ground.loop.run(job)
    assert job.status == 128 + signal.SIGHUP


def flood_and_reset(client: Any) -> None:
    if isinstance(client, TlsSocket):
        client.flood()
    else:
        flood(client)
    reset(getattr(client, "sock", client))


def test_silence(ground: Ground) -> None:
    heard, status = ground.play("tcp", f"echo; {ENDLESS}", listening, terms=Terms(idle=0.3))
    assert (heard, status) == (b"\n", 128 + signal.SIGHUP)


@each_that_resets
def test_breaking_off_is_a_reset_to_the_client(ground: Ground, way: str) -> None:
    client, endpoint = ground.met(way)
    job = ground.job(endpoint, f"echo words; {ENDLESS}")
    ground.loop.spawn(job)
    ground.wait_for(ground.pool.submit(client.recv, 100).done)
    job.break_off(Interrupted(signal.SIGTERM))
    assert broken(client)
    ground.wait_for(lambda: job.status is not None)
    assert job.status == 128 + signal.SIGHUP


def broken(client: Any) -> bool:
    try:
        return client.recv(100) is None
    except OSError:
        return True


@each_that_resets
def test_winding_up_gives_out_what_is_held_and_then_resets(ground: Ground, way: str) -> None:
    client, endpoint = ground.met(way)
    program = ground.program(endpoint, f"trap '' HUP; echo words; {ENDLESS}")
    job = Job(ground.loop, program, endpoint, Terms())
    ground.loop.spawn(job)
    heard = ground.pool.submit(client.recv, 100)
    ground.wait_for(heard.done)
    assert heard.result() == b"words\n"
    began = time.monotonic()
    job.wind_up()
    reset_by_us = ground.pool.submit(broken, client)
    ground.wait_for(reset_by_us.done)
    assert reset_by_us.result()
    assert running(program.pid)
    job.break_off(Interrupted(signal.SIGTERM))  # there is no more time
    ground.wait_for(lambda: program.gone)
    assert program.status == 128 + signal.SIGKILL
    assert time.monotonic() - began < process.HANGUP_GRACE


# Datagrams.


def test_the_end_of_the_program_ends_the_session_of_a_peer_by_datagrams(ground: Ground) -> None:
    def play(client: Any) -> list[bytes]:
        return [client.recv(100), client.send(b"second\n") and client.recv(100)]

    line = "read a; echo $a $PYNC_PROTO $NCAT_PROTO; read b; echo $b; exit 3"
    assert ground.play("udp", line, play) == ([b"first udp UDP\n", b"second\n"], 3)


def test_each_peer_by_datagrams_has_a_program_until_it_is_forgotten(ground: Ground) -> None:
    listener = ground.listener("udp", keep_open=True)
    jobs: list[Job] = []
    endpoints: list[Endpoint] = []

    def admit(endpoint: Endpoint) -> None:
        endpoints.append(endpoint)
        jobs.append(ground.job(endpoint, "cat; exit 3"))
        ground.loop.spawn(jobs[-1])

    ground.loop.spawn(Admission(listener, admit, print))
    clients = [ground.client("udp", listener) for _ in range(2)]
    for client, word in zip(clients, (b"one", b"two"), strict=True):
        client.send(word)
    heard = ground.pool.submit(lambda: [client.recv(100) for client in clients])
    ground.wait_for(heard.done)
    assert heard.result() == [b"one", b"two"]
    endpoints[0].source.expire()  # type: ignore[attr-defined]
    ground.wait_for(lambda: jobs[0].status is not None)
    assert jobs[1].status is None
    jobs[1].break_off(Interrupted(signal.SIGTERM))
    ground.wait_for(lambda: jobs[1].status == 128 + signal.SIGHUP)


# What the program is told.


def told(client: Endpoint, **inherited: str) -> dict[str, str]:
    return variables_for(client, inherited)


def test_variables_of_the_internet(ground: Ground) -> None:
    client, endpoint = ground.met("tcp")
    (host, port), (here, our_port) = client.getsockname(), client.getpeername()
    sides = {"REMOTE_ADDR": host, "REMOTE_PORT": f"{port}"}
    sides |= {"LOCAL_ADDR": here, "LOCAL_PORT": f"{our_port}"}
    expected = {f"PYNC_{name}": value for name, value in {**sides, "PROTO": "tcp"}.items()}
    expected |= {f"NCAT_{name}": value for name, value in {**sides, "PROTO": "TCP"}.items()}
    assert told(endpoint) == expected
    endpoint.close()


@pytest.mark.parametrize("more", [{}, {"keep_open": True}])
def test_variables_of_datagrams(ground: Ground, more: dict[str, bool]) -> None:
    listener = ground.listener("udp", **more)
    client = ground.client("udp", listener)
    client.send(b"x")
    accepting = Accepting(listener)
    ground.loop.run(accepting)
    assert accepting.endpoint
    variables = told(accepting.endpoint)
    assert variables["PYNC_LOCAL_ADDR"] == HERE
    assert variables["PYNC_LOCAL_PORT"] == f"{client.getpeername()[1]}"
    assert variables["NCAT_PROTO"] == "UDP"
    accepting.endpoint.close()


def test_variables_of_a_path(ground: Ground) -> None:
    """ncat's are what ncat 7.93 says there."""
    _, endpoint = ground.met("unix")
    assert told(endpoint) == {
        "PYNC_REMOTE_ADDR": str(endpoint.peer),
        "PYNC_REMOTE_PORT": "",
        "PYNC_LOCAL_ADDR": "",
        "PYNC_LOCAL_PORT": "",
        "PYNC_PROTO": "unix",
        "NCAT_REMOTE_ADDR": "localhost",
        "NCAT_REMOTE_PORT": "",
        "NCAT_LOCAL_ADDR": "localhost",
        "NCAT_LOCAL_PORT": "",
        "NCAT_PROTO": "TCP",
    }
    endpoint.close()


def test_what_was_said_to_pync_is_not_handed_on() -> None:
    class Client(Endpoint):
        def __init__(self) -> None:
            self.peer = UnixAddress("path")

    told_us = {"PYNC_PROXY_PASSWORD": "secret", "PYNC_MD5SIG_KEY": "secret", "NCAT_PROTO": "old"}
    variables = told(Client(), PATH="/bin", TERM="dumb", **told_us)
    assert "secret" not in variables.values()
    assert (variables["PATH"], variables["TERM"]) == ("/bin", "dumb")
    assert variables["NCAT_PROTO"] == "TCP"
