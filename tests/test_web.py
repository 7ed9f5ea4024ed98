"""Web pages by hand, from real servers: nginx and Python's http.server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import PIPE, Program, Result, free_port
from plain_peer import HERE

ROMEO = """\
But soft what light through yonder window breaks
It is the east and Juliet is the sun
Arise fair sun and kill the envious moon
Who is already sick and pale with grief
"""

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
NGINX_CONFIGURATION = """\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events {{ }}
http {{
    access_log off;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    server {{
        listen {host}:{port};
        root pages;
    }}
}}
"""


@contextmanager
def nginx(directory: Path) -> Iterator[int]:
    """nginx, serving `directory`/pages; its port."""
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    port = free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(NGINX_CONFIGURATION.format(host=HERE, port=port))
    with Program(NGINX, "-p", f"{directory}", "-c", f"{configuration}", "-e", "stderr") as server:
        server.expect('using the ".*" event method')  # by then it listens
        yield port


@contextmanager
def http_server(directory: Path) -> Iterator[int]:
    """Python's http.server, serving `directory`/pages; its port."""
    argv = (sys.executable, "-u", "-m", "http.server", "--bind", HERE, "0")
    with Program(*argv, cwd=directory / "pages") as server:
        yield int(server.expect(r"Serving HTTP on \S+ port (\d+)", "out")[1])


SERVERS = {"nginx": nginx, "http.server": http_server}


@pytest.fixture(params=SERVERS)
def web_port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The port of a web server that has romeo.txt, and a large page."""
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "romeo.txt").write_text(ROMEO)
    (pages / "large").write_bytes(bytes(range(256)) * 16_384)
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
    assert out.partition(b"\r\n\r\n")[2] == bytes(range(256)) * 16_384


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
