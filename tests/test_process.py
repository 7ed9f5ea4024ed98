"""Programs: what they are given, how their end is met, how they are hung up, their terminals."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, descriptors
from pairs import Done, move_in
from test_flow import Record

from pync import movers
from pync.bypass import Splice
from pync.errors import LocalError, OutOfDescriptors
from pync.flow import Flow
from pync.loop import Loop
from pync.stream import EndOfStream, Sink, Source, WouldBlock
from pync.transports import descriptors as limits
from pync.transports import process
from pync.transports.memory import Given
from pync.transports.process import Command, Process
from pync.transports.program_ends import terminal_size
from pync.transports.sockets import SocketSink, SocketSource
from pync.transports.unix import UnixAddress
from pync.values import read_command, read_shell_line

PEER = UnixAddress("peer")
MUCH = os.urandom(3 << 20)  # more than a pipe holds, and than is moved at a time
ENDLESS = "while :; do sleep 0.05; done"


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop() as made:
        yield made


def start(loop: Loop, *argv: str, variables: dict[str, str] | None = None, **how: Any) -> Process:
    command = Command(argv, os.environ, **how)
    return command.start(loop, os.environ if variables is None else variables)


def sh(loop: Loop, line: str, **how: Any) -> Process:
    return start(loop, "sh", "-c", line, **how)


def until_gone(loop: Loop, program: Process) -> int | None:
    loop.run(Done(program.changed, lambda: program.gone))
    program.close()
    return program.status


def talk(loop: Loop, program: Process, *said: bytes) -> bytes:
    """What it writes, to the end, and having exited, when it is told this and then the end."""
    heard = Record()
    flows = move_in(loop, (Given(*said), program.ends.sink), (program.ends.source, heard))
    until_gone(loop, program)
    assert [flow.error for flow in flows] == [None, None]
    return heard.data


class Heard:
    """A task: reads from `source` until `pattern` is in what came."""

    def __init__(self, source: Source, pattern: bytes) -> None:
        self.data = b""
        self._source = source
        self._pattern = pattern

    def advance(self) -> bool:
        while not re.search(self._pattern, self.data):
            self.data += self._source.read(1 << 16)
        return False


def hear(loop: Loop, program: Process, pattern: bytes) -> bytes:
    """Wait until it has written something that matches; all that it has written meanwhile."""
    heard = Heard(program.ends.source, pattern)
    loop.run(heard)
    return heard.data


def hung_up(loop: Loop, program: Process) -> int | None:
    program.hang_up()
    return until_gone(loop, program)


def state(pid: int) -> str:
    """As proc(5) has it; Z for one that has been reaped as well."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
    return stat.rpartition(")")[2].split()[0]


def running(pid: int) -> bool:
    return state(pid) != "Z"


def wait_for_state(pid: int, wanted: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while state(pid) != wanted:
        assert time.monotonic() < deadline
        os.sched_yield()


# How a command is written.


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("cat", ("cat",)),
        (
            "  printf  %s 'two words' \"and 'these'\" a\\ b ''",
            ("printf", "%s", "two words", "and 'these'", "a b", ""),
        ),
        ("echo $HOME *; true # no comment", ("echo", "$HOME", "*;", "true", "#", "no", "comment")),
        ("", None),
        ("  ", None),
        ("''", None),
        ("echo 'no end", None),
        ('echo "no end', None),
        ("echo \\", None),
    ],
)
def test_a_command_is_split_as_a_shell_does_it(text: str, argv: tuple[str, ...] | None) -> None:
    if argv is None:
        with pytest.raises(ValueError, match=r"^not a command: "):
            read_command(text)
    else:
        assert read_command(text) == argv


def test_a_line_for_the_shell_stays_whole() -> None:
    assert read_shell_line("a | b 'c'") == ("/bin/sh", "-c", "a | b 'c'")
    with pytest.raises(ValueError, match=r"^empty$"):
        read_shell_line("")


# What it reads and writes, and how it exits.


@pytest.mark.parametrize(
    ("line", "said", "heard", "status"),
    [
        ("cat", b"words", b"words", 0),
        ("cat", b"", b"", 0),
        ("exit 3", b"", b"", 3),
        ("kill -TERM $$", b"", b"", 128 + signal.SIGTERM),
        ("kill -KILL $$", b"unread", b"", 128 + signal.SIGKILL),
        ("echo $A$B", b"", b"yes\n", 0),
        ("printf in; printf out >&2", b"", b"in", 0),
        ("head -c 2; exec >&-; cat >/dev/null; exit 7", b"words", b"wo", 7),
    ],
)
def test_it_reads_writes_and_exits(
    loop: Loop, line: str, said: bytes, heard: bytes, status: int
) -> None:
    program = sh(loop, line, variables={"PATH": os.environ["PATH"], "A": "yes"})
    assert talk(loop, program, said) == heard
    assert program.status == status
    assert not Path(f"/proc/{program.pid}").exists()


