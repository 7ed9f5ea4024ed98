"""SIGHUP lets a listener read its files of rules again, while it listens and serves.

A file that is a pipe holds the reading up, as a slow name server would, until the test
writes the rules into it.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from harness import PATIENCE, PIPE, PYNC, Program, descriptors
from plain_peer import HERE, complaints, start

READ_AGAIN = "The rules of who may connect are read again\n"
STAND = "; the old rules stand\n"
THERE = "127.0.0.2"


def write(file: Path, rules: str) -> None:
    """Put them there as a whole, in the place of whatever is there."""
    new = file.with_suffix(".new")
    new.write_text(rules)
    new.replace(file)


def hang_up(pync: Program) -> None:
    pync.err = b""
    os.kill(pync.pid, signal.SIGHUP)


def read_again(pync: Program) -> None:
    hang_up(pync)
    pync.expect(READ_AGAIN)


@contextmanager
def client(port: int, host: str = HERE) -> Iterator[socket.socket]:
    with socket.create_connection((HERE, port), PATIENCE, (host, 0)) as connected:
        yield connected


def is_admitted(pync: Program, port: int, host: str = HERE) -> bool:
    pync.err = b""
    with suppress(ConnectionResetError), client(port, host):
        pass
    return pync.expect("Connection received|denied")[0] != "denied"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rules"


@pytest.mark.parametrize(
    ("options", "first", "then"),
    [
        (["--denyfile"], "", HERE),
        (["--denyfile"], "10.0.0.1", "10.0.0.1,localhost # and us"),
        (["--allowfile"], HERE, THERE),
        (["--allowfile"], HERE, ""),
        (["--allow", THERE, "--allowfile"], HERE, ""),
    ],
)
def test_the_files_are_read_again(options: list[str], first: str, then: str, file: Path) -> None:
    """There and back."""
    write(file, first)
    with start("-lkdvn", *options, f"{file}", HERE, "0") as pync:
        port = pync.port
        for rules, admitted in ((then, False), (first, True)):
            assert is_admitted(pync, port) != admitted
            write(file, rules)
            read_again(pync)
            assert is_admitted(pync, port) == admitted


def test_without_v_nothing_is_said_but_of_mistakes(file: Path) -> None:
    write(file, "")
    with socket.create_server((HERE, 0)) as listening:
        fd = listening.fileno()
        rules = ("--denyfile", f"{file}")
        with start("-lkdn", *rules, "--fd", f"{fd}", pass_fds=[fd]) as pync:
            with client(listening.getsockname()[1]) as first:
                first.sendall(b"here")
                assert pync.receive(4) == b"here"
            file.unlink()
            os.mkfifo(file)
            hang_up(pync)
            with open_writer(file):
                write(file, "nonsense/")
            hang_up(pync)
            pync.expect(STAND)
            assert pync.text().count("\n") == 1


def test_a_unix_listener_reads_them_again(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    write(file, f"uid:{os.geteuid()}")
    with start("-lkdUv", "--allowfile", f"{file}", f"{path}") as pync:
        pync.expect("Listening on")
        for rules, told in (("", "denied"), (f"gid:{os.getegid()}", "received")):
            write(file, rules)
            read_again(pync)
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(path))
                pync.expect(told)
        pync.signal(signal.SIGTERM)
        assert pync.finish().status == -signal.SIGTERM
    assert not path.exists()


def test_who_is_connected_is_left_alone(file: Path) -> None:
    write(file, "")
    with start("-lkvn", "--denyfile", f"{file}", HERE, "0", stdin=PIPE) as pync:
        port = pync.port
        with client(port) as first:
            pync.expect("received")
            write(file, HERE)
            read_again(pync)
            assert not is_admitted(pync, port)
            first.sendall(b"still here")
            assert pync.receive(10) == b"still here"
            pync.send(b"so am I")
            assert first.recv(100) == b"so am I"


def test_a_datagram_s_sender_is_left_alone_too(file: Path) -> None:
    write(file, "")
    with (
        start("-ulkdvn", "--denyfile", f"{file}", HERE, "0") as pync,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        for sock in (first, other):
            sock.connect((HERE, pync.port))
        first.send(b"one")
        assert pync.receive(3) == b"one"
        write(file, HERE)
        read_again(pync)
        other.send(b"no")
        pync.expect("denied")
        first.send(b"two")
        assert pync.receive(6) == b"onetwo"


def test_the_one_turn_waits_for_one_who_may(file: Path) -> None:
    """Without -k, a listener waits on with the new rules."""
    write(file, HERE)
    with start("-ldvn", "--denyfile", f"{file}", HERE, "0") as pync:
        port = pync.port
        assert not is_admitted(pync, port)
        write(file, THERE)
        read_again(pync)
        assert not is_admitted(pync, port, THERE)
        assert is_admitted(pync, port)
        assert pync.finish().status == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"10.0.0.1\n::/129", "--denyfile: FILE, line 2: '::/129' is not a network such as .*"),
        (b"uid:0", "--denyfile: FILE, line 1: 'uid:0' is for unix sockets alone: .*"),
        (b"nowhere.invalid", "--denyfile: FILE, line 1: cannot resolve nowhere.invalid: .*"),
        (b"\xff\xfe", "cannot read FILE: it is not text in UTF-8"),
        (None, "cannot read FILE: No such file or directory"),
    ],
)
def test_a_mistake_leaves_the_old_rules_standing(
    content: bytes | None, told: str, file: Path
) -> None:
    write(file, HERE)
    with start("-lkdv", "--denyfile", f"{file}", HERE, "0") as pync:
        port = pync.port
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        hang_up(pync)
        pync.expect(f"^pync: {told.replace('FILE', str(file))}{STAND}$")
        assert not is_admitted(pync, port)
        write(file, "")
        read_again(pync)
        assert is_admitted(pync, port)


# --- names ---

NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-c")


def namespaces_work() -> bool:
    with suppress(FileNotFoundError), Program(*NAMESPACE, "mount -t tmpfs none /mnt") as trial:
        return trial.finish().status == 0
    return False


@pytest.mark.skipif(not namespaces_work(), reason="no mount namespaces for this user")
def test_names_are_looked_up_at_the_start_and_again(file: Path, tmp_path: Path) -> None:
    """In the process's own /etc/hosts."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"{HERE} office.test\n{THERE} office.test\n")
    write(file, "# only the name below matters")
    script = f'mount --bind {hosts} /etc/hosts && exec "$@"'
    rules = ("--allow", "office.test", "--denyfile", f"{file}")
    with Program(*NAMESPACE, script, "sh", *PYNC, "-lkdv", *rules, HERE, "0") as pync:
        port = pync.port
        assert [is_admitted(pync, port, host) for host in (HERE, THERE)] == [True, True]
        hosts.write_text(f"{THERE} office.test\n")
        assert [is_admitted(pync, port, host) for host in (HERE, THERE)] == [True, True]
        read_again(pync)
        assert [is_admitted(pync, port, host) for host in (HERE, THERE)] == [False, True]
        hosts.write_text("")
        hang_up(pync)
        pync.expect(f"^pync: --allow: cannot resolve office.test: .*{STAND}")
        assert [is_admitted(pync, port, host) for host in (HERE, THERE)] == [False, True]


