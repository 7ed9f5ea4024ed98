"""Names looked up in threads: nothing waits for a look-up but who asked for it.

The name server is a function here, which answers when a test lets it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness import PATIENCE, descriptors, needs_ipv6
from hypothesis import given
from hypothesis import strategies as st

from pync.errors import LocalError, ResolveError, UsageError
from pync.loop import Loop
from pync.options import Options
from pync.stream import WouldBlock
from pync.transports import resolver
from pync.transports.inet import InetAddress
from pync.transports.resolver import NAME, THREADS, WAITING, Bounds, Question, Resolver

HERE = [InetAddress(socket.AF_INET, ("127.0.0.1", 80), "tcp", "here.test")]
NOTHING = Options()
SOMEBODY = "192.0.2.1"
SHARE = THREADS.each


class NameServer:
    """Answers each name at once, unless it is told to hold it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.held: dict[str, threading.Event] = {}
        self._answered = threading.Condition()

    def hold(self, *names: str) -> None:
        self.held.update({name: threading.Event() for name in names})

    def release(self, *names: str) -> None:
        for name in names:
            self.held[name].set()

    def find(self, host: str, port: int, protocol: str, options: Options) -> list[InetAddress]:
        with self._answered:
            self.asked.append(host)
            self._answered.notify_all()
        if host in self.held:
            assert self.held[host].wait(PATIENCE)
        if host.startswith("bad"):
            raise ResolveError(f"cannot resolve {host}: it is bad")
        return [InetAddress(socket.AF_INET, ("127.0.0.1", port), protocol, host)]

    def wait_for_questions(self, count: int) -> None:
        with self._answered:
            assert self._answered.wait_for(lambda: len(self.asked) >= count, PATIENCE)


class Asking:
    """A task that waits for an answer.  order: where it notes that it came."""

    def __init__(self, lookup: Question, name: str, order: list[str]) -> None:
        self.lookup = lookup
        self.found: list[InetAddress] = []
        self.error = ""
        self._name = name
        self._order = order

    def advance(self) -> bool:
        try:
            self.found = self.lookup.finish()
        except ResolveError as error:
            self.error = str(error)
        self._order.append(self._name)
        return False


