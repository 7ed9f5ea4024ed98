"""Unix sockets: streams and datagrams, and what becomes of the path.

Nobody's path is ever stolen or deleted, and pync's own is gone when pync is.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from harness import PATIENCE, PIPE, PYNC, Program

KINDS = {"": socket.SOCK_STREAM, "u": socket.SOCK_DGRAM}  # by the option that asks for it

both_kinds = pytest.mark.parametrize("kind", KINDS, ids=["streams", "datagrams"])


@contextmanager
def listening(kind: str, path: Path | str, *options: str) -> Iterator[Program]:
    """A pync that listens there, with an idle stdin."""
    with Program.pync(f"-lUv{kind}", *options, str(path), stdin=PIPE) as server:
        server.expect(rf"Listening on {re.escape(str(path))}\n")
        yield server


@contextmanager
def a_socket(kind: str, path: Path | None = None) -> Iterator[socket.socket]:
    """A socket of that kind, bound to the path."""
    with socket.socket(socket.AF_UNIX, KINDS[kind]) as plain:
        plain.settimeout(PATIENCE)
        if path:
            plain.bind(str(path))
        yield plain


@both_kinds
@pytest.mark.parametrize("abstract", [False, True], ids=["path", "@name"])
def test_two_pyncs_talk_both_ways(kind: str, abstract: bool, tmp_path: Path) -> None:
    where = f"@{tmp_path}" if abstract else str(tmp_path / "socket")
    with (
        listening(kind, where) as server,
        Program.pync(f"-U{kind}", where, stdin=PIPE) as client,
    ):
        client.send(b"question")
        assert server.receive(8) == b"question"
        server.send(b"answer")
        assert client.receive(6) == b"answer"


def test_a_listener_that_keeps_open_serves_several(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening("", path, "-k") as server:
        for number in range(3):
            with a_socket("") as peer:
                peer.connect(str(path))
                peer.sendall(b"hello")
                assert len(server.receive(5 * (number + 1))) == 5 * (number + 1)


def test_a_listener_that_keeps_open_answers_all_who_sent_a_datagram(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        listening("u", path, "-k") as server,
        a_socket("u", tmp_path / "one") as one,
        a_socket("u", tmp_path / "two") as two,
    ):
        for number, peer in enumerate([one, two], start=1):
            peer.sendto(b"hello", str(path))
            assert server.receive(5 * number) == b"hello" * number
        server.send(b"to both")
        assert one.recv(100) == two.recv(100) == b"to both"


def test_a_client_may_be_given_a_path_of_its_own(tmp_path: Path) -> None:
    path, own = tmp_path / "socket", tmp_path / "own"
    with a_socket("u", path) as server:
        with Program.pync("-Uu", "-q", "0", "-s", str(own), str(path), stdin=PIPE) as client:
            client.send(b"hello")
            assert server.recvfrom(100) == (b"hello", str(own))
            server.sendto(b"and you", str(own))
            assert client.receive(7) == b"and you"
            client.end()
            assert client.finish().status == 0
        assert not own.exists()


def test_a_client_of_datagrams_leaves_no_address_behind(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with a_socket("u", path) as server:
        with Program.pync("-Uu", str(path), "-q", "0", stdin=b"hello") as client:
            _, address = server.recvfrom(100)
            assert client.finish().status == 0
        with a_socket("u") as probe, pytest.raises(OSError):  # noqa: PT011
            probe.connect(address)


# Whose path it is.


def stale(kind: str, path: Path) -> None:
    """A socket's path that its program has left behind."""
    with a_socket(kind, path):
        pass