def test_its_errors_go_with_its_output_where_that_is_wanted(loop: Loop) -> None:
    program = sh(loop, "printf out; printf ' and errors' >&2", errors_too=True)
    assert talk(loop, program) == b"out and errors"


def test_else_its_errors_are_ours(loop: Loop, capfd: pytest.CaptureFixture[str]) -> None:
    assert talk(loop, sh(loop, "echo out; echo errors >&2")) == b"out\n"
    assert capfd.readouterr() == ("", "errors\n")


@pytest.fixture(params=[movers.MOVERS, [movers.Copy]], ids=["spliced", "copied"])
def _each_way_of_moving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movers, "MOVERS", request.param)


def between_sockets(loop: Loop, program: Process) -> tuple[list[Flow], bytes]:
    """MUCH goes through a socket to the program, and what it writes through another one."""
    (near, to_it), (from_it, far) = socket.socketpair(), socket.socketpair()
    with near, to_it, from_it, far:
        for sock in (near, to_it, from_it, far):
            sock.setblocking(False)
        heard = Record()
        flows = move_in(
            loop,
            (SocketSource(to_it, PEER), program.ends.sink),
            (program.ends.source, SocketSink(from_it, PEER)),
            (Given(MUCH), SocketSink(near, PEER)),
            (SocketSource(far, PEER), heard),
        )
        until_gone(loop, program)
    return flows, heard.data


@pytest.mark.usefixtures("_each_way_of_moving")
@pytest.mark.parametrize(
    ("line", "heard"),
    [
        ("cat", MUCH),
        ("head -c 1000", MUCH[:1000]),
        ("exec <&-; echo after the input", b"after the input\n"),
        ("head -c 70000; exec <&-; sleep 0.2; echo more", MUCH[:70000] + b"more\n"),
        ("true", b""),
    ],
)
def test_what_it_does_not_read_is_taken_and_dropped(loop: Loop, line: str, heard: bytes) -> None:
    flows, data = between_sockets(loop, sh(loop, line))
    assert data == heard
    assert [flow.error for flow in flows] == [None] * 4
    assert flows[0].moved == len(MUCH)


def test_the_kernel_moves_the_bytes_between_it_and_a_socket(loop: Loop) -> None:
    program = start(loop, "cat")
    for sock in socket.socketpair():
        with sock:
            there = movers.choose_mover(SocketSource(sock, PEER), program.ends.sink)
            back = movers.choose_mover(program.ends.source, SocketSink(sock, PEER))
            assert isinstance(there, Splice)
            assert isinstance(back, Splice)
    assert talk(loop, program) == b""


# What it has.


def test_it_has_no_descriptor_but_its_three(loop: Loop, tmp_path: Path) -> None:
    with (tmp_path / "inherited").open("w") as file, (tmp_path / "ours").open("w"):
        os.set_inheritable(file.fileno(), True)
        programs = [sh(loop, "echo; cat") for _ in range(2)]
        for program in programs:
            hear(loop, program, b"\n")  # it has closed its libraries' files
            assert {*descriptors(program.pid)} == {"0", "1", "2"}
            assert descriptors(program.pid)["2"] == descriptors()["2"]
        # The input of one ends, although the other runs.
        assert [talk(loop, program, b"words") for program in programs] == [b"words"] * 2


def test_it_leads_a_session_and_a_group_of_its_own(loop: Loop) -> None:
    program = start(loop, "cat")
    assert os.getsid(program.pid) == os.getpgid(program.pid) == program.pid
    talk(loop, program)


def test_it_ignores_and_blocks_no_signal(loop: Loop) -> None:
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        status = talk(loop, start(loop, "cat", "/proc/self/status")).decode()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        for number, handler in before.items():
            signal.signal(number, handler)
    blocked, ignored = (int(mask, 16) for mask in re.findall(r"Sig(?:Blk|Ign):\t(\w+)", status))
    of_the_c_library = 1 << 31 | 1 << 32  # glibc's posix_spawn leaves its own two ignored
    assert (blocked, ignored & ~of_the_c_library) == (0, 0)


