"""An HTTP proxy's side towards its client: CONNECT, and requests for http://host/path.

How a task leads it.  It reads from the client, and sends what there is to send, until
`request` is there, and reads no more while it is.  Then it connects to the request's
host and port, or finds that it cannot or must not, and calls `grant` or `refuse`.

For CONNECT there is a tunnel then: when data_to_send is empty, bytes pass between the two
connections as they are; `surplus` is the first of those from the client.  For anything
else there is an Exchange.  It goes into a Stage, with the client's flows at its wire face
and the origin's at the plain one.  The flow to the client does not pass its end on; when
it is over, the one from the client is stopped, the origin closed, `resume` called, and all
begins anew.

A client that has to say who it is, and does not, is asked, and what it says next is taken
for the answer: it keeps its connection, and is not told before whether there is anything
where it wants to go.

Once `over`, or after a ProtocolError from any of this, what there is to send is sent, and
the connection closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h11

from pync.errors import ProtocolError
from pync.wire.dialogue import Check
from pync.wire.http.auth import read_basic
from pync.wire.http.exchange import Exchange
from pync.wire.http.heads import Request, read_request, skippable, values
from pync.wire.http.side import Side

MOST_SHOWN = 80  # bytes of a target in a message
MOST_ASKED = 8  # times that a client is asked who it is before it has to connect again
METHODS = b"CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"  # and others are passed on
UNKNOWN = "does not show valid credentials"
READY = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}


class HttpProxy:
    """A dialogue (see stage.Dialogue) with a client that may want several things in turn.

    check: whether this user has this password; None: anybody may.

    request: what the client wants.
    established: whether it has a tunnel.  surplus: what came from it that is the tunnel's.
    over: whether it will want nothing more.  failure: what is to be told of it then.
    """

    def __init__(self, check: Check | None = None) -> None:
        self.request: Request | None = None
        self.established = False
        self.surplus = b""
        self.over = False
        self._check = check
        self._client = Side(h11.SERVER)
        self.failure: ProtocolError | None = None
        self._asked = 0  # how often it has been asked who it is, without an answer
        self._steps: dict[type, Callable[[Any], None]] = {
            h11.Request: self._consider,
            h11.Data: lambda _: None,  # of a request that has its answer
            h11.EndOfMessage: self._begin_anew,
            h11.ConnectionClosed: self._finish,
        }

    def receive(self, data: bytes | memoryview) -> None:
        """These bytes came from the client.  What comes after a failure fails as well."""
        if self.established:
            self.surplus += data
        else:
            self._client.put(data)
            self._go_on()

    def receive_end(self) -> None:
        """The client's bytes have ended.  Raises ProtocolError in the middle of a request."""
        if not self.established:
            self._client.put_end()
            self._go_on()

    def late(self) -> None:
        """The client takes too long to say what it wants.  Raises ProtocolError if it has begun."""
        if self._client.begun and not self.over:
            raise self._fail(408, b"", "timed out in the middle of a request")

    def data_to_send(self, limit: int) -> bytes:
        """Up to `limit` bytes for the wire; empty if there is nothing now."""
        return self._client.data_to_send(limit)

    def refuse(self, status: int, why: str = "") -> None:
        """Answer the request with 403, 502, 504 or the like, unless a response has begun.

        why: told in so many words.
        """
        method = self.request.method.encode() if self.request else b""
        self._client.refuse(status, method, why)
        self.over = True

    def grant(self, _bound_host: str = "", _bound_port: int = 0) -> Exchange | None:
        """The connection to what is wanted stands.  None: a tunnel.  Raises as receive does."""
        assert self.request
        if self.request.head:
            return Exchange(self._client, self.request, self.resume)
        self._open_tunnel()
        return None

    def _open_tunnel(self) -> None:
        for _ in self._client.events():
            pass  # the end of the request
        self._client.say(h11.Response(status_code=200, reason="Connection established", headers=[]))
        self.surplus = self._client.rest()
        self.established = True

    def resume(self) -> None:
        """The exchange is over, and its origin out of the way.  Raises as receive does."""
        self.request = None
        self._begin_anew()
        self._go_on()

    def _begin_anew(self, _event: h11.EndOfMessage | None = None) -> None:
        if self._client.http.states == READY:
            self._client.http.start_next_cycle()
        else:
            self.over = True

    def _go_on(self) -> None:
        if self.failure:
            raise self.failure
        while not (self.request or self.over) and (event := self._next()):
            self._steps[type(event)](event)

    def _next(self) -> h11.Event | None:
        try:
            return next(self._client.events(), None)
        except h11.RemoteProtocolError as error:
            raise self._fail(error.error_status_hint, b"", self._client.complaint) from None

    def _finish(self, _event: h11.ConnectionClosed) -> None:
        self.over = True
        if self._asked:
            self._failed(UNKNOWN)

    def _consider(self, request: h11.Request) -> None:
        if not request.http_version.startswith(b"1."):
            why = f"speaks HTTP/{request.http_version.decode()}"
            raise self._fail(505, request.method, why, "HTTP/1.1 is spoken here")
        if self._check and not self._knows(request, self._check):
            self._ask(request)
            return
        self._asked = 0
        if request.method == b"TRACE":
            # The answer would show whoever made the client ask what was put into the request
            # on its way, secrets too.  OPTIONS finds a loop as well.
            raise self._fail(501, request.method, "asks for TRACE", "TRACE is not passed on")
        self.request = self._read(request)
        if self.request is None:
            self._tell_options(request)

    def _read(self, request: h11.Request) -> Request | None:
        try:
            return read_request(request)
        except ValueError as error:
            public = request.target.rpartition(b"@")[2]  # before that may stand a password
            shown = public[:MOST_SHOWN].decode()
            why = f"asks for {shown!r}: {error}"
            raise self._fail(400, request.method, why, str(error)) from None

    def _tell_options(self, request: h11.Request) -> None:
        """Answer as the last one whom the request may reach (RFC 9110 section 9.3.7)."""
        fields = [(b"Allow", METHODS), (b"Content-Length", b"0")]
        if not skippable(request):
            fields.append((b"Connection", b"close"))
        self._client.say(h11.Response(status_code=200, reason="OK", headers=fields))
        self._client.say(h11.EndOfMessage())
        self.over = self._client.http.our_state is not h11.DONE

    def _ask(self, request: h11.Request) -> None:
        """Who it is, before anything is looked at that could tell it something."""
        self._asked += 1
        keep = self._asked < MOST_ASKED and skippable(request)
        self._client.refuse(407, request.method, keep=keep)
        if self._client.http.our_state is not h11.DONE:  # nor does every client want to keep it
            raise self._failed(UNKNOWN)

    def _knows(self, request: h11.Request, check: Check) -> bool:
        shown = read_basic(b",".join(values(request, b"proxy-authorization")))
        return shown is not None and check(*shown)

    def _fail(self, status: int, method: bytes, why: str, told: str = "") -> ProtocolError:
        """Refuse it, and let whoever leads this close the connection."""
        self._client.refuse(status, method, told)
        return self._failed(why)

    def _failed(self, why: str) -> ProtocolError:
        self.over = True
        self.failure = ProtocolError(why)
        return self.failure
