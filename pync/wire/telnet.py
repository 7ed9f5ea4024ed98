"""Telnet (RFC 854, 855): every option refused, the data in between passed on.

Each command from the peer goes through the states below.  They are kept from
one piece of input to the next, so any split gives the same result.  A request
(WILL, DO) is refused the first time it comes; WONT and DONT confirm what is
the case already and need no answer (RFC 1143), so no loop can arise and the
answers are bounded.  The data byte 255 is doubled on the wire.
"""

from __future__ import annotations

from enum import Enum

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
REFUSAL = {DO: WONT, WILL: DONT}
ESCAPED = bytes([IAC, IAC])


class State(Enum):
    """What the next byte from the peer is."""

    DATA = "data"
    COMMAND = "after IAC"
    OPTION = "after WILL, WONT, DO or DONT"
    PARAMETERS = "in a subnegotiation"
    PARAMETERS_IAC = "after IAC in a subnegotiation"


class Telnet:
    """The engine (see stage.Engine)."""

    notes = ()

    def __init__(self) -> None:
        self._state = State.DATA
        self._verb = 0
        self._refused: set[tuple[int, int]] = set()
        self.established = True
        self._to_send = bytearray()
        self._received = bytearray()
        self.send_over = False
        self.receive_over = False
        self._steps = {
            State.COMMAND: self._command,
            State.OPTION: self._option,
            State.PARAMETERS_IAC: self._parameters_iac,
        }

    def receive(self, data: bytes | memoryview) -> None:
        data = bytes(data)
        position = 0
        while position < len(data):
            if self._state in self._steps:
                self._state = self._steps[self._state](data[position])
                position += 1
            else:
                position = self._until_iac(data, position)

    def _until_iac(self, data: bytes, start: int) -> int:
        """Take what stands before the next IAC, and return where to go on."""
        found = data.find(IAC, start)
        end = len(data) if found < 0 else found
        in_data = self._state is State.DATA
        if in_data:
            self._received += data[start:end]
        if found < 0:
            return end
        self._state = State.COMMAND if in_data else State.PARAMETERS_IAC
        return end + 1

    def _command(self, byte: int) -> State:
        if byte == IAC:
            self._received.append(IAC)
        elif byte in (WILL, WONT, DO, DONT):
            self._verb = byte
            return State.OPTION
        elif byte == SB:
            return State.PARAMETERS
        return State.DATA

    def _option(self, byte: int) -> State:
        request = (self._verb, byte)
        if self._verb in REFUSAL and request not in self._refused and not self.send_over:
            self._refused.add(request)
            self._to_send += bytes([IAC, REFUSAL[self._verb], byte])
        return State.DATA

    def _parameters_iac(self, byte: int) -> State:
        return State.DATA if byte == SE else State.PARAMETERS

    def receive_end(self) -> None:
        self.receive_over = True

    def send(self, data: bytes | memoryview) -> int:
        self._to_send += bytes(data).replace(ESCAPED[:1], ESCAPED)
        return len(data)

    def legible(self, data: bytes, sent: int) -> int:
        begun = data.replace(ESCAPED[:1], ESCAPED)[:sent]
        return len(begun) - (begun.count(IAC) + 1) // 2

    def send_end(self) -> None:
        self.send_over = True

    @property
    def send_backlog(self) -> int:
        return len(self._to_send)

    @property
    def receive_backlog(self) -> int:
        return len(self._received)

    def data_to_send(self, limit: int) -> bytes:
        return take(self._to_send, limit)

    def data_received(self, limit: int) -> bytes:
        return take(self._received, limit)


def take(buffer: bytearray, limit: int) -> bytes:
    """Remove and return the first `limit` bytes."""
    data = bytes(buffer[:limit])
    del buffer[:limit]
    return data
