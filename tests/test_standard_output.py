"""Standard output while somebody else holds it open too, as a shell does."""

from __future__ import annotations

import os
import socket

from harness import PIPE
from plain_peer import ended_within, joined


def test_an_output_that_was_closed_is_not_watched_any_more() -> None:
    """epoll goes on about a pipe that we have closed as long as another process has it."""
    reading, writing = os.pipe()
    with joined("connects", "--linger", "1m", stdin=PIPE, stdout=writing) as (pync, peer):
        peer.sendall(b"all")
        peer.shutdown(socket.SHUT_WR)
        assert os.read(reading, 100) == b"all"
        assert not ended_within(pync, 0.2)
        os.close(reading)
        before = pync.cpu_seconds
        assert not ended_within(pync, 0.5)
        assert pync.cpu_seconds - before < 0.03
        pync.end()
        assert pync.finish().status == 0
    os.close(writing)


def test_a_reader_that_leaves_is_noticed_although_another_process_may_write_too() -> None:
    reading, writing = os.pipe()
    with joined("connects", stdin=PIPE, stdout=writing) as (pync, _):
        os.close(reading)
        assert pync.finish().status == 141
    os.close(writing)
