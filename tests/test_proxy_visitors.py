"""pync as a proxy for real clients: curl, git, ssh, Debian's nc, ncat, and pync itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from authority import Authority
from gateway_talk import KINDS, serving
from harness import PYNC, Program
from plain_peer import HERE, start
from proxy_clients import Account, curl, git, make_repository, sshd
from proxy_servers import installed
from web_servers import LARGE, ROMEO, http_server, make_pages

LOGIN = "bob:open sesame"
Proxies = dict[str, Program]


@pytest.fixture(scope="module", autouse=True)
def proxies() -> Iterator[Proxies]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(serving(kind)) for kind in KINDS}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[int]:
    """The port of a web server with romeo.txt, a large page, and poem.git."""
    make_pages(tmp_path)
    with http_server(tmp_path) as port:
        yield port


WAYS = {  # how curl is told, and the kind that it means
    "an exchange": ("http", ["--proxy", "http://{}"]),
    "a tunnel": ("http", ["-p", "--proxy", "http://{}"]),
    "a tunnel in the old way": ("http", ["-p", "--proxy1.0", "{}"]),
    "SOCKS4": ("socks4", ["--socks4", "{}"]),
    "SOCKS4a": ("socks4a", ["--socks4a", "{}"]),
    "SOCKS5": ("socks5", ["--socks5", "{}"]),
    "SOCKS5 with a name": ("socks5", ["--socks5-hostname", "{}"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_curl(way: str, proxies: Proxies, web: int) -> None:
    kind, words = WAYS[way]
    through = [word.format(f"{HERE}:{proxies[kind].port}") for word in words]
    pages = [f"http://localhost:{web}/{page}" for page in ("romeo.txt", "large", "romeo.txt")]
    result = curl(*through, *pages)
    assert (result.status, result.err) == (0, "")
    assert result.out == ROMEO.encode() + LARGE + ROMEO.encode()


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_curl_that_has_to_show_a_password(kind: str, web: int) -> None:
    page = f"http://{HERE}:{web}/romeo.txt"
    with serving(kind, "--proxy-auth", LOGIN) as pync:
        through = ("--proxy", f"{kind}://{HERE}:{pync.port}")
        for options in ((), ("-p",)):
            assert curl(*through, *options, "--proxy-user", LOGIN, page).out == ROMEO.encode()
            for wrong in ((), ("--proxy-user", "bob:wrong")):
                refused = curl(*through, *options, *wrong, "-f", page)
                assert refused.status != 0
                assert refused.out == b""


@pytest.mark.parametrize("options", [(), ("-p",)], ids=["an exchange", "a tunnel"])
def test_curl_answers_on_the_connection_on_which_it_was_asked(
    options: tuple[str, ...], web: int
) -> None:
    with serving("http", "--proxy-auth", LOGIN) as pync:
        through = ("--proxy", f"http://{HERE}:{pync.port}", "--proxy-user", LOGIN)
        page = f"http://{HERE}:{web}/romeo.txt"
        assert curl(*through, "--proxy-anyauth", *options, page).out == ROMEO.encode()
        pync.expect("wants")
        assert pync.text().count("Connection received") == 1
        assert "pync: " not in pync.text()


def test_curl_with_tls_on_the_way_to_the_proxy(authority: Authority, web: int) -> None:
    leaf = authority.leaf["valid"]
    tls = ("--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}")
    trust = ("--proxy-cacert", f"{authority.root}")
    with serving("http", *tls) as pync:
        through = ("--proxy", f"https://localhost:{pync.port}", *trust)
        for options in ((), ("-p",)):
            result = curl(*through, *options, f"http://{HERE}:{web}/large")
            assert (result.status, result.out) == (0, LARGE)


@pytest.mark.parametrize("kind", KINDS)
def test_git_clones_over_http(kind: str, proxies: Proxies, tmp_path: Path, web: int) -> None:
    make_repository(tmp_path / "pages")
    copy = tmp_path / "copy"
    through = f"http.proxy={kind}://{HERE}:{proxies[kind].port}"
    result = git("-c", through, "clone", "-q", f"http://localhost:{web}/poem.git", f"{copy}")
    assert result == (0, b"", "")
    assert (copy / "romeo.txt").read_text() == ROMEO


DEBIAN = {"http": "connect", "socks4": "4", "socks5": "5"}  # what its nc calls them
LEADERS = [*(("nc.openbsd", kind) for kind in DEBIAN), *(("pync", kind) for kind in KINDS)]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with sshd(tmp_path_factory.mktemp("sshd")) as somewhere:
        yield somewhere


@pytest.mark.parametrize(("client", "kind"), LEADERS)
def test_ssh(client: str, kind: str, proxies: Proxies, account: Account) -> None:
    program = PYNC if client == "pync" else [installed(client, "netcat-openbsd")]
    protocol = DEBIAN.get(kind, kind)
    through = [*program, "-X", protocol, "-x", f"{HERE}:{proxies[kind].port}"]
    command = f"ProxyCommand={shlex.join(through)} %h %p"
    with Program(*account.ssh("-o", command), "cat", stdin=LARGE) as login:
        result = login.finish()
    assert (result.status, result.out) == (0, LARGE)


def ask_for(page: str) -> bytes:
    return f"GET /{page} HTTP/1.0\r\n\r\n".encode()


@pytest.mark.parametrize("kind", ["http", "socks4", "socks5"])
def test_ncat(kind: str, proxies: Proxies, web: int) -> None:
    through = ("--proxy", f"{HERE}:{proxies[kind].port}", "--proxy-type", kind)
    with Program(
        installed("ncat", "ncat"), *through, HERE, f"{web}", stdin=ask_for("large")
    ) as client:
        result = client.finish()
    assert result.status == 0
    assert result.out.partition(b"\r\n\r\n")[2] == LARGE


@pytest.mark.parametrize("last", KINDS)
@pytest.mark.parametrize("first", ["http", "socks5"])
def test_pync_through_one_and_the_next(first: str, last: str, proxies: Proxies, web: int) -> None:
    chain = [f"{kind}://{HERE}:{proxies[kind].port}" for kind in (first, last)]
    through = [word for proxy in chain for word in ("-x", proxy)]
    with start(*through, HERE, f"{web}", stdin=ask_for("large")) as client:
        result = client.finish()
    assert (result.status, result.err) == (0, "")
    assert result.out.partition(b"\r\n\r\n")[2] == LARGE