class Case:
    """A loop with a resolver in it, and a name server behind that."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.server = NameServer()
        self.resolver = Resolver(loop, self.server.find)
        self.order: list[str] = []

    def look_up(
        self, name: str, port: int = 80, options: Options = NOTHING, owner: str = SOMEBODY
    ) -> Question:
        return self.resolver.look_up(name, port, "tcp", options, owner)

    def ask(self, name: str, port: int = 80, owner: str = SOMEBODY) -> Asking:
        """Begin to look up `name`."""
        asking = Asking(self.look_up(name, port, owner=owner), name, self.order)
        self.loop.spawn(asking)
        return asking

    def occupy(self, count: int, owner: str = SOMEBODY) -> list[Asking]:
        """Begin to look up so many names that are held, and of which each gets a thread."""
        names = [f"held-for-{owner}-{number}.test" for number in range(count)]
        self.server.hold(*names)
        already = len(self.server.asked)
        asked = [self.ask(name, owner=owner) for name in names]
        self.server.wait_for_questions(already + count)
        return asked

    def occupy_all(self) -> None:
        """Every thread that there may be, with owners that have their share each."""
        for number in range(THREADS.in_all // SHARE):
            self.occupy(SHARE, f"owner{number}")

    def run_until(self, count: int) -> None:
        """Run the loop until so many answers have come."""
        self.loop.run(Until(self, count))


class Until:
    """A task that is over once a case has `count` answers, and fails if that takes too long."""

    def __init__(self, case: Case, count: int) -> None:
        self._case = case
        self._count = count
        self._deadline = case.loop.clock() + PATIENCE

    def advance(self) -> bool:
        if len(self._case.order) >= self._count:
            return False
        assert self._case.loop.clock() < self._deadline, self._case.order
        raise WouldBlock(after=0.001)


@contextmanager
def cases() -> Iterator[Case]:
    """One, and no thread of it is left afterwards."""
    with Loop() as loop:
        made = Case(loop)
        try:
            yield made
        finally:
            made.resolver.close()
            made.server.release(*made.server.held)
            wait_for_threads()


def threads() -> int:
    """How many look up names, or could."""
    return sum(thread.name == NAME for thread in threading.enumerate())


def wait_for_threads() -> None:
    """Until they have all ended."""
    deadline = time.monotonic() + PATIENCE
    while threads():
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.fixture
def case() -> Iterator[Case]:
    with cases() as made:
        yield made


def test_a_name_is_looked_up(case: Case) -> None:
    asking = case.ask("here.test")
    case.run_until(1)
    assert asking.found == HERE
    assert asking.lookup.finish() == HERE  # and again


def test_an_error_is_the_asker_s(case: Case) -> None:
    bad, good = case.ask("bad.test"), case.ask("here.test")
    case.run_until(2)
    assert (bad.error, good.error) == ("cannot resolve bad.test: it is bad", "")


def test_the_system_looks_up_names() -> None:
    with Loop() as loop:
        real = Resolver(loop)
        asking = Asking(real.look_up("localhost", 80, "tcp", Options(ipv4=True), SOMEBODY), "", [])
        loop.run(asking)
        real.close()
    wait_for_threads()
    assert [address.sockaddr for address in asking.found] == [("127.0.0.1", 80)]


# --- what needs no thread ---


@pytest.mark.parametrize(
    ("host", "options", "found"),
    [
        ("127.0.0.1", NOTHING, ("127.0.0.1", 80)),
        ("127.0.0.1", Options(nodns=True), ("127.0.0.1", 80)),
        pytest.param("::1", NOTHING, ("::1", 80, 0, 0), marks=needs_ipv6),
    ],
)
def test_a_number_is_answered_at_once(
    case: Case, host: str, options: Options, found: tuple[object, ...]
) -> None:
    lookup = case.look_up(host, options=options)
    assert [address.sockaddr for address in lookup.finish()] == [found]
    assert case.server.asked == []


@pytest.mark.parametrize(
    ("host", "options", "told"),
    [
        ("", NOTHING, "cannot resolve '': empty"),
        ("a.test\0b.test", NOTHING, "not a name: there is a control character in it"),
        ("a..b", NOTHING, "cannot resolve a..b: not a host name"),
        ("here.test", Options(nodns=True), "'here.test' is a name, and --nodns forbids"),
    ],
)
def test_what_is_no_name_is_refused_at_once(
    case: Case, host: str, options: Options, told: str
) -> None:
    with pytest.raises(ResolveError, match=told):
        case.look_up(host, options=options).finish()
    assert case.server.asked == []


@given(st.text(max_size=80))
def test_any_host_that_is_asked_for_has_an_answer(host: str) -> None:
    answer = resolver.without_search(host, 80, "tcp", Options(nodns=True))
    assert answer
    assert answer.error or answer.found


# --- nobody waits for others ---


def test_a_slow_look_up_holds_up_no_other(case: Case) -> None:
    case.server.hold("slow.test")
    for name in ("slow.test", "a.test", "b.test"):
        case.ask(name)
    case.run_until(2)
    assert sorted(case.order) == ["a.test", "b.test"]
    case.server.release("slow.test")
    case.run_until(3)
    assert case.order[2] == "slow.test"


def test_answers_come_in_the_order_in_which_they_are_found(case: Case) -> None:
    names = [f"{number}.test" for number in range(SHARE)]
    case.server.hold(*names)
    for name in names:
        case.ask(name)
    for count, name in enumerate(reversed(names), 1):
        case.server.release(name)
        case.run_until(count)
    assert case.order == names[::-1]


def test_each_of_many_gets_its_own_answer(case: Case) -> None:
    asked = [case.ask(f"{number}.test", number) for number in range(1, 1001)]
    case.run_until(len(asked))
    assert [(one.found[0].name, one.found[0].port) for one in asked] == [
        (f"{number}.test", number) for number in range(1, 1001)
    ]


def test_threads_are_there_when_they_are_needed_and_no_longer(case: Case) -> None:
    case.ask("127.0.0.1")
    assert threads() == 0
    for count in range(1, SHARE + 1):
        case.occupy(1, f"owner{count}")
        assert threads() == count
    case.server.release(*case.server.held)
    wait_for_threads()
    case.ask("here.test")
    case.run_until(SHARE + 2)


# --- bounds ---


def test_threads_are_few_in_all(case: Case) -> None:
    case.occupy_all()
    case.ask("a.test", owner="late")
    case.ask("b.test")
    assert threads() == THREADS.in_all
    case.server.release(*case.server.held)
    case.run_until(THREADS.in_all + 2)


def test_one_owner_s_slow_names_hold_up_no_other_owner_s(case: Case) -> None:
    """Its own wait for each other, so many as it likes."""
    case.occupy(SHARE)
    for number in range(SHARE):
        case.ask(f"waits{number}.test")
    assert threads() == SHARE
    for number in range(3):
        case.ask(f"here{number}.test", owner="another")
        case.run_until(number + 1)
    assert case.order == ["here0.test", "here1.test", "here2.test"]
    case.server.release(*case.server.held)
    case.run_until(2 * SHARE + 3)


def test_to_ask_and_to_leave_does_not_give_more_threads(case: Case) -> None:
    for asking in case.occupy(SHARE):
        case.loop.cancel(asking)
        asking.lookup.abandon()
    case.ask("waits.test")
    case.ask("here.test", owner="another")
    case.run_until(1)
    assert case.order == ["here.test"]
    assert threads() <= SHARE + 1
    case.server.release(next(iter(case.server.held)))
    case.run_until(2)


def test_a_thread_that_comes_back_is_for_the_first_that_may_have_it(case: Case) -> None:
    case.occupy_all()
    for name, owner in (("greedy.test", "owner0"), ("a.test", "late"), ("b.test", "late")):
        case.ask(name, owner=owner)
    case.server.release("held-for-owner1-0.test")
    case.run_until(3)
    assert case.order == ["held-for-owner1-0.test", "a.test", "b.test"]
    case.server.release("held-for-owner0-0.test")
    case.run_until(5)
    assert case.order[3:] == ["held-for-owner0-0.test", "greedy.test"]


def test_what_waits_is_bounded(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each owner, and in all."""
    monkeypatch.setattr(resolver, "WAITING", Bounds(in_all=3, each=2))
    case.occupy_all()
    for name in ("a.test", "b.test"):
        case.ask(name)
    refused = pytest.raises(ResolveError, match=r"c\.test: too many names are being looked up")
    with refused:
        case.look_up("c.test").finish()
    case.ask("a.test", owner="another")
    with refused:
        case.look_up("c.test", owner="late").finish()
    case.server.release(*case.server.held)
    case.run_until(THREADS.in_all + 3)
    late = case.ask("c.test")
    case.run_until(THREADS.in_all + 4)
    assert late.found


