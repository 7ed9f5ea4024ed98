"""What the options for proxies mean, as far as nothing is opened yet."""

from __future__ import annotations

import pytest

from pync.address import split_host_port
from pync.arguments import read_options
from pync.cli import parse
from pync.environment import Environment
from pync.errors import UsageError
from pync.options import Options
from pync.proxies import between, onwards, stops
from pync.proxy_variables import proxy_of_environment
from pync.values import PROXY_TYPES, Login, Proxy, read_login, read_proxy

SECRET = "opensesame"


def options(*words: str) -> Options:
    given, addresses = parse([*words])
    return read_options(given, addresses)


# --- one value ---


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("host", ("host", "")),
        ("host:80", ("host", "80")),
        ("host:http", ("host", "http")),
        ("127.0.0.1:80", ("127.0.0.1", "80")),
        ("[::1]:80", ("::1", "80")),
        ("[::1]", ("::1", "")),
        ("::1", ("::1", "")),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", "80")),
        ("fe80::1%eth0", ("fe80::1%eth0", "")),
        ("::ffff:127.0.0.1", ("::ffff:127.0.0.1", "")),
    ],
)
def test_a_host_and_its_port_are_told_apart(text: str, parts: tuple[str, str]) -> None:
    assert split_host_port(text) == parts


@pytest.mark.parametrize(
    "text",
    ["", ":80", "host:", "x:y:z", "[host]:80", "[]:80", "[::1", "::1]:80", "[::1]80", "a b:1"],
)
def test_what_is_no_host_with_a_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a host "):
        split_host_port(text)


BOB = Login("bob", SECRET)


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("host", Proxy(None, "host", None)),
        ("host:3128", Proxy(None, "host", 3128)),
        ("[::1]:1080", Proxy(None, "::1", 1080)),
        ("http://host", Proxy("http", "host", None)),
        ("HTTPS://host:8443/", Proxy("https", "host", 8443)),
        ("socks4://host", Proxy("socks4", "host", None)),
        ("socks4a://host", Proxy("socks4a", "host", None)),
        ("socks://host", Proxy("socks5", "host", None)),
        ("socks5://[::1]", Proxy("socks5", "::1", None)),
        ("socks5h://host", Proxy("socks5", "host", None)),
        (f"http://bob:{SECRET}@host:1", Proxy("http", "host", 1, BOB)),
        (f"bob:{SECRET}@host", Proxy(None, "host", None, BOB)),
        ("http://bob@host", Proxy("http", "host", None, Login("bob", None))),
        ("http://bob:@host", Proxy("http", "host", None, Login("bob", ""))),
        ("http://b%3Ab:%40%2f%ff@host", Proxy("http", "host", None, Login("b:b", "@/\udcff"))),
        ("http://bob:a@b:c/d@host", Proxy("http", "host", None, Login("bob", "a@b:c/d"))),
    ],
)
def test_a_proxy_is_read(text: str, proxy: Proxy) -> None:
    assert read_proxy(text) == proxy
    assert SECRET not in repr(read_proxy(text))


@pytest.mark.parametrize("option", ["-x", "--via", "--proxy"])
@pytest.mark.parametrize(
    "text",
    [
        *["", ":80", "a b", "host:", "host:0", "host:65536", "host:x", "host:-1", "host:1.5"],
        *["host:٣", "[::1", "host\x01", "host\n", "ftp://host", "://host", "http://", "http:host"],
        *[f"http://bob:{SECRET}@", f"http://bob:{SECRET}@host:x", f"ftp://bob:{SECRET}@host"],
        *[f"http://bob:{SECRET}", f"http://:{SECRET}@host", f"http://bob:{SECRET}%0a@host"],
        *[f"http://bob:{SECRET}\x7f@host", f"http://bob:{SECRET}@host/path", f"b:{SECRET}@@host:"],
    ],
)
def test_a_bad_proxy_is_told_without_a_word_of_it(option: str, text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^--(via|proxy): its value is (not|neither|empty)"
    ) as told:
        options(option, text, "host", "80")
    assert SECRET not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "login"),
    [
        (f"bob:{SECRET}", BOB),
        ("bob:a:b", Login("bob", "a:b")),
        ("bob:", Login("bob", "")),
        ("bob", Login("bob", None)),
        ("bob:%40", Login("bob", "%40")),
    ],
)
def test_a_user_and_a_password_are_told_apart(text: str, login: Login) -> None:
    assert read_login(text) == login
    assert SECRET not in repr(login)


