"""Web servers with the pages of a test: nginx, also with TLS, and Python's http.server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from harness import Program, free_port
from plain_peer import HERE

if TYPE_CHECKING:
    from authority import Leaf

ROMEO = """\
But soft what light through yonder window breaks
It is the east and Juliet is the sun
Arise fair sun and kill the envious moon
Who is already sick and pale with grief
"""
LARGE = bytes(range(256)) * 16_384

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
        listen {host}:{port}{more};
        root pages;
    }}
}}
"""
NGINX_TLS = """ ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {chain};
        ssl_certificate_key {key}"""


def make_pages(directory: Path) -> None:
    """romeo.txt, and a large page, in `directory`/pages."""
    pages = directory / "pages"
    pages.mkdir()
    (pages / "romeo.txt").write_text(ROMEO)
    (pages / "large").write_bytes(LARGE)


# The PROXY protocol, and what it says of the client.
NGINX_TOLD = """ proxy_protocol;
        add_header X-Client $proxy_protocol_addr"""


@contextmanager
def nginx(
    directory: Path, leaf: Leaf | None = None, *, knows_clients: bool = False
) -> Iterator[int]:
    """nginx, serving `directory`/pages, over TLS if it has a certificate to show; its port.

    knows_clients: by the PROXY protocol, and tells each who it is.
    """
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    port = free_port()
    configuration = directory / "nginx.conf"
    more = NGINX_TLS.format(chain=leaf.chain, key=leaf.key) if leaf else ""
    more += NGINX_TOLD if knows_clients else ""
    configuration.write_text(NGINX_CONFIGURATION.format(host=HERE, port=port, more=more))
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
