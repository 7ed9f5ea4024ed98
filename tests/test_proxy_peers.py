"""pync through real proxies: microsocks, dante, tinyproxy and ncat; alone, and for ssh and git."""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PYNC, Program
from plain_peer import HERE, complaints, drain, start
from proxy_clients import git, make_repository, sshd
from proxy_scripts import accepted, listening
from proxy_servers import GUARDED, PASSWORD, PROXIES, USER, serving
from web_servers import LARGE, ROMEO, http_server, make_pages

SPOKEN = [(name, protocol) for name, proxy in PROXIES.items() for protocol in proxy.speaks]
each_way = pytest.mark.parametrize(("name", "protocol"), SPOKEN)


@pytest.fixture
def web_port(tmp_path: Path) -> Iterator[str]:
    """Where romeo.txt is, and a large page."""
    make_pages(tmp_path)
    with http_server(tmp_path) as port:
        yield f"{port}"


def ask_for(page: str) -> bytes:
    return f"GET /{page} HTTP/1.0\r\n\r\n".encode()


@each_way
@pytest.mark.parametrize("host", [HERE, "localhost"])
def test_a_large_page(name: str, protocol: str, host: str, tmp_path: Path, web_port: str) -> None:
    with serving(name, tmp_path) as port:
        way = ("-X", protocol, "-x", f"{HERE}:{port}")
        with start(*way, host, web_port, stdin=ask_for("large")) as pync:
            status, out, err = pync.finish()
    assert (status, err) == (0, "")
    assert out.partition(b"\r\n\r\n")[2] == LARGE


@pytest.mark.parametrize("name", GUARDED)
def test_a_guarded_proxy_lets_bob_through_alone(name: str, tmp_path: Path, web_port: str) -> None:
    (protocol,) = PROXIES[name].speaks
    with serving(name, tmp_path, guarded=True) as port:
        way = ("-X", protocol, "-x", f"{HERE}:{port}", "-P", USER)
        for password, page in ((PASSWORD, ROMEO.encode()), ("not this one", b"")):
            env = {"PYNC_PROXY_PASSWORD": password}
            with start(*way, HERE, web_port, stdin=ask_for("romeo.txt"), env=env) as pync:
                result = pync.finish()
            assert result.status == (0 if page else 1)
            assert result.out.endswith(page)
            assert len(complaints(result)) == result.status
            assert password not in result.err


@pytest.mark.parametrize("last", SPOKEN, ids=" ".join)
def test_from_one_to_the_next(last: tuple[str, str], tmp_path: Path, web_port: str) -> None:
    name, protocol = last
    first_home, last_home = tmp_path / "first", tmp_path / "last"
    first_home.mkdir()
    last_home.mkdir()
    with (
        serving("microsocks", first_home, guarded=True) as first_port,
        serving(name, last_home) as last_port,
    ):
        proxies = [
            f"socks5://{USER}:{PASSWORD}@{HERE}:{first_port}",
            f"{protocol}://{HERE}:{last_port}",
        ]
        way = [word for proxy in proxies for word in ("-x", proxy)]
        with start(*way, HERE, web_port, stdin=ask_for("romeo.txt")) as pync:
            status, out, err = pync.finish()
    assert (status, err) == (0, "")
    assert out.endswith(ROMEO.encode())


@pytest.mark.parametrize("protocol", PROXIES["dante"].speaks)
def test_each_sides_end_passes_where_the_proxy_passes_it_on(protocol: str, tmp_path: Path) -> None:
    with serving("dante", tmp_path) as port, listening() as target:
        proxy = f"{protocol}://{HERE}:{port}"
        where = ("--linger", "0", HERE, f"{target.getsockname()[1]}")
        with start("-x", proxy, *where, stdin=LARGE) as pync, accepted(target) as peer:
            assert drain(peer) == LARGE
            peer.sendall(b"answer")
            peer.shutdown(socket.SHUT_WR)
            assert pync.finish() == (0, b"answer", "")


# For ssh.


def proxy_command(*options: str) -> list[str]:
    """pync as ssh_config(5) has it."""
    return ["-o", f"ProxyCommand={shlex.join([*PYNC, *options])} %h %p"]


@each_way
@pytest.mark.parametrize("passes", [False, True], ids=["", "fd-pass"])
def test_a_login(name: str, protocol: str, passes: bool, tmp_path: Path) -> None:
    """What goes through there and back comes back as it was."""
    data = os.urandom(4 << 20)
    with serving(name, tmp_path) as port, sshd(tmp_path) as account:
        how = ("-F",) if passes else ()
        command = proxy_command("-X", protocol, "-x", f"{HERE}:{port}", *how)
        fd_pass = ("-o", f"ProxyUseFdpass={'yes' if passes else 'no'}")
        with Program(*account.ssh(*command, *fd_pass), "cat", stdin=data) as login:
            status, out, err = login.finish()
    assert (status, err) == (0, "")
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()


@each_way
def test_a_repository_over_ssh(name: str, protocol: str, tmp_path: Path) -> None:
    repository, copy = make_repository(tmp_path), tmp_path / "copy"
    with serving(name, tmp_path) as port, sshd(tmp_path) as account:
        *login, host = account.ssh(*proxy_command("-X", protocol, "-x", f"{HERE}:{port}"))
        env = {"GIT_SSH_COMMAND": shlex.join(login)}
        result = git("clone", "-q", f"{host}:{repository}", f"{copy}", env=env)
    assert result == (0, b"", "")
    assert (copy / "romeo.txt").read_text() == ROMEO
