"""XMPP's way to TLS (RFC 6120 section 5): two elements of an XML stream that never ends.

The exact end of an element is what matters here: the byte behind it is TLS's.
expat does not tell it, and may put off what it has been given.  But each tag
ends with `>`, so expat is given what ends there, and no more: then at most one
tag can end, and with the last byte.  Where nothing ends, the `>` stood inside
something.  XML allows that in an attribute's value, and no server does it; it is
refused, for expat would look at the whole tag again each time.

What XMPP forbids (section 11.1), document types first of all, is refused.
"""

from __future__ import annotations

from xml.parsers import expat

from pync.wire.dialogue import Reading
from pync.wire.starttls.opening import Reply, Step, nonsense, not_offered, said

STREAMS = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SEPARATOR = " "  # between a name's namespace and the name

HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
    f"xmlns:stream='{STREAMS}' to='{{}}' version='1.0'>"
)
START_TLS = f"<starttls xmlns='{TLS}'/>"
ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"},
)


def xmpp(name: str) -> list[Step]:
    """The steps with the server of that name."""
    header = HEADER.format(name.translate(ESCAPES)).encode("utf-8", "replace")
    stream = Stream()
    return [Step(header, stream.features), Step(START_TLS.encode(), stream.proceed)]


def tag(received: bytearray) -> int | None:
    end = received.find(b">")
    return None if end < 0 else end + 1


class Stream:
    """The server's stream, of which only the elements that stand directly in it matter."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate("UTF-8", SEPARATOR)
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.DefaultHandler = self._other
        self._parser.StartDoctypeDeclHandler = self._forbidden
        self._parser.ProcessingInstructionHandler = self._forbidden
        self._parser.CommentHandler = self._forbidden
        self._depth = 0
        self._names: list[str] = []  # the element's, and those of all within it
        self._moved = False
        self._ended = False

    def features(self) -> Reply:
        names = yield from self._element()
        if names[0] != f"{STREAMS} features":
            raise said(shown(names))
        if f"{TLS} starttls" not in names:
            raise not_offered()

    def proceed(self) -> Reply:
        names = yield from self._element()
        if names[0] != f"{TLS} proceed":
            raise said(shown(names))

    def _element(self) -> Reading[list[str]]:
        """Read the next element to its end."""
        self._names = []
        self._ended = False
        while not self._ended:
            self._parse((yield tag))
        return self._names

    def _parse(self, data: bytes) -> None:
        self._moved = False
        try:
            self._parser.Parse(data, False)
        except expat.ExpatError:
            raise nonsense() from None
        if not self._moved:
            raise nonsense()

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        self._moved = True
        self._depth += 1
        if self._depth > 1:
            self._names.append(name)
        elif name != f"{STREAMS} stream":
            raise nonsense()

    def _end(self, _name: str) -> None:
        self._moved = True
        self._depth -= 1
        self._ended = self._depth == 1
        if self._depth == 0:
            raise said(b"</stream:stream>")

    def _other(self, _data: str) -> None:
        self._moved = True

    def _forbidden(self, *_: object) -> None:
        raise nonsense()


def shown(names: list[str]) -> bytes:
    """The element's name, and the condition, which comes first in an error (section 4.9.2)."""
    return " ".join(name.rpartition(SEPARATOR)[2] for name in names[:2]).encode()