@pytest.mark.parametrize("text", ["", f":{SECRET}", f"bob:{SECRET}\n", f"b\x00b:{SECRET}"])
def test_bad_credentials_are_not_shown(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--proxy-auth: its value is not USER:PASS") as told:
        options("--proxy", "host", "--proxy-auth", text, "host", "80")
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(("name", "kind"), PROXY_TYPES.items())
def test_a_type_has_several_names(name: str, kind: str) -> None:
    assert options("-x", "proxy", "-X", name, "host", "80").proxy_type == kind
    assert options("-l", "--proxy-type", name.upper(), "80").proxy_type == kind


@pytest.mark.parametrize(
    ("option", "text"),
    [("-X", "6"), ("-X", ""), ("--proxy-type", "ftp"), ("--proxy-dns", "there"), ("-P", "")],
)
def test_what_is_no_choice_is_told(option: str, text: str) -> None:
    with pytest.raises(UsageError, match=r"^--proxy-\w+: .* is (not one of .+|empty)"):
        options("-x", "proxy", option, text, "host", "80")


# --- several ---


def test_proxies_may_be_several() -> None:
    found = options("-xa", "--via=b:1", "-vx", "socks4://c", "host", "80")
    assert found.via == (Proxy(None, "a", None), Proxy(None, "b", 1), Proxy("socks4", "c", None))
    assert options("--proxy", "a", "--proxy=b", "host", "80").proxy[1].host == "b"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-x a --proxy b host 1", "--via and --proxy exclude each other"),
        ("-l -x a 1", "--listen and --via exclude each other"),
        ("-l --proxy a 1", "--listen and --proxy exclude each other"),
        ("-U -x a path", "--unixsock and --via exclude each other"),
        ("-U --proxy a path", "--unixsock and --proxy exclude each other"),
        ("-P a --proxy-auth a:b -x c host 1", "--proxy-user and --proxy-auth exclude each other"),
        ("-X 5 host 1", "--proxy-type needs --via, --proxy or --listen"),
        ("--proxy-auth a:b host 1", "--proxy-auth needs --via, --proxy or --proxy-type"),
        ("-P a host 1", "--proxy-user needs --via, --proxy or --proxy-type"),
        ("-l -P a 1", "--proxy-user needs --via, --proxy or --proxy-type"),
        ("-lu -X 5 1", "--listen and --proxy-type exclude --udp"),
        ("-zu -x a host 1", "--zero and --udp exclude --via"),
        ("-l --proxy-dns none 1", "--proxy-dns needs --via or --proxy"),
    ],
)
def test_what_does_not_go_together_is_told(line: str, told: str) -> None:
    with pytest.raises(UsageError, match=f"^{told}$"):
        options(*line.split())


