"""One of a proxy's two sides: a connection whose heads and bodies h11 reads and writes.

h11 keeps all that it is given and does not tell how much that is.  So it is given
what it can use, a piece at a time, and the rest waits where it can be counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import h11

from pync.address import printable
from pync.wire.http.auth import DEMAND

MOST_HEAD = 64 * 1024  # bytes, and up to a piece more
PIECE = 16 * 1024  # bytes that h11 is given at a time
UNANSWERED = (h11.IDLE, h11.SEND_RESPONSE)


class Side:
    """role: ours, h11.CLIENT or h11.SERVER."""

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        self.http = h11.Connection(role, MOST_HEAD)
        self._waiting = bytearray()
        self._ended = False
        self._to_send = bytearray()

    def put(self, data: bytes | memoryview) -> None:
        self._waiting += data

    def put_end(self) -> None:
        self._ended = True

    def events(self) -> Iterator[h11.Event]:
        """What has come, as far as it is whole and it is its turn; after the end, that again.

        Raises h11.RemoteProtocolError for what is no HTTP, or ends too early.
        """
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Event):
                yield event
            elif event is h11.PAUSED or not (self._waiting or self._ended):
                return
            else:
                self.http.receive_data(take(self._waiting, PIECE))  # none is the end

    def rest(self) -> bytes:
        """What has come behind the HTTP."""
        return self.http.trailing_data[0] + self._waiting

    def say(self, *events: h11.Event) -> None:
        for event in events:
            self._to_send += self.http.send(event) or b""

    def refuse(self, status: int, method: bytes, why: str = "", *, keep: bool = False) -> bool:
        """Answer so, as a server that closes the connection then; False if an answer has begun.

        why: the line that a person may read there.  keep: it does not close the connection,
        if the other side wants more of it.
        """
        if self.http.our_state not in UNANSWERED:
            return False
        phrase = HTTPStatus(status).phrase
        body = f"{printable(why or phrase)}\n".encode() if method != b"HEAD" else b""
        fields = [] if keep else [(b"Connection", b"close")]
        fields.append((b"Content-Length", b"%d" % len(body)))
        if body:
            fields.append((b"Content-Type", b"text/plain; charset=utf-8"))
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            fields.append((b"Proxy-Authenticate", DEMAND))
        response = h11.Response(status_code=status, reason=phrase, headers=fields)
        self.say(response, h11.Data(data=body), h11.EndOfMessage())
        return True

    def data_to_send(self, limit: int) -> bytes:
        return take(self._to_send, limit)

    @property
    def complaint(self) -> str:
        """What an h11.RemoteProtocolError means, to a person."""
        return "closed the connection too early" if self._ended else "makes no sense in HTTP"

    @property
    def begun(self) -> bool:
        """Whether something of a message has come, since the last one."""
        held, _ = self.http.trailing_data
        return bool(held or self._waiting) or self.http.their_state is not h11.IDLE

    @property
    def waiting(self) -> int:
        """Bytes that have come and not been looked at."""
        return len(self._waiting)

    @property
    def backlog(self) -> int:
        """Bytes that data_to_send has not given."""
        return len(self._to_send)


def take(buffer: bytearray, limit: int) -> bytes:
    """Remove and return the first `limit` bytes."""
    data = bytes(buffer[:limit])
    del buffer[:limit]
    return data
