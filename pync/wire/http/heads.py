"""The heads of messages that a proxy gets: what they ask for, and what goes on of them.

What holds for one connection only stays behind (RFC 9110 section 7.6.1), and so do
trailers.  A request that can be read in two ways is refused: whoever reads it after
us might choose the other one (RFC 9112 section 11.2).
"""

from __future__ import annotations

import re
from typing import NamedTuple

import h11

from pync.wire.http.targets import Target, host_field, parse_absolute, parse_authority

Field = tuple[bytes, bytes]
Message = h11.Request | h11.InformationalResponse | h11.Response

HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
    *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
}
LENGTH = b"content-length"
CHUNKED = b"transfer-encoding"
HOPS = b"max-forwards"
HOPS_LEFT = re.compile(rb"[0-9]{1,9}")
MOST_SKIPPED = 64 * 1024  # bytes of a body that nobody wants


class Request(NamedTuple):
    """What a client wants of a proxy.

    head: the request as the origin is to get it; None for CONNECT, which asks for a
    tunnel.
    """

    method: str
    host: str
    port: int
    head: h11.Request | None

    @property
    def datagrams(self) -> bool:
        return False


def read_request(request: h11.Request) -> Request | None:
    """None: it is for the proxy itself.

    Raises ValueError for what a proxy cannot do, or not for sure.
    """
    check_length(request)
    method = request.method.decode()
    if method == "CONNECT":
        host, port, _ = parse_authority(request.target)
        return Request(method, host, port, None)
    if hops_left(request) == 0:
        return None
    target = parse_absolute(request.target)
    return Request(method, target.host, target.port, onward_request(request, target))


def check_length(request: h11.Request) -> None:
    """RFC 9112 section 6.3, and RFC 9110 section 9.3.6."""
    chunked, counted = values(request, CHUNKED), values(request, LENGTH)
    if chunked and (counted or request.http_version < b"1.1"):
        raise ValueError("nobody can say how long its body is")
    if request.method == b"CONNECT" and (chunked or counted not in ([], [b"0"])):
        raise ValueError("CONNECT has no body")


def hops_left(request: h11.Request) -> int | None:
    """How often it may still be passed on; None: no limit (RFC 9110 section 7.6.2)."""
    limits = values(request, HOPS) if request.method == b"OPTIONS" else []
    if not limits:
        return None
    if len(limits) > 1 or not HOPS_LEFT.fullmatch(limits[0]):
        raise ValueError("Max-Forwards is no number")
    return int(limits[0])


def skippable(request: h11.Request) -> bool:
    """Whether its body can be read over: it is sure to come, and where it ends is beyond doubt.

    Who expects to be told to go on may send it or not (RFC 9110 section 10.1.1).
    """
    if values(request, CHUNKED) or values(request, b"expect"):
        return False
    most = 0 if request.method == b"CONNECT" else MOST_SKIPPED
    return sum(map(int, values(request, LENGTH))) <= most


def values(message: Message, name: bytes) -> list[bytes]:
    """Of the fields of that name, in order."""
    return [value for found, value in message.headers if found == name]


def onward_request(request: h11.Request, target: Target) -> h11.Request:
    """As the origin gets it, on a connection of its own (RFC 9112 sections 3.2.1, 3.2.4)."""
    asterisk = request.method == b"OPTIONS" and not target.path
    slash = b"" if target.path.startswith(b"/") else b"/"
    hops = hops_left(request)
    without = [b"host"] if hops is None else [b"host", HOPS]
    fields = [(b"Host", host_field(target)), *end_to_end(request, *without)]
    if hops is not None:
        fields.append((b"Max-Forwards", b"%d" % (hops - 1)))
    if values(request, CHUNKED):
        fields.append((b"Transfer-Encoding", b"chunked"))
    fields.append((b"Connection", b"close"))
    path = b"*" if asterisk else slash + target.path
    return h11.Request(method=request.method, target=path, headers=fields)


def onward_response(response: h11.Response) -> h11.Response:
    """As the client gets it; how long its body is h11 says, if it is not counted."""
    fields = end_to_end(response, *([LENGTH] if values(response, CHUNKED) else []))
    return h11.Response(status_code=response.status_code, reason=response.reason, headers=fields)


def onward_news(news: h11.InformationalResponse) -> h11.InformationalResponse:
    fields = end_to_end(news)
    return h11.InformationalResponse(
        status_code=news.status_code, reason=news.reason, headers=fields
    )


def end_to_end(message: Message, *without: bytes) -> list[Field]:
    """The fields that are for the other end, in order, and Via."""
    named = {
        word.strip()
        for value in values(message, b"connection")
        for word in value.lower().split(b",")
    }
    unwanted = {*without, *HOP_BY_HOP, *(named - {LENGTH})}
    fields = [
        (name, value) for name, value in message.headers.raw_items() if name.lower() not in unwanted
    ]
    return [*fields, (b"Via", b"%b pync" % message.http_version)]
