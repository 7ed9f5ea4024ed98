"""Web pages by hand, from real servers: nginx and Python's http.server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PIPE, Program, Result
from plain_peer import HERE
from web_servers import LARGE, ROMEO, SERVERS, make_pages


@pytest.fixture(params=SERVERS)
def web_port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The port of a web server that has romeo.txt, and a large page."""
    make_pages(tmp_path)
    with SERVERS[request.param](tmp_path) as port:
        yield str(port)


def ask(port: str, request: bytes, *options: str) -> Result:
    """What comes of `request` from a pipe that ends after it."""
    with Program.pync(*options, HERE, port, stdin=PIPE) as pync:
        pync.send(request)
        pync.end()
        return pync.finish()


def test_a_page_by_hand(web_port: str) -> None:
    status, out, err = ask(web_port, b"GET /romeo.txt HTTP/1.0\r\n\r\n")
    head, _, body = out.decode().partition("\r\n\r\n")
    assert (status, err) == (0, "")
    assert head.splitlines()[0].endswith("200 OK")
    assert f"Content-Length: {len(ROMEO)}" in head.splitlines()
    assert body == ROMEO


def test_a_large_page_arrives_whole(web_port: str) -> None:
    """Told of stdin's end, nginx would take it for ours and give up on what takes longer."""
    status, out, _ = ask(web_port, b"GET /large HTTP/1.0\r\n\r\n", "--no-shutdown")
    assert status == 0
    assert out.partition(b"\r\n\r\n")[2] == LARGE


def test_a_request_in_lines_becomes_one_in_crlf(web_port: str) -> None:
    request = f"GET /romeo.txt HTTP/1.1\nHost: {HERE}\nConnection: close\n\n"
    status, out, _ = ask(web_port, request.encode(), "-C")
    assert status == 0
    assert b" 200 OK\r\n" in out
    assert out.endswith(ROMEO.encode())


def test_a_page_that_is_not_there_is_still_a_session_that_went_well(web_port: str) -> None:
    status, out, _ = ask(web_port, b"GET /juliet.txt HTTP/1.0\r\n\r\n")
    assert status == 0
    assert b" 404 " in out.splitlines()[0]