def test_who_floods_is_refused_and_others_are_not(case: Case) -> None:
    case.occupy_all()
    flood = [case.look_up(f"{number}.test") for number in range(2 * WAITING.each)]
    assert sum(map(settled, flood)) == WAITING.each
    assert not settled(case.look_up("waits.test", owner="another"))


def settled(question: Question) -> bool:
    """Whether there is an answer, which is a refusal where there are no threads for it."""
    try:
        question.finish()
    except WouldBlock:
        return False
    except ResolveError:
        pass
    return True


def test_an_abandoned_look_up_takes_no_room_and_asks_nobody(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "WAITING", Bounds(in_all=1, each=1))
    case.occupy(SHARE)
    for number in range(100):
        case.look_up(f"gone{number}.test").abandon()
    wanted = case.ask("wanted.test")
    case.server.release(*case.server.held)
    case.run_until(SHARE + 1)
    assert wanted.found
    assert not [name for name in case.server.asked if name.startswith("gone")]


def test_one_that_is_abandoned_while_it_is_looked_up_harms_nobody(case: Case) -> None:
    case.server.hold("slow.test")
    slow = case.ask("slow.test")
    case.server.wait_for_questions(1)
    case.loop.cancel(slow)
    slow.lookup.abandon()
    case.server.release("slow.test")
    case.ask("here.test")
    case.run_until(1)
    assert case.order == ["here.test"]


def test_without_threads_there_is_an_error(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ResolveError, match="the system gives no thread for it"):
        case.look_up("here.test").finish()


# --- the end ---


def test_a_look_up_that_hangs_at_the_end_touches_nobody_s_descriptor() -> None:
    """Its thread comes back when others have the descriptors' numbers."""
    with cases() as case:
        case.server.hold("slow.test")
        case.look_up("slow.test")
        case.server.wait_for_questions(1)
        held = descriptors()
        case.resolver.close()
        assert len(held) - len(descriptors()) == 2
        ours, theirs = socket.socketpair()
        with ours, theirs:
            assert {str(ours.fileno()), str(theirs.fileno())} <= held.keys()
            case.server.release("slow.test")
            wait_for_threads()
            for end in (ours, theirs):
                end.setblocking(False)
                with pytest.raises(BlockingIOError):
                    end.recv(1)


def test_it_may_be_closed_twice_and_with_answers_that_nobody_took() -> None:
    with cases() as case:
        case.look_up("here.test")
        case.server.wait_for_questions(1)
        case.resolver.close()
        case.resolver.close()


HANGS = """
import threading
from pync.loop import Loop
from pync.options import Options
from pync.transports.resolver import Resolver

asked = threading.Event()

def hang(*_):
    asked.set()
    threading.Event().wait()

with Loop() as loop:
    resolver = Resolver(loop, hang)
    resolver.look_up("hangs.test", 80, "tcp", Options(), "")
    asked.wait()
    resolver.close()
print("over")
"""


def test_a_look_up_that_hangs_does_not_delay_the_end_of_the_process() -> None:
    told = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, timeout=PATIENCE, check=True
    )
    assert (told.stdout, told.stderr) == (b"over\n", b"")


def test_an_idle_resolver_costs_nothing(case: Case) -> None:
    """The loop hears of it only when there is an answer."""
    case.ask("here.test")
    case.run_until(1)
    with pytest.raises(WouldBlock):
        case.resolver.advance()


@pytest.mark.parametrize("error", [UsageError("u"), LocalError("l")])
def test_whatever_pync_raises_there_is_a_resolve_error(error: Exception) -> None:
    def fail(*question: object) -> list[InetAddress]:
        raise error

    with Loop() as loop:
        failing = Resolver(loop, fail)
        asking = Asking(failing.look_up("here.test", 80, "tcp", NOTHING, SOMEBODY), "", [])
        loop.run(asking)
        failing.close()
    wait_for_threads()
    assert asking.error == str(error)
