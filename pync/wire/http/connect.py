"""CONNECT, the client's side: through an HTTP proxy to any port (RFC 9110 section 9.3.6).

A proxy that wants to know who asks says how it is to be told (407), and is asked
again, with the answer.  That is on the same connection, unless the proxy closes it
or does not come to the end of what it says; then another one is needed, and the
error carries what that one begins with.

Before the tunnel a proxy may say so many bytes, whatever they are: heads, bodies,
informational answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h11

from pync.address import printable
from pync.errors import ProtocolError
from pync.wire.http.auth import (
    AuthenticationNeeded,
    Challenge,
    Credentials,
    answer,
    check_credentials,
    choose,
    read_challenges,
)
from pync.wire.http.targets import authority

MOST = 64 * 1024  # bytes before the tunnel
MOST_SHOWN = 80  # bytes of an answer in a message
PAUSES = (h11.NEED_DATA, h11.PAUSED)


class Connect:
    """A dialogue (see stage.Dialogue) after which the connection leads to `host` and `port`.

    proxy: as messages name it, `127.0.0.1 port 3128`.
    challenge: what the proxy asked for last.  After AuthenticationNeeded, that is where the
    next connection begins.

    surplus: what came behind the proxy's answer, the first bytes of the tunnel.

    Raises UsageError, before anything is sent, for a host or credentials that cannot be.
    """

    def __init__(
        self,
        proxy: str,
        host: str,
        port: int,
        credentials: Credentials | None = None,
        challenge: Challenge | None = None,
    ) -> None:
        if credentials:
            check_credentials(credentials)
        self.established = False
        self.surplus = b""
        self._proxy = proxy
        self._place = f"{printable(host)} port {port}"
        self._target = authority(host, port)
        self._credentials = credentials
        self.challenge = challenge
        self._is_second = challenge is not None
        self._renewed = False  # whether an answer came too late for its nonce
        self._failure: ProtocolError | None = None
        self._heard = 0
        self._began = b""  # how the answer that is being read begins
        self._to_send = bytearray()
        self._http = h11.Connection(h11.CLIENT, MOST)
        self._steps: dict[type, Callable[[Any], None]] = {
            h11.InformationalResponse: self._ignore,
            h11.Response: self._judge,
            h11.Data: self._ignore,
            h11.EndOfMessage: self._ask_again,
        }
        self._ask()

    def receive(self, data: bytes | memoryview) -> None:
        """These bytes came from the proxy.  What comes after a failure fails as well."""
        if self._failure:
            raise self._failure
        if not self.established:
            room = MOST - self._heard
            self._hear(bytes(data[:room]))
            data = data[room:]
        if self.established:
            self.surplus += data
        elif data:
            raise self._give_up("says too much before it connects")

    def receive_end(self) -> None:
        """The proxy's bytes have ended.  Raises ProtocolError unless there is a tunnel."""
        if self._failure:
            raise self._failure
        if not self.established:
            raise self._give_up(f"closed the connection{self._words}")

    def data_to_send(self, limit: int) -> bytes:
        """Up to `limit` bytes for the wire; empty if there is nothing now."""
        data = bytes(self._to_send[:limit])
        del self._to_send[:limit]
        return data

    def _ask(self) -> None:
        fields = [(b"Host", self._target)]
        if self.challenge and self._credentials:
            told = answer(self.challenge, self._credentials, b"CONNECT", self._target)
            fields.append((b"Proxy-Authorization", told))
        request = h11.Request(method=b"CONNECT", target=self._target, headers=fields)
        self._to_send += self._http.send(request) + self._http.send(h11.EndOfMessage())

    def _ask_again(self, _event: h11.EndOfMessage) -> None:
        self._http.start_next_cycle()
        self._began = self._http.trailing_data[0][:MOST_SHOWN]
        self._ask()

    def _hear(self, data: bytes) -> None:
        self._heard += len(data)
        self._began += data[: MOST_SHOWN - len(self._began)]
        if data:  # to h11 none is the end
            self._http.receive_data(data)
        try:
            while not self.established and (event := self._http.next_event()) not in PAUSES:
                self._steps[type(event)](event)
        except h11.RemoteProtocolError:
            raise self._fail(f"makes no sense as an HTTP proxy{self._words}") from None

    def _ignore(self, _event: h11.Event) -> None:
        pass

    def _judge(self, response: h11.Response) -> None:
        if response.status_code < 300:
            self.established = True
            self.surplus = self._http.trailing_data[0]
            self._to_send.clear()  # if it did not wait for all that it asked for
        elif response.status_code == 407:
            self._consider(response)
        else:
            reason = printable(shown(response.reason))
            status = f"{response.status_code} {reason}".strip()
            raise self._fail(f"refuses to connect to {self._place}: {status}")

    def _consider(self, response: h11.Response) -> None:
        """Take up its challenge."""
        if not self._credentials:
            raise self._fail("wants a user and a password")
        values = [value for name, value in response.headers if name == b"proxy-authenticate"]
        offered = read_challenges(values)
        challenge = choose(offered)
        if not challenge:
            schemes = ", ".join(sorted({entry.scheme for entry in offered})) or "nothing"
            raise self._fail(f"takes no credentials that pync can give: {schemes[:MOST_SHOWN]}")
        if self.challenge:
            if self._renewed or not challenge.stale:
                raise self._fail("refuses these credentials")
            self._renewed = True
        self.challenge = challenge
        if self._http.our_state is h11.MUST_CLOSE:
            raise self._give_up("closes the connection")

    def _give_up(self, why: str) -> ProtocolError:
        """There is no way on, on this connection."""
        if not self.challenge or self._is_second:
            return self._fail(why)
        words = f"proxy {self._proxy} asks for credentials and closes the connection"
        self._failure = AuthenticationNeeded(words, self.challenge)
        return self._failure

    def _fail(self, why: str) -> ProtocolError:
        self._failure = ProtocolError(f"proxy {self._proxy} {why}")
        return self._failure

    @property
    def _words(self) -> str:
        return f"; its answer begins with {shown(self._began)!r}" if self._began else ""


def shown(words: bytes) -> str:
    return words[:MOST_SHOWN].decode("utf-8", "backslashreplace")
