"""pync through the proxies of others, and ssh through pync."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from harness import PYNC, Program
from plain_peer import HERE, complaints, drain, start
from proxy_clients import sshd
from proxy_scripts import accepted, hear, listening
from proxy_servers import GUARDED, PASSWORD, PROXIES, USER, serving

SPOKEN = [(name, protocol) for name, proxy in PROXIES.items() for protocol in proxy.speaks]
LARGE = bytes(range(256)) * 4096  # 1 MiB
VARIABLE = {"PYNC_PROXY_PASSWORD": PASSWORD}


def check_passage(target: socket.socket, *options: str, **how: Any) -> None:
    """A mebibyte each way.

    Most proxies take one side's end for the end of both, so the one that is told is the last.
    """
    port = f"{target.getsockname()[1]}"
    with (
        start("--no-shutdown", *options, HERE, port, stdin=LARGE, **how) as pync,
        accepted(target) as peer,
    ):
        assert hear(peer, len(LARGE)) == LARGE
        peer.sendall(LARGE[::-1])
        peer.shutdown(socket.SHUT_WR)
        assert pync.finish() == (0, LARGE[::-1], "")


@pytest.mark.parametrize(("name", "protocol"), SPOKEN)
def test_all_bytes_pass(name: str, protocol: str, tmp_path: Path) -> None:
    with serving(name, tmp_path) as port, listening() as target:
        check_passage(target, "-x", f"{protocol}://{HERE}:{port}")


@pytest.mark.parametrize("protocol", PROXIES["dante"].speaks)
def test_each_sides_end_passes_where_the_proxy_passes_it_on(protocol: str, tmp_path: Path) -> None:
    with serving("dante", tmp_path) as port, listening() as target:
        proxy = f"{protocol}://{HERE}:{port}"
        where = (HERE, f"{target.getsockname()[1]}")
        with start("-x", proxy, *where, stdin=LARGE) as pync, accepted(target) as peer:
            assert drain(peer) == LARGE
            peer.sendall(b"answer")
            peer.shutdown(socket.SHUT_WR)
            assert pync.finish() == (0, b"answer", "")


@pytest.mark.parametrize("name", GUARDED)
def test_a_password_opens_what_is_closed_without(name: str, tmp_path: Path) -> None:
    (protocol,) = PROXIES[name].speaks
    with serving(name, tmp_path, guarded=True) as port, listening() as target:
        proxy = ("-x", f"{protocol}://{HERE}:{port}")
        check_passage(target, *proxy, "-P", USER, env=VARIABLE)
        for login in ((), ("--proxy-auth", f"{USER}:wrong")):
            with start(*proxy, *login, HERE, f"{target.getsockname()[1]}") as pync:
                result = pync.finish()
            assert result.status == 1
            assert len(complaints(result)) == 1


@pytest.mark.parametrize(("first", "second"), [("microsocks", "ncat"), ("ncat", "dante")])
def test_a_chain_of_two(first: str, second: str, tmp_path: Path) -> None:
    with (
        serving(first, tmp_path) as near,
        serving(second, tmp_path) as far,
        listening() as target,
    ):
        ports = ((first, near), (second, far))
        urls = [f"{PROXIES[name].speaks[0]}://{HERE}:{port}" for name, port in ports]
        check_passage(target, *(word for url in urls for word in ("-x", url)))


@pytest.mark.parametrize(
    ("options", "fdpass"),
    [("", "no"), ("-F", "yes")],
    ids=["ProxyCommand", "ProxyUseFdpass"],
)
@pytest.mark.parametrize("name", ["microsocks", "tinyproxy"])
def test_ssh_goes_through_pync(name: str, options: str, fdpass: str, tmp_path: Path) -> None:
    (protocol,) = PROXIES[name].speaks
    with serving(name, tmp_path, guarded=True) as port, sshd(tmp_path) as account:
        pync = f"{' '.join(PYNC)} {options} -X {protocol} -x {HERE}:{port} -P {USER} %h %p"
        ssh = account.ssh("-o", f"ProxyCommand={pync}", "-o", f"ProxyUseFdpass={fdpass}")
        with Program(*ssh, "cat", stdin=LARGE, env=VARIABLE) as login:
            assert login.finish() == (0, LARGE, "")