@pytest.fixture
def _little_limit() -> Iterator[None]:
    """A shell's `ulimit -Sn 300`."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
    limits.limit_at_start.cache_clear()
    yield
    limits.limit_at_start.cache_clear()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_little_limit")
@pytest.mark.parametrize("in_terminal", [False, True])
def test_it_may_have_as_many_descriptors_as_we_might_at_our_start(
    loop: Loop, in_terminal: bool
) -> None:
    limits.raise_limit()
    raised = resource.getrlimit(resource.RLIMIT_NOFILE)
    program = sh(loop, "ulimit -Sn; ulimit -Hn", in_terminal=in_terminal)
    assert talk(loop, program).split() == [b"300", str(raised[1]).encode()]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == raised != (300, raised[1])


@pytest.mark.usefixtures("_little_limit")
def test_many_clients_do_not_stand_in_the_way_of_that(loop: Loop) -> None:
    limits.raise_limit()
    with ExitStack() as held:
        for _ in range(400):
            held.callback(os.close, os.dup(0))
        program = sh(loop, "ulimit -Sn")
        assert 400 < int(talk(loop, program)) < 450


# What cannot be started.


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nosuch", "No such file or directory"),
        ("./nosuch", "No such file or directory"),
        ("/etc/passwd", "Permission denied"),
        ("/", "No such file or directory"),
        ("empty", "Exec format error"),
    ],
)
def test_what_cannot_be_run_is_named(loop: Loop, tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "empty").touch(mode=0o755)
    with pytest.raises(LocalError) as error:
        Command([name], {"PATH": str(tmp_path)}).start(loop, {})
    assert str(error.value) == f"--exec: cannot run {name!r}: {reason}"
    assert type(error.value) is LocalError


def test_the_first_on_the_path_that_may_be_run_is_taken(loop: Loop, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("plain", "folder", "program", "another")]
    (folders[1] / "tool").mkdir(parents=True)
    for folder, mode in zip(folders, (0o644, None, 0o755, 0o755), strict=True):
        if mode:
            folder.mkdir()
            (folder / "tool").write_text(f"#!/bin/sh\necho {folder.name}\n")
            (folder / "tool").chmod(mode)
    command = Command(["tool"], {"PATH": ":".join(map(str, folders))})
    assert talk(loop, command.start(loop, {})) == b"program\n"


@pytest.mark.usefixtures("_little_limit")
@pytest.mark.parametrize("left", range(5))
def test_without_descriptors_nothing_is_started_and_nothing_left_open(
    loop: Loop, left: int
) -> None:
    command, before = Command(["cat"], os.environ), descriptors()
    held = all_that_are_left()
    for fd in held[:left]:
        os.close(fd)
    try:
        if left < 4:
            with pytest.raises(OutOfDescriptors, match="cannot run 'cat': Too many open files"):
                command.start(loop, {})
        else:  # there is none to wait with, and that is no hindrance
            assert talk(loop, command.start(loop, {}), b"words") == b"words"
    finally:
        for fd in held[left:]:
            os.close(fd)
    assert descriptors().keys() <= before.keys()


def all_that_are_left() -> list[int]:
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        return taken


# How its end is met.


@pytest.fixture(params=["by a descriptor", "by looking"])
def _each_way_of_waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by looking":
        monkeypatch.delattr(os, "pidfd_open")


@pytest.mark.usefixtures("_each_way_of_waiting")
def test_it_is_reaped_as_soon_as_it_exits_also_if_its_output_goes_on(loop: Loop) -> None:
    program = sh(loop, "(sleep 0.3; echo late) & exit 4")
    began = time.monotonic()
    loop.run(Done(program.changed, lambda: program.status is not None))
    assert program.gone
    assert program.status == 4
    assert time.monotonic() - began < 0.25
    assert not Path(f"/proc/{program.pid}").exists()
    assert talk(loop, program) == b"late\n"


def test_a_parent_that_ignores_its_children_does_not_hide_how_ours_exit(loop: Loop) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert until_gone(loop, sh(loop, "exit 5")) == 5
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_many_leave_nothing_behind(loop: Loop) -> None:
    before = descriptors()
    command = Command(["true"], os.environ)
    for _ in range(20):
        programs = [command.start(loop, {}) for _ in range(10)]
        assert [until_gone(loop, program) for program in programs] == [0] * 10
        assert not any(Path(f"/proc/{program.pid}").exists() for program in programs)
    assert descriptors().keys() <= before.keys()


# How it is hung up.


@pytest.fixture
def _little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "HANGUP_GRACE", 1.0)


@pytest.mark.usefixtures("_little_grace", "_each_way_of_waiting")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"echo; {ENDLESS}", 128 + signal.SIGHUP),
        (f"trap 'exit 5' HUP; echo; {ENDLESS}", 5),
        (f"trap '' HUP; echo; {ENDLESS}", 128 + signal.SIGKILL),
        (f"trap 'sleep 0.1; exit 6' HUP; echo; {ENDLESS}", 6),
    ],
)
def test_it_ends_within_the_grace_or_is_killed(loop: Loop, line: str, status: int) -> None:
    program = sh(loop, line)
    hear(loop, program, b"\n")
    assert hung_up(loop, program) == status


@pytest.mark.usefixtures("_little_grace")
@pytest.mark.parametrize("traps", ["", "trap '' HUP; "], ids=["dies", "ignores it"])
def test_what_it_has_started_is_hung_up_with_it(loop: Loop, traps: str) -> None:
    program = sh(loop, f"({traps}echo ready; {ENDLESS}) & echo $!; wait")
    heard = hear(loop, program, rb"(?s)^(?=.*\d\n)(?=.*ready\n)")
    child = int(heard.replace(b"ready", b""))
    assert running(child)
    assert hung_up(loop, program) == 128 + signal.SIGHUP
    wait_for_state(child, "Z")


def test_what_it_has_started_may_clean_up_although_its_leader_has_gone(
    loop: Loop, tmp_path: Path
) -> None:
    script, done = tmp_path / "script", tmp_path / "done"
    script.write_text(f"trap 'sleep 0.3; touch {done}; exit' HUP; echo; {ENDLESS}")
    program = sh(loop, f"sh {script} & wait")
    hear(loop, program, b"\n")
    assert hung_up(loop, program) == 128 + signal.SIGHUP
    assert done.exists()


def test_a_stopped_one_is_hung_up_all_the_same(loop: Loop) -> None:
    program = sh(loop, f"trap 'exit 7' HUP; echo; {ENDLESS}")
    hear(loop, program, b"\n")
    os.kill(program.pid, signal.SIGSTOP)
    wait_for_state(program.pid, "T")
    assert hung_up(loop, program) == 7


def test_what_was_left_running_is_nobodys_to_hang_up(loop: Loop) -> None:
    """Its group may be somebody else's by then."""
    program = sh(loop, "(sleep 0.3; echo late) & exit 4")
    loop.run(Done(program.changed, lambda: program.gone))
    program.hang_up()
    assert talk(loop, program) == b"late\n"


