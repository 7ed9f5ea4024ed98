"""Standard input and output where only sockets can be waited for, which is Windows.

A thread on each descriptor copies to or from a socket pair, and the loop sees
an ordinary socket.  The output's end waits for the thread to have written
everything, or to say what went wrong.
"""

from __future__ import annotations

import os
import socket
import threading

from pync.errors import LocalError, OutputClosed
from pync.stream import READ, WRITE, EndOfStream, Sink, Source, WouldBlock
from pync.transports.descriptors import put_null_in_place_of
from pync.transports.sockets import reason

CHUNK = 1 << 16


class ThreadedSource(Source):
    """What a thread reads from `fd`."""

    def __init__(self, fd: int) -> None:
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._error: OSError | None = None
        threading.Thread(target=self._pump, args=(fd, theirs), daemon=True).start()

    def _pump(self, fd: int, theirs: socket.socket) -> None:
        with theirs:
            try:
                while data := os.read(fd, CHUNK):
                    theirs.sendall(data)
            except OSError as error:
                self._error = error

    def read(self, limit: int) -> bytes:
        if self._ours.fileno() < 0:
            raise EndOfStream
        try:
            data = self._ours.recv(limit)
        except BlockingIOError:
            raise WouldBlock(self._ours.fileno(), READ) from None
        if data:
            return data
        if self._error:
            raise LocalError(f"cannot read standard input: {reason(self._error)}")
        self._ours.close()
        raise EndOfStream


class ThreadedSink(Sink):
    """What a thread writes to `fd`, which is closed at the end unless it is a terminal."""

    def __init__(self, fd: int) -> None:
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._error: OSError | None = None
        self._ended = False
        threading.Thread(target=self._pump, args=(fd, theirs), daemon=True).start()

    def _pump(self, fd: int, theirs: socket.socket) -> None:
        with theirs:
            try:
                while data := theirs.recv(CHUNK):
                    view = memoryview(data)
                    while view:
                        view = view[os.write(fd, view) :]
                if not os.isatty(fd):
                    put_null_in_place_of(fd)
            except OSError as error:
                self._error = error

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._ours.send(data)
        except BlockingIOError:
            raise WouldBlock(self._ours.fileno(), WRITE) from None
        except OSError as error:
            self._raise_error()
            raise LocalError(f"cannot write standard output: {reason(error)}") from None

    def end(self) -> None:
        if self._ours.fileno() < 0:
            return
        if not self._ended:
            self._ended = True
            self._ours.shutdown(socket.SHUT_WR)
        try:
            self._ours.recv(1)  # the thread closes its end once all is written
        except BlockingIOError:
            raise WouldBlock(self._ours.fileno(), READ) from None
        except OSError:
            pass
        self._ours.close()
        self._raise_error()

    def _raise_error(self) -> None:
        if isinstance(self._error, BrokenPipeError):
            raise OutputClosed("the reader of standard output has gone")
        if self._error:
            raise LocalError(f"cannot write standard output: {reason(self._error)}")


def standard_input(fd: int) -> Source:
    return ThreadedSource(fd)


def standard_output(fd: int) -> Sink:
    return ThreadedSink(fd)
