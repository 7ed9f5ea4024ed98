"""The proxies and what goes through them work as the tests set them up, without pync.

Where this fails, what fails with pync says nothing of pync.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PIPE, Program
from plain_peer import HERE
from proxy_clients import curl, git, make_repository, sshd
from proxy_servers import GUARDED, PASSWORD, PROXIES, USER, serving
from web_servers import ROMEO, http_server, make_pages

SPOKEN = [(name, protocol) for name, proxy in PROXIES.items() for protocol in proxy.speaks]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """Where romeo.txt is."""
    make_pages(tmp_path)
    with http_server(tmp_path) as port:
        yield f"http://{HERE}:{port}/romeo.txt"


@pytest.mark.parametrize(("name", "protocol"), SPOKEN)
def test_a_proxy_lets_curl_through(name: str, protocol: str, tmp_path: Path, page: str) -> None:
    with serving(name, tmp_path) as port:
        assert curl("-p", "-x", f"{protocol}://{HERE}:{port}", page).out == ROMEO.encode()


@pytest.mark.parametrize("name", GUARDED)
def test_a_guarded_proxy_lets_bob_through_alone(name: str, tmp_path: Path, page: str) -> None:
    with serving(name, tmp_path, guarded=True) as port:
        (protocol,) = PROXIES[name].speaks
        through = ("-p", "-x", f"{protocol}://{HERE}:{port}")
        assert curl(*through, "-U", f"{USER}:{PASSWORD}", page).out == ROMEO.encode()
        assert curl(*through, "-U", f"{USER}:wrong", page).status != 0


def test_a_login_with_the_key(tmp_path: Path) -> None:
    with sshd(tmp_path) as account, Program(*account.ssh(), "cat", stdin=PIPE) as login:
        login.send(ROMEO.encode())
        login.end()
        assert login.finish() == (0, ROMEO.encode(), "")


def test_a_repository_is_cloned_from_a_web_server(tmp_path: Path) -> None:
    make_pages(tmp_path)
    make_repository(tmp_path / "pages")
    with http_server(tmp_path) as port:
        copy = tmp_path / "copy"
        result = git("clone", "-q", f"http://{HERE}:{port}/poem.git", f"{copy}")
        assert result == (0, b"", "")
        assert (copy / "romeo.txt").read_text() == ROMEO
