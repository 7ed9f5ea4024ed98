"""Files through pync: the whole of them, of any size, in flat memory.

`pync -l > copy` with `pync host < file`, the same with the roles changed, and
tar through pipes.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from harness import NULL, PATIENCE, PIPE, Program
from plain_peer import HERE, ROLES, drain, joined, start

from pync import dial
from pync.environment import Environment
from pync.options import Options
from pync.transports.sockets import SocketSource
from pync.transports.unix import UnixAddress

pytestmark = pytest.mark.usefixtures("_each_mover")

MIB = 1 << 20
LARGE_FILE_PATIENCE = 50.0  # seconds: the disk may be busy
PIECE = b"".join(number.to_bytes(4, "big") for number in range(MIB // 4))

both_roles = pytest.mark.parametrize("sends", ROLES)  # what the sender does


@contextmanager
def transfer(
    sends: str, source: IO[bytes], target: int | IO[bytes], waiting: int = NULL
) -> Iterator[tuple[Program, Program]]:
    """A pync that sends what is in `source` to one that puts it in `target`.

    waiting: the receiver's own stdin.
    """
    sender: dict[str, Any] = {"stdin": source}
    receiver: dict[str, Any] = {"stdin": waiting, "stdout": target}
    listener, client = (sender, receiver) if sends == "listens" else (receiver, sender)
    with (
        start("-lnv", HERE, "0", **listener) as listening,
        start(HERE, str(listening.port), **client) as connecting,
    ):
        yield (listening, connecting) if sends == "listens" else (connecting, listening)


def check_copy(sends: str, original: Path, copy: Path) -> None:
    """Send the file and see that the copy is the same."""
    with (
        original.open("rb") as source,
        copy.open("wb") as target,
        transfer(sends, source, target) as (sender, receiver),
    ):
        assert sender.finish(LARGE_FILE_PATIENCE).status == 0
        assert receiver.finish(LARGE_FILE_PATIENCE).status == 0
    subprocess.run(["cmp", original, copy], check=True, timeout=PATIENCE)


def sparse_file(path: Path, size: int) -> Path:
    """A file of this size that is nearly all hole, with a piece of data here and there."""
    with path.open("wb") as file:
        file.truncate(size)
        for offset in (0, size // 3, size // 2 - 7, size - len(PIECE)):
            file.seek(offset)
            file.write(PIECE)
    return path


@both_roles
@pytest.mark.parametrize("size", [0, 1, 65_536, 5 * MIB + 1])
def test_a_file_arrives_whole(sends: str, size: int, tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_bytes(os.urandom(size))
    check_copy(sends, original, tmp_path / "copy")


def test_a_gibibyte_arrives_whole(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    check_copy("connects", sparse_file(tmp_path / "original", 1024 * MIB), copy)
    copy.unlink()  # pytest keeps what tests leave, and this is no hole


@both_roles
def test_a_directory_arrives_through_tar(sends: str, tmp_path: Path) -> None:
    contents = {f"{number} 이광춘": os.urandom(number * 1000) for number in range(30)}
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    copy.mkdir()
    for name, content in contents.items():
        (original / name).write_bytes(content)
    # tar leaves at its end mark, and a pync that notices in time ends with 141: cat stays.
    unpack = ["sh", "-c", 'tar xC "$0" && cat', copy]
    with (
        subprocess.Popen(["tar", "cC", original, "."], stdout=PIPE) as packing,
        subprocess.Popen(unpack, stdin=PIPE, stdout=NULL) as unpacking,
    ):
        assert packing.stdout
        assert unpacking.stdin
        with transfer(sends, packing.stdout, unpacking.stdin) as (sender, receiver):
            unpacking.stdin.close()  # the receiver has the only other copy of it
            assert sender.finish().status == receiver.finish().status == 0
            assert packing.wait(PATIENCE) == unpacking.wait(PATIENCE) == 0
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == contents


@both_roles
def test_memory_stays_flat_however_slow_the_reader(sends: str, tmp_path: Path) -> None:
    size, sip, last = 1024 * MIB, 16_384, 128 * 1024
    with (
        sparse_file(tmp_path / "original", size).open("rb") as source,
        transfer(sends, source, PIPE, waiting=PIPE) as (sender, receiver),
    ):
        output = receiver.process.stdout
        assert output
        taken = len(os.read(output.fileno(), sip))
        at_first = sender.peak_memory, receiver.peak_memory
        while taken < size - last:
            taken += len(os.read(output.fileno(), sip))
        grown = sender.peak_memory - at_first[0], receiver.peak_memory - at_first[1]
        receiver.end()
        assert taken + len(receiver.finish().out) == size
        assert sender.finish().status == 0
        assert max(grown) < 8 * MIB


@both_roles
def test_what_was_moved_is_counted_however_it_was_moved(sends: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(PIECE + b"and a little")
    size = len(PIECE) + 12
    with path.open("rb") as stdin, joined(sends, "-vv", stdin=stdin) as (pync, peer):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(peer.sendall, PIECE)
            assert len(drain(peer)) == size
        peer.shutdown(socket.SHUT_WR)
        result = pync.finish()
        assert result[:2] == (0, PIECE)
        assert f"{size} bytes sent, {MIB} received" in result.err


@pytest.mark.parametrize("verbose", [0, 2])
def test_counting_leaves_the_way_to_the_kernel_open(verbose: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        source = SocketSource(ours, UnixAddress("the peer"))
        assert dial.received(Options(verbose=verbose), Environment())(source) is source
