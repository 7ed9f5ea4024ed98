"""One request and its response on their way through a proxy, whatever their lengths.

Theory.  On each side h11 takes messages apart and puts them together again: a body
goes on in the form that the other side understands (counted, in chunks, or until the
end), piece by piece, and nothing of it is kept.  The origin's connection serves this
one exchange, and is told so; the client's outlives it.

The exchange is over with the response: an origin may answer, and leave, before it
has the whole request.  What the client sends beyond its request waits for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import h11

from pync.errors import ProtocolError
from pync.wire.http.heads import Request, onward_news, onward_response
from pync.wire.http.side import Side

Steps = Mapping[type, Callable[[Any], None]]


class Exchange:
    """The engine (see stage.Engine) with the client on its wire, and the origin as its user.

    asked: whether the origin is to have the request, to its last byte.

    over: whether the response is ready for the client, to its last byte.  Both ways out
    end then, and both ways in take whatever comes.

    failure: what has been raised, if anything has, making an Exchange included; it is over
    then.  The client is told so, unless the response had begun.  cut: in that case its
    connection is to be cut, not ended, as that may be how the response was to end.

    resume: to be called when it is over, and the origin out of the way.
    """

    established = True
    notes = ()

    def __init__(self, client: Side, request: Request, resume: Callable[[], None]) -> None:
        self.resume = resume
        self.over = self.send_over = self.receive_over = False
        self._client = client
        self._origin = Side(h11.CLIENT)
        self._origin_name = f"{request.host} port {request.port} "
        self.asked = False
        self.failure: ProtocolError | None = None
        self.cut = False
        self._method = request.method.encode()
        self._request_steps: Steps = {
            h11.Data: self._origin.say,
            h11.EndOfMessage: self._end_request,
        }
        self._response_steps: Steps = {
            h11.InformationalResponse: self._pass_news,
            h11.Response: self._pass_head,
            h11.Data: self._client.say,
            h11.EndOfMessage: self._end_response,
        }
        if request.head:
            self._origin.say(request.head)
        self._pass_request()

    # --- from the client to the origin ---

    def receive(self, data: bytes | memoryview) -> None:
        self._client.put(data)
        self._pass_request()

    def receive_end(self) -> None:
        if not self.over:  # else it may be that whoever leads this has stopped reading
            self._client.put_end()
            self._pass_request()

    def data_received(self, limit: int) -> bytes:
        return b"" if self.over else self._origin.data_to_send(limit)

    @property
    def receive_backlog(self) -> int:
        return 0 if self.over else self._origin.backlog + self._client.waiting

    # --- from the origin to the client ---

    def send(self, data: bytes | memoryview) -> int:
        if not self.over:
            self._origin.put(data)
            self._pass_response()
        return len(data)

    def send_end(self) -> None:
        if not self.over:
            self._origin.put_end()
            self._pass_response()

    def data_to_send(self, limit: int) -> bytes:
        return self._client.data_to_send(limit)

    @property
    def send_backlog(self) -> int:
        return self._client.backlog

    # ---

    def _pass_request(self) -> None:
        if not self.asked and not self.over:
            self._pass_on(self._client, self._request_steps, 400)

    def _pass_response(self) -> None:
        self._pass_on(self._origin, self._response_steps, 502, of=self._origin_name)

    def _pass_on(self, side: Side, steps: Steps, status: int, of: str = "") -> None:
        if self.failure:
            raise self.failure
        try:
            for event in side.events():
                steps[type(event)](event)
                if isinstance(event, h11.EndOfMessage):
                    break  # the rest is not of this exchange
        except h11.RemoteProtocolError:
            raise self.fail(status, of + side.complaint) from None

    def fail(self, status: int, why: str) -> ProtocolError:
        """No more will come of it: the client is told so, as far as that can be told."""
        self.cut = not self._client.refuse(status, self._method, why)
        self.failure = ProtocolError(why)
        self.over = self.send_over = self.receive_over = True
        return self.failure

    def _end_request(self, _event: h11.EndOfMessage) -> None:
        self._origin.say(h11.EndOfMessage())
        self.asked = True

    def _pass_news(self, news: h11.InformationalResponse) -> None:
        """Clients before HTTP/1.1 do not know of any (RFC 9110 section 15.2)."""
        if (self._client.http.their_http_version or b"") >= b"1.1":
            self._client.say(onward_news(news))

    def _pass_head(self, response: h11.Response) -> None:
        self._client.say(onward_response(response))

    def _end_response(self, _event: h11.EndOfMessage) -> None:
        self._client.say(h11.EndOfMessage())
        self.over = self.send_over = self.receive_over = True
