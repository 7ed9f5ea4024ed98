"""The protocols whose replies are lines of text, as a table of what is said and answered.

A line ends with LF here, whether or not a CR stands before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pync.errors import ProtocolError
from pync.wire.dialogue import Reading, exactly
from pync.wire.starttls.opening import Reply, Step, not_offered, said

MOST_LINE = 4 * 1024  # bytes, with its end

LineReader = Callable[[], Reading[bytes]]

END = rb"(?: |$)"  # of a word
NO_LINE = rb"(?!)"
ANY_LINE = rb""
LITERAL = re.compile(rb"\{(\d{1,9})\}\Z")


def line(received: bytearray) -> int | None:
    end = received.find(b"\n", 0, MOST_LINE)
    if end < 0 and len(received) >= MOST_LINE:
        raise ProtocolError("a line of its answer is too long")
    return None if end < 0 else end + 1


def plain_line() -> Reading[bytes]:
    return (yield line).rstrip(b"\r\n")


def line_with_literals() -> Reading[bytes]:
    """A line whose literals ({5}, CR LF, five bytes of anything) have become quoted strings.

    A quoted string has no line end in it and ends with its quote (RFC 5804
    section 4), so only a literal can end a line with a brace.
    """
    parts: list[bytes] = []
    while True:
        text = yield from plain_line()
        literal = LITERAL.search(text)
        if not literal:
            return b"".join([*parts, text])
        content = yield exactly(int(literal[1]))
        parts += [text[: literal.start()], quoted(content)]


def quoted(content: bytes) -> bytes:
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", content) + b'"'


def reply(
    last: bytes,
    *,
    more: bytes = NO_LINE,
    first: bytes | None = None,
    offer: bytes = ANY_LINE,
    read: LineReader = plain_line,
) -> Callable[[], Reply]:
    """How a reply is read that is as these patterns say; each is for the beginning of a line.

    last: the line that ends it well.
    more: the lines that may come before it.
    first: what their first one is, where that differs.
    offer: what one of the lines must be.
    """
    ends, goes_on, begins, offers = (
        re.compile(pattern, re.IGNORECASE)
        for pattern in (last, more, more if first is None else first, offer)
    )

    def reading() -> Reply:
        offered = False
        expected = begins
        while True:
            text = yield from read()
            offered = offered or bool(offers.match(text))
            if ends.match(text):
                break
            if not expected.match(text):
                raise said(text)
            expected = goes_on
        if not offered:
            raise not_offered()

    return reading


def code(number: bytes, offer: bytes = ANY_LINE) -> Callable[[], Reply]:
    """The reply of SMTP: a number on each line, with a hyphen on all but the last."""
    return reply(number + END, more=number + b"-", offer=offer)


def ftp_code(number: bytes) -> Callable[[], Reply]:
    """As SMTP's, but what stands between the first line and the last is free."""
    return reply(number + END, more=ANY_LINE, first=number + b"-")


def sieve_ok(offer: bytes = ANY_LINE) -> Callable[[], Reply]:
    """What the server can do, a line each, all of them quoted, and OK."""
    return reply(b"OK" + END, more=b'"', offer=offer, read=line_with_literals)


# A client that has no name gives its address (RFC 5321 section 4.1.4), and this one is true of
# every machine.  Postfix, told to insist on full names, refuses "localhost" and takes an address,
# without comparing it.  The server forgets it once there is TLS (RFC 3207 section 4.2).
US = b"[127.0.0.1]"


def mail(hello: bytes) -> list[Step]:
    """RFC 3207; LMTP (RFC 2033) differs in the word of its greeting."""
    return [
        Step(b"", code(b"220")),
        Step(b"%b %b\r\n" % (hello, US), code(b"250", offer=rb"250[- ]STARTTLS\s*$")),
        Step(b"STARTTLS\r\n", code(b"220")),
    ]


LINES = {
    "smtp": mail(b"EHLO"),
    "lmtp": mail(b"LHLO"),
    # RFC 9051 section 6.2.1.  A greeting of PREAUTH leaves no room for it.
    "imap": [
        Step(b"", reply(rb"\* OK" + END)),
        Step(b"a STARTTLS\r\n", reply(b"a OK" + END, more=rb"\* (?!BYE)")),
    ],
    # RFC 2595 section 4
    "pop3": [
        Step(b"", reply(rb"\+OK" + END)),
        Step(b"STLS\r\n", reply(rb"\+OK" + END)),
    ],
    # RFC 4217 section 4
    "ftp": [
        Step(b"", ftp_code(b"220")),
        Step(b"AUTH TLS\r\n", ftp_code(b"234")),
    ],
    # RFC 4642.  200: posting is allowed; 201: it is not.
    "nntp": [
        Step(b"", reply(rb"20[01]" + END)),
        Step(b"STARTTLS\r\n", reply(b"382" + END)),
    ],
    # RFC 5804 section 2.2
    "sieve": [
        Step(b"", sieve_ok(b'"STARTTLS"' + END)),
        Step(b"STARTTLS\r\n", sieve_ok()),
    ],
}