@both_kinds
@pytest.mark.parametrize("was", KINDS, ids=["was streams", "was datagrams"])
def test_a_stale_path_is_taken_over(kind: str, was: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    stale(was, path)
    with listening(kind, path) as server, a_socket(kind) as peer:
        peer.connect(str(path))
        peer.send(b"hello")
        assert server.receive(5) == b"hello"


@both_kinds
@pytest.mark.parametrize("other", KINDS, ids=["from streams", "from datagrams"])
def test_a_live_path_is_not_stolen(kind: str, other: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with a_socket(other, path) as owner:
        if other == "":
            owner.listen()
        refuses(kind, path)
        with a_socket(other) as peer:
            peer.connect(str(path))


def test_a_live_path_with_a_full_backlog_is_not_stolen(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with a_socket("", path) as owner, a_socket("") as peer:
        owner.listen(0)
        peer.connect(str(path))
        refuses("", path)
        assert path.is_socket()


@both_kinds
def test_what_is_no_socket_is_not_deleted(kind: str, tmp_path: Path) -> None:
    file, link, directory = tmp_path / "file", tmp_path / "link", tmp_path / "directory"
    file.write_text("precious")
    link.symlink_to(file)
    directory.mkdir()
    for path in (file, link, directory):
        refuses(kind, path)
    assert file.read_text() == "precious"
    assert link.is_symlink()
    assert directory.is_dir()


def refuses(kind: str, path: Path) -> None:
    """That pync will not listen there, and says so at once."""
    with Program.pync(f"-lU{kind}", str(path)) as pync:
        status, out, err = pync.finish()
    assert (status, out) == (2, b"")
    assert re.fullmatch(rf"pync: .*{re.escape(str(path))}.*\n", err)


# Who may open the path.


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@both_kinds
@pytest.mark.parametrize("was_there", [False, True], ids=["new", "taken over"])
@pytest.mark.parametrize("mode", ["0600", "660", "0777", "0", "1"])
def test_the_path_has_the_permissions_asked_for(
    mode: str, was_there: bool, kind: str, tmp_path: Path
) -> None:
    """Whatever the umask is, which is the same again afterwards."""
    path = tmp_path / "socket"
    if was_there:
        stale(kind, path)
    with pync_with_umask(0o027, f"-lUv{kind}", "--mode", mode, str(path)) as server:
        server.expect("Listening on")
        assert permissions(path) == int(mode, 8)
        assert "Umask:\t0027\n" in Path(f"/proc/{server.pid}/status").read_text()


def test_without_a_mode_the_umask_decides(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with pync_with_umask(0o027, "-lUv", str(path)) as server:
        server.expect("Listening on")
        assert permissions(path) == 0o750


def pync_with_umask(umask: int, *options: str) -> Program:
    return Program.pync(*options, stdin=PIPE, umask=umask)


SYSTEM_CALLS = re.compile(r"(\w+)\((.*)\) += ")


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
@both_kinds
def test_the_path_never_has_other_permissions(kind: str, tmp_path: Path) -> None:
    """It is made with them, and nothing changes them then."""
    path, trace = tmp_path / "socket", tmp_path / "trace"
    tracing = ("strace", "-f", "-o", str(trace), "-e", "trace=umask,bind,chmod,fchmod,fchmodat")
    pync = (*PYNC, f"-dlUv{kind}", "--mode", "0640", "-W", "1", str(path))
    with Program(*tracing, *pync) as traced, a_socket(kind) as peer:
        traced.expect("Listening on")
        peer.connect(str(path))
        peer.send(b"hello")
        assert traced.finish().status == 0
    calls = [match[1] for match in SYSTEM_CALLS.finditer(trace.read_text())]
    assert calls == ["umask", "bind", "umask"]
    assert "umask(0137)" in trace.read_text()


# The path is gone when pync is.


@both_kinds
@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "ALRM"])
def test_the_path_is_removed_when_a_signal_ends_it(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    number = signal.Signals[f"SIG{name}"]
    with listening(kind, path) as server:
        server.signal(number)
        assert server.finish()[:2] == (-number, b"")
    assert not path.exists()


def test_the_path_is_removed_when_the_session_ends(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening("", path) as server:
        with a_socket("") as peer:
            peer.connect(str(path))
        server.end()
        assert server.finish().status == 0
    assert not path.exists()


@both_kinds
def test_the_path_is_removed_when_it_ends_with_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        Path("/dev/full").open("wb") as full,
        Program.pync(f"-lUv{kind}", str(path), stdout=full) as server,
        a_socket(kind) as peer,
    ):
        server.expect("Listening on")
        peer.connect(str(path))
        peer.send(b"hello")
        assert server.finish().status == 2
    assert not path.exists()


def test_the_path_is_removed_when_the_reader_of_stdout_goes(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    reader, writer = (os.fdopen(fd, mode) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    with closing(reader), Program.pync("-lUv", str(path), stdout=writer) as server:
        writer.close()
        server.expect("Listening on")
        reader.close()
        assert server.finish().status == 141
    assert not path.exists()


def test_a_path_that_somebody_else_has_now_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening("", path) as server:
        path.unlink()
        path.write_text("somebody else's")
        server.signal(signal.SIGTERM)
        assert server.finish().status == -signal.SIGTERM
    assert path.read_text() == "somebody else's"
