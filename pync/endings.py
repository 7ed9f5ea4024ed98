"""The ending rules: when a session ends, and how.

They stand in two tables, ENDINGS while a session runs and CLOSINGS once it has
been decided that it ends.  A row says when it is due, as a time on the loop's
clock (AT_ONCE, a moment to come, NEVER), and what is done then; of the rows
that are due the first wins.

Where a row depends on something that changes without notice (bytes held, bytes
unacknowledged), it is due at the next moment worth looking, and finds then that
it is due later still.

"Inward" is from standard input to the network, "outward" the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EPIPE
from typing import TYPE_CHECKING, NamedTuple

from pync.errors import ConnectionLost, LocalError, PyncError, TimedOut
from pync.stream import NEVER

if TYPE_CHECKING:
    from pync.flow import Flow
    from pync.session import Session

AT_ONCE = float("-inf")
DRAIN = 2.0  # seconds that a closing connection may be kept open by what the peer still sends
GRACE = 1.0  # seconds without progress that a closing session gives what is on its way
FIRST_LOOK, LAST_LOOK = 0.001, 0.05  # seconds between looks at what is unacknowledged
LOOK_FOR_PEER = 10.0  # seconds between looks whether a peer of whom nothing comes is still there


class Terms(NamedTuple):
    """What the options say about the ending.  Times are seconds; None: no limit.

    keeps_end_back: our end waits for the peer's while stdin has given nothing.
    end_after_silence: or until the peer has said nothing for so long.
    sends_end: stdin's end is passed on.
    one_way: nothing is wanted of the peer.
    peer_end_is_final: nothing is wanted of stdin once the peer has ended.
    quit_after: from stdin's end to ours.
    reply_wait: from the last reply to our end, once stdin has ended.
    idle: from the last movement to a quiet end.  idle_failure: to an error.
    forgives_pause: whoever takes what the peer sends may make one, and that is not idleness.
    silence: from the peer's last byte to a quiet end, whatever it is sent.
    linger: what a silent stdin gets once the peer has ended.
    looks_for_peer: from the peer's end to the first look for it, since it may have gone.
    looks_for_reset: and one of whom nothing is read, since what it has sent is not taken.
    passes_failure: the peer is to see a failure as such, also if it has all that there was.
    keeps_unsent: there will be another peer, for what stdin has given and this one has not got.
    """

    keeps_end_back: bool = False
    end_after_silence: float | None = None
    sends_end: bool = True
    one_way: bool = False
    peer_end_is_final: bool = False
    quit_after: float | None = None
    reply_wait: float | None = None
    idle: float | None = None
    idle_failure: float | None = None
    forgives_pause: bool = True
    silence: float | None = None
    linger: float = 2.0
    looks_for_peer: float = NEVER
    looks_for_reset: bool = False
    passes_failure: bool = False
    keeps_unsent: bool = False


class Closing:
    """How a session ends once it has been decided that it does.

    error: raised at the end.  abrupt: by a reset, not by our end.  drain_until:
    until then the peer may still send, and is not listened to.  patience:
    seconds without progress until what is undelivered is given up.  keeps_unsent: nor is
    what has been taken and not sent yet.
    """

    def __init__(
        self,
        *,
        error: PyncError | None = None,
        abrupt: bool = False,
        drain_until: float = AT_ONCE,
        patience: float | None = None,
        keeps_unsent: bool = False,
    ) -> None:
        self.keeps_unsent = keeps_unsent
        self.error = error
        self.abrupt = abrupt
        self.drain_until = drain_until
        self.patience = patience
        self.drain: Flow | None = None
        self.since = NEVER  # when it began


class Rule(NamedTuple):
    """A row: when it is due, and what is then done; act returns whether to go on."""

    due: Callable[[Session], float]
    act: Callable[[Session], bool]


def at_once(condition: object) -> float:
    return AT_ONCE if condition else NEVER


def quiet_since(session: Session, direction: Flow) -> float:
    """When a direction last moved; now, as long as it has something that it would move."""
    return session.clock() if direction.stuck else direction.moved_at


# When something is due.


def output_failed(session: Session) -> float:
    return at_once(session.outward.over and session.outward.error)


def input_failed(session: Session) -> float:
    return at_once(isinstance(session.inward.error, LocalError))


def sending_failed(session: Session) -> float:
    """The peer takes no more; what it still sends is read, to its end or its silence."""
    if session.inward.error is None:
        return NEVER
    if session.outward.over:
        return AT_ONCE
    patience = GRACE if session.remote.has_end else LAST_LOOK
    return max(session.inward.over_at, quiet_since(session, session.outward)) + patience


def both_ended(session: Session) -> float:
    return at_once(session.inward.over and session.outward.over)


def peer_left(session: Session) -> float:
    """Another one is waited for."""
    more = session.terms.keeps_unsent and session.inward.drained_at == NEVER
    return at_once(session.outward.over and more)


def peer_ended_for_good(session: Session) -> float:
    final = session.terms.peer_end_is_final or not session.remote.has_end
    return at_once(session.outward.over and final)


def input_silent(session: Session) -> float:
    """The peer has ended, and stdin says nothing."""
    if not session.outward.over or session.inward.drained_at < NEVER:
        return NEVER
    last = max(session.outward.drained_at, quiet_since(session, session.inward))
    return last + session.terms.linger


def quit_time(session: Session) -> float:
    limit = session.terms.quit_after
    return NEVER if limit is None else session.inward.drained_at + limit


def all_sent(session: Session) -> float:
    return at_once(session.terms.one_way and session.inward.over)


def no_reply(session: Session) -> float:
    if session.terms.reply_wait is None or not session.inward.over:
        return NEVER
    last = max(session.inward.drained_at, quiet_since(session, session.outward))
    return last + session.terms.reply_wait


def peer_silent(session: Session) -> float:
    limit = session.terms.silence
    return NEVER if limit is None else quiet_since(session, session.outward) + limit


def absent(session: Session) -> float:
    """One that has ended says nothing when it goes: raises what it is found to have left."""
    first, now = session.outward.over_at + session.terms.looks_for_peer, session.clock()
    if now < first:
        return first
    session.remote.sink.knock()
    return now + min(max(now - first, FIRST_LOOK), LOOK_FOR_PEER)


def unheard(session: Session) -> float:
    """A reset is heard behind what came before it, if that is read: raises it all the same.

    But if the peer had ended, nothing of that is missing.
    """
    if not session.terms.looks_for_reset:
        return NEVER
    if session.outward.stuck:
        try:
            session.remote.sink.check()
        except ConnectionLost as lost:
            if lost.errno != EPIPE:
                raise
    return session.clock() + LOOK_FOR_PEER


def idle(session: Session) -> float:
    return idle_for(session, session.terms.idle)


def idle_too_long(session: Session) -> float:
    return idle_for(session, session.terms.idle_failure)


def idle_for(session: Session, limit: float | None) -> float:
    if limit is None:
        return NEVER
    last = session.progress_at
    if session.terms.forgives_pause:
        last = max(last, quiet_since(session, session.outward))
    due = last + limit
    if due > session.clock() and session.undelivered:
        return min(due, session.clock() + limit / 4)  # look whether they have been acknowledged
    return due


def failed_while_closing(session: Session) -> float:
    """A connection lost while draining does no harm once everything is acknowledged."""
    assert session.closing
    if session.closing.error or session.error is None:
        return NEVER
    if session.outward.held and not session.outward.over:
        return NEVER  # it is written first, as long as that moves
    draining = not (session.inward.error or session.outward.error)
    harmless = draining and isinstance(session.error, ConnectionLost)
    return at_once(not harmless or session.remote.sink.unacknowledged())


def all_settled(session: Session) -> float:
    """Everything has gone out, is acknowledged, and the peer has had time to take it."""
    closing, now = session.closing, session.clock()
    assert closing
    settled = session.inward.over or closing.keeps_unsent
    if not (settled or (closing.abrupt and session.inward.drained_at < NEVER)):
        return NEVER
    if not (closing.drain or session.outward.over):
        return NEVER
    if session.remote.sink.unacknowledged():
        session.remote.sink.check()
        return now + min(max(now - closing.since, FIRST_LOOK), LAST_LOOK)
    if closing.drain is None or closing.drain.over:
        return AT_ONCE
    return closing.drain_until


def out_of_patience(session: Session) -> float:
    assert session.closing
    only_draining = session.closing.drain and session.inward.over and not session.undelivered
    if session.closing.patience is None or only_draining:
        return NEVER
    due = max(session.progress_at, session.closing.since) + session.closing.patience
    return min(due, session.clock() + LAST_LOOK) if due > session.clock() else due


# What is done.


def fail(session: Session) -> bool:
    assert session.error
    raise session.error


def fail_once_delivered(session: Session) -> bool:
    """stdin broke off: the reset tells the peer that more was to come."""
    error = session.inward.error
    return session.close(Closing(error=error, abrupt=True, patience=GRACE))


def end_in_order(session: Session) -> bool:
    return session.close(Closing(patience=session.terms.idle))


def end_after_drain(session: Session) -> bool:
    """The peer may still send: a close with that unread would cost it our last bytes."""
    limit = DRAIN if session.terms.quit_after is None else session.terms.quit_after
    wanted = session.remote.has_end and session.inward.moved
    drain_until = session.clock() + limit if wanted else AT_ONCE
    return session.close(Closing(drain_until=drain_until, patience=session.terms.idle))


def end_by_reset(session: Session) -> bool:
    """A peer that still reads learns that more was to come."""
    return session.close(Closing(abrupt=True, patience=session.terms.idle))


def leave_for_another(session: Session) -> bool:
    return session.close(Closing(abrupt=True, keeps_unsent=True, patience=GRACE))


def end_now(session: Session) -> bool:
    """No more is waited for, but what is on its way still arrives as long as it moves."""
    return session.close(Closing(patience=GRACE))


def end_idle(session: Session) -> bool:
    if session.undelivered or session.inward.stuck:
        raise TimedOut(f"timed out after {session.terms.idle:g} s without progress")
    return end_now(session)


def fail_idle(session: Session) -> bool:
    raise TimedOut(f"timed out: idle for {session.terms.idle_failure:g} s")


def let_go(session: Session) -> bool:
    assert session.closing
    session.finish(session.closing.abrupt)
    if session.closing.error:
        raise session.closing.error
    return False


def report_timeout(session: Session) -> bool:
    assert session.closing
    if session.closing.error:
        raise session.closing.error
    unwritten = session.outward.held
    raise TimedOut(
        f"timed out: {unwritten} bytes received and not written" if unwritten else "timed out"
    )


ENDINGS = (
    Rule(output_failed, fail),
    Rule(input_failed, fail_once_delivered),
    Rule(sending_failed, fail),
    Rule(both_ended, end_in_order),
    Rule(peer_left, leave_for_another),
    Rule(peer_ended_for_good, end_after_drain),
    Rule(input_silent, end_by_reset),
    Rule(quit_time, end_now),
    Rule(all_sent, end_after_drain),
    Rule(no_reply, end_now),
    Rule(peer_silent, end_now),
    Rule(absent, fail),
    Rule(unheard, fail),
    Rule(idle, end_idle),
    Rule(idle_too_long, fail_idle),
)

CLOSINGS = (
    Rule(failed_while_closing, fail),
    Rule(all_settled, let_go),
    Rule(out_of_patience, report_timeout),
)
