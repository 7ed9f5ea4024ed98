"""Web pages by hand over TLS, from nginx.

Told of stdin's end, nginx takes it for ours: it gives what it can of its answer and hangs up,
without a close_notify.  So a short page is whole and a long one may not be, and nobody says which.
That is an error, and the error names the way out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority
from harness import PIPE, Result
from plain_peer import start
from web_servers import LARGE, ROMEO, make_pages, nginx

PAGES = {"romeo.txt": ROMEO.encode(), "large": LARGE}


@pytest.fixture
def web_port(authority: Authority, tmp_path: Path) -> Iterator[str]:
    make_pages(tmp_path)
    with nginx(tmp_path, authority.leaf["valid"]) as port:
        yield f"{port}"


def ask(authority: Authority, port: str, page: str, *options: str) -> Result:
    """As in: printf "GET /page HTTP/1.0\\n\\n" | pync --ssl -C localhost PORT."""
    trust = ("--ssl-trustfile", f"{authority.root}")
    with start("-C", *trust, *options, "localhost", port, stdin=PIPE) as pync:
        pync.send(f"GET /{page} HTTP/1.0\n\n".encode())
        pync.end()
        return pync.finish()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_may_be_whole_is_an_error(
    authority: Authority, web_port: str, page: str
) -> None:
    status, out, err = ask(authority, web_port, page)
    head, _, body = out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert PAGES[page].startswith(body)
    assert page == "large" or body == PAGES[page]
    assert status == 1
    assert re.fullmatch(
        r"pync: TLS with localhost .* failed: the peer ended without close_notify, "
        r"something may be missing; .*, --no-shutdown is the way out\n",
        err,
    )


@pytest.mark.parametrize("options", [(), ("--ssl-alpn", "http/1.1"), ("-i", "1ms")])
@pytest.mark.parametrize("page", PAGES)
def test_who_keeps_the_end_to_himself_is_told_of_the_servers(
    authority: Authority, web_port: str, page: str, options: tuple[str, ...]
) -> None:
    status, out, err = ask(authority, web_port, page, "--no-shutdown", *options)
    assert out.partition(b"\r\n\r\n")[2] == PAGES[page]
    assert (status, err) == (0, "")


def test_plain_words_to_a_server_of_tls_get_its_answer(web_port: str) -> None:
    with start("-C", "localhost", web_port, stdin=b"GET / HTTP/1.0\n\n") as pync:
        result = pync.finish()
    assert b"plain HTTP request was sent to HTTPS port" in result.out