# --- while it is going on ---


@contextmanager
def open_writer(pipe: Path) -> Iterator[int]:
    """Wait until somebody reads there; who does gets the end after this."""
    fd = os.open(pipe, os.O_WRONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def held_up(file: Path) -> Iterator[tuple[Program, int, ExitStack]]:
    """A listener that denies 127.0.0.1, its port, and what lets it go on to allow all."""
    write(file, HERE)
    with (
        start("-lkdvn", "--denyfile", f"{file}", HERE, "0") as pync,
        ExitStack() as holding,
    ):
        port = pync.port
        file.unlink()
        os.mkfifo(file)
        hang_up(pync)
        holding.enter_context(open_writer(file))
        yield pync, port, holding


def test_clients_come_meanwhile_by_the_old_rules(file: Path) -> None:
    with held_up(file) as (pync, port, holding):
        assert not is_admitted(pync, port)
        holding.close()
        pync.expect(READ_AGAIN)
        assert is_admitted(pync, port)


def test_who_hangs_up_meanwhile_has_them_read_once_more(file: Path) -> None:
    with held_up(file) as (pync, port, holding):
        write(file, THERE)
        for _ in range(3):
            hang_up(pync)
            assert not is_admitted(pync, port)  # by now it has heard
        holding.close()
        pync.expect(READ_AGAIN * 2)
        assert not is_admitted(pync, port, THERE)
        assert is_admitted(pync, port)
        assert READ_AGAIN not in pync.text()


def test_a_signal_ends_it_meanwhile(file: Path) -> None:
    with held_up(file) as (pync, _, _):
        pync.signal(signal.SIGTERM)
        assert pync.finish().status == -signal.SIGTERM
        assert not complaints(pync.finish())


def test_nothing_is_left_afterwards(file: Path) -> None:
    write(file, HERE)
    with start("-lkdvn", "--denyfile", f"{file}", HERE, "0") as pync:
        assert pync.port
        read_again(pync)
        before = descriptors(pync.pid)
        for _ in range(20):
            read_again(pync)
        assert descriptors(pync.pid) == before
        assert len([*Path(f"/proc/{pync.pid}/task").iterdir()]) <= 2  # one may be ending


# --- what a hangup is otherwise ---


def test_one_that_nohup_protects_reads_them_again(file: Path) -> None:
    write(file, "")
    protected = 'trap "" HUP; exec "$@"'
    with start("-lkdvn", "--denyfile", f"{file}", HERE, "0", shell=protected) as pync:
        port = pync.port
        write(file, HERE)
        read_again(pync)
        assert not is_admitted(pync, port)


@pytest.mark.parametrize("rules", [(), ("--deny", THERE), ("--allow", "localhost")])
def test_without_files_it_ends_the_listener(rules: tuple[str, ...]) -> None:
    with start("-lkdvn", *rules, HERE, "0") as pync:
        assert pync.port
        hang_up(pync)
        assert pync.finish().status == -signal.SIGHUP