def test_a_listener_may_have_what_serving_as_a_proxy_needs() -> None:
    found = options("-lk", "-X", "http", "--proxy-auth", f"bob:{SECRET}", "3128")
    assert (found.proxy_type, found.proxy_auth) == ("http", BOB)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-u --proxy a", "--udp: datagrams pass only through one SOCKS5 proxy"),
        ("-u -x a -x b", "--udp: datagrams pass only through one SOCKS5 proxy"),
        ("-u -X 4 -x a", "--udp: datagrams pass only through one SOCKS5 proxy"),
        ("-F --proxy https://a", "--fd-pass cannot pass on the TLS"),
        ("-F -x a -x https://b", "--fd-pass cannot pass on the TLS"),
        ("--proxy env --proxy a", "--proxy env stands for all proxies, and goes with no other"),
        ("--proxy a --proxy env", "--proxy env stands for all proxies, and goes with no other"),
    ],
)
def test_what_no_proxies_can_do_is_told(line: str, told: str) -> None:
    with pytest.raises(UsageError, match=f"^{told}"):
        stops(options(*line.split(), "host", "80"), Environment(variables={}))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-x a", ["SOCKS5 proxy a port 1080"]),
        ("--proxy a", ["HTTP CONNECT proxy a port 3128"]),
        ("-X https -x a", ["HTTPS CONNECT proxy a port 443"]),
        (
            "-X 4a -x a -x socks4://10.0.0.1:1",
            ["SOCKS4a proxy a port 1080", "SOCKS4 proxy 10.0.0.1 port 1"],
        ),
        ("-x env", ["SOCKS5 proxy env port 1080"]),
        ("--proxy env:80", ["HTTP CONNECT proxy env port 80"]),
    ],
)
def test_each_kind_has_its_port(line: str, told: list[str]) -> None:
    asked = options(*line.split(), "10.0.0.2", "80")
    found = stops(asked, Environment(variables={}))
    assert [str(hop) for hop in between(found, onwards(found, asked))] == told


# --- the environment ---


@pytest.mark.parametrize(
    ("variables", "used"),
    [
        ({"https_proxy": "a", "HTTPS_PROXY": "b", "all_proxy": "c", "ALL_PROXY": "d"}, "a"),
        ({"HTTPS_PROXY": "b", "all_proxy": "c", "ALL_PROXY": "d"}, "b"),
        ({"HTTPS_PROXY": "", "all_proxy": "c", "ALL_PROXY": "d"}, "c"),
        ({"ALL_PROXY": "d", "http_proxy": "e"}, "d"),
    ],
)
def test_one_variable_goes_before_another(variables: dict[str, str], used: str) -> None:
    (proxy,) = proxy_of_environment("host", Environment(variables=variables))
    assert proxy.host == used


EXCEPTIONS = "one.example, .two.example 10.0.0.0/8,192.0.2.1,[2001:db8::1] fd00::/8"


@pytest.mark.parametrize(
    ("host", "exceptions", "excepted"),
    [
        ("one.example", EXCEPTIONS, True),
        ("ONE.example.", EXCEPTIONS, True),
        ("www.one.example", EXCEPTIONS, True),
        ("someone.example", EXCEPTIONS, False),
        ("two.example", EXCEPTIONS, True),
        ("www.two.example", EXCEPTIONS, True),
        ("example", EXCEPTIONS, False),
        ("10.1.2.3", EXCEPTIONS, True),
        ("192.0.2.1", EXCEPTIONS, True),
        ("192.0.2.10", EXCEPTIONS, False),
        ("2001:db8::1", EXCEPTIONS, True),
        ("2001:db8::2", EXCEPTIONS, False),
        ("fd00::1", EXCEPTIONS, True),
        ("anything", "*", True),
        ("anything", "other,*", True),
        ("anything", "", False),
        ("anything", ", ,", False),
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_hosts_may_be_excepted(host: str, name: str, exceptions: str, excepted: bool) -> None:
    environment = Environment(variables={"all_proxy": "proxy", name: exceptions})
    assert (proxy_of_environment(host, environment) == ()) == excepted


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "none of https_proxy, HTTPS_PROXY, all_proxy, ALL_PROXY is set"),
        ({"all_proxy": ""}, "none of "),
        ({"ALL_PROXY": f"ftp://bob:{SECRET}@host"}, "the value of ALL_PROXY is not a proxy"),
        ({"https_proxy": f"http://bob:{SECRET}"}, "the value of https_proxy is not a proxy"),
    ],
)
def test_an_environment_of_no_use_is_told(variables: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=f"^--proxy env: {told}") as error:
        proxy_of_environment("host", Environment(variables=variables))
    assert SECRET not in str(error.value)