def test_what_cannot_be_ended_is_waited_for_no_longer(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waits for a disk, or that has become somebody else's, as this one seems to have."""
    monkeypatch.setattr(process, "HANGUP_GRACE", 0.1)
    monkeypatch.setattr(process, "KILL_GRACE", 0.1)
    program = start(loop, "sleep", "100")
    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", refuse)
        assert hung_up(loop, program) is None
    os.kill(program.pid, signal.SIGKILL)
    os.waitpid(program.pid, 0)


def refuse(group: int, number: int) -> None:
    raise PermissionError


# A terminal of its own.


@pytest.mark.parametrize(
    ("line", "said", "heard"),
    [
        ("tty <&0; test -t 1 && test -t 2 && echo all", b"", rb"/dev/pts/\d+\r\nall\r\n"),
        ("echo found >/dev/tty", b"", rb"found\r\n"),
        ("stty size", b"", rb"24 80\r\n"),
        ("echo $TERM", b"", rb"as-it-is\r\n"),
        ("cat", b"words\n", rb"words\r\nwords\r\n"),
        ("cat", b"no newline", rb"no newlineno newline"),
        ("cat; cat", b"words\n", rb"words\r\nwords\r\n"),
        ("stty -echo; echo; cat", b"", rb"\r\n"),
    ],
)
def test_in_a_terminal(loop: Loop, line: str, said: bytes, heard: bytes) -> None:
    variables = {"PATH": os.environ["PATH"], "TERM": "as-it-is"}
    program = sh(loop, line, variables=variables, in_terminal=True)
    assert re.fullmatch(heard, talk(loop, program, said))
    assert program.status == 0


CTRL_C, CTRL_Z = b"\x03", b"\x1a"
BASH = ("bash", "--norc", "--noprofile", "-i")
PYTHON = (sys.executable, "-q", "-i")


@pytest.mark.parametrize(
    ("argv", "said", "heard"),
    [
        (BASH, b"echo $((6*7))\n", b"42\r\n"),
        (BASH, b"sleep 0.3; echo $((6*7))\n", b"42\r\n"),
        (BASH, b"cat\n", b"exit\r\n"),
        (("sh", "-i"), b"echo $((6*7))\n", b"42\r\n"),
        (("sh", "-i"), b"echo $((6*7))", b"42\r\n"),
        (PYTHON, b"print(6*7)\n", b"42\r\n"),
        (PYTHON, b"import time; time.sleep(0.3); print(6*7)\n", b"42\r\n"),
        (BASH, b"sh -i\necho $((6*7))\n", b"42\r\n"),
    ],
)
def test_the_end_of_what_is_typed_ends_who_reads_it(
    loop: Loop, argv: tuple[str, ...], said: bytes, heard: bytes
) -> None:
    """A line editor changes the terminal's mode, and takes the key for the end by itself."""
    assert heard in talk(loop, start(loop, *argv, in_terminal=True), said)


def test_a_shell_in_a_terminal_controls_its_jobs(loop: Loop) -> None:
    """The keys for that also drop what the terminal has not shown yet, which may be a prompt."""
    program = start(loop, *BASH, in_terminal=True)
    sleeping = b"sh -c 'echo $((6*7)); exec sleep 100'\n"
    for said, heard in (
        (sleeping, b"42\r\n"),
        (CTRL_C + b"echo $?\n", b"130\r\n"),
        (sleeping, b"42\r\n"),
        (CTRL_Z + b"jobs\n", rb"jobs\r\n(?s:.*)Stopped.*sleep 100"),
    ):
        program.ends.sink.write(said)
        hear(loop, program, heard)
    assert b"exit\r\n" in talk(loop, program, b"kill -9 %1; exit\nexit\n")


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_what_it_leaves_running_does_not_keep_its_terminal_open(loop: Loop, size: int) -> None:
    """All that it has written itself is read."""
    line = f"trap '' HUP; sleep 100 & echo $!; head -c {size} /dev/zero; exit 5"
    program = sh(loop, line, in_terminal=True)
    heard = Record()
    move_in(loop, (program.ends.source, heard))
    assert until_gone(loop, program) == 5
    number, _, zeros = heard.data.partition(b"\r\n")
    assert running(int(number))
    os.kill(int(number), signal.SIGKILL)
    assert zeros == bytes(size)


def test_what_is_typed_when_nobody_has_the_terminal_is_dropped(loop: Loop) -> None:
    program = sh(loop, "exec <&- >&- 2>&-; sleep 0.3; exit 3", in_terminal=True)
    with pytest.raises(EndOfStream):
        hear(loop, program, b"anything")
    assert program.ends.sink.write(MUCH) == len(MUCH)
    program.ends.sink.end()
    assert until_gone(loop, program) == 3


def test_one_that_does_not_read_what_is_typed_stops_who_types(loop: Loop) -> None:
    program = sh(loop, f"stty raw -echo; echo; {ENDLESS}", in_terminal=True)
    hear(loop, program, b"\n")
    with pytest.raises(WouldBlock):
        write_often(program.ends.sink)
    assert hung_up(loop, program) == 128 + signal.SIGHUP


def write_often(sink: Sink) -> None:
    for _ in range(1000):
        sink.write(MUCH)


def test_a_key_that_nobody_has_read_is_not_pressed_again(loop: Loop) -> None:
    """One who reads without the terminal's help finds a NUL for each, and then the key itself."""
    line = "stty -echo; sleep 0.5; stty -icanon min 0 time 3; cat -v"
    assert re.fullmatch(rb"\^@(\^D)+", talk(loop, sh(loop, line, in_terminal=True)))


def test_the_key_for_the_end_is_the_one_that_the_terminal_has(loop: Loop) -> None:
    program = sh(loop, "stty -echo eof x; echo; exec cat", in_terminal=True)
    hear(loop, program, b"\n")
    assert talk(loop, program, b"\x04\n") == b"\x04\r\n"


def test_a_key_for_the_end_that_is_not_there_is_not_pressed(loop: Loop) -> None:
    program = sh(loop, "stty -echo eof undef; echo; exec cat", in_terminal=True)
    hear(loop, program, b"\n")
    for _ in range(3):
        with pytest.raises(WouldBlock):
            program.ends.sink.end()
    program.ends.sink.write(b"a line\n")
    assert hear(loop, program, b"\n") == b"a line\r\n"
    assert hung_up(loop, program) == 128 + signal.SIGHUP


@pytest.mark.parametrize(
    ("ours", "its"), [((132, 50), (132, 50)), ((0, 0), (80, 24)), (None, (80, 24))]
)
def test_a_terminal_is_as_large_as_ours(
    ours: tuple[int, int] | None, its: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def size(fd: int) -> os.terminal_size:
        if fd < 2 or ours is None:
            raise OSError
        return os.terminal_size(ours)

    monkeypatch.setattr(os, "get_terminal_size", size)
    assert terminal_size() == its
