"""What a proxy is told about who asks: the RFCs' own examples, and what proxies offer."""

from __future__ import annotations

import hashlib
import re

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pync.errors import UsageError
from pync.wire.http.auth import (
    Credentials,
    answer,
    check_credentials,
    choose,
    read_basic,
    read_challenges,
)

# --- Digest ---

RFC_7616 = (  # section 3.9.1
    b'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=%b, '
    b'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
    b'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RFC_2617 = (  # section 3.5
    b'Digest realm="testrealm@host.com", qop="auth,auth-int", '
    b'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)
RFC_2069 = (  # section 2.4, with the answer of its erratum
    b'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
    b'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)
EXAMPLES = {
    "RFC 7616, MD5": (
        *(RFC_7616 % b"MD5", "Circle of Life"),
        b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        b"8ca523f5e9506fed4657c9700eebdbec",
    ),
    "RFC 7616, SHA-256": (
        *(RFC_7616 % b"SHA-256", "Circle of Life"),
        b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    ),
    "RFC 2617": (
        *(RFC_2617, "Circle Of Life"),
        *(b"0a4f113b", b"6629fae49393a05397450978507c4ef1"),
    ),
    "RFC 2069": (RFC_2069, "CircleOfLife", b"", b"1949323746fe6a43ef61f9606e7febea"),
}


def fields(value: bytes) -> dict[bytes, bytes]:
    return dict(re.findall(rb'(\w+)="?([^",]*)"?', value.removeprefix(b"Digest ")))


@pytest.mark.parametrize(
    ("challenge", "password", "client_nonce", "response"), EXAMPLES.values(), ids=EXAMPLES
)
def test_digest_answers_as_the_rfcs_say(
    challenge: bytes, password: str, client_nonce: bytes, response: bytes
) -> None:
    (wanted,) = read_challenges([challenge])
    told = answer(wanted, Credentials("Mufasa", password), b"GET", b"/dir/index.html", client_nonce)
    expected = fields(challenge) | {b"response": response}
    expected |= {b"username": b"Mufasa", b"uri": b"/dir/index.html"}
    if client_nonce:
        expected |= {b"qop": b"auth", b"nc": b"00000001", b"cnonce": client_nonce}
    assert fields(told) == expected


@pytest.mark.parametrize("name", ["md5", "sha256"])
def test_a_session_hashes_the_secret_again(name: str) -> None:
    """RFC 7616 section 3.4.2."""

    def hashed(text: str) -> str:
        return hashlib.new(name, text.encode()).hexdigest()

    algorithm = name.replace("sha", "SHA-")
    challenge = f"Digest realm=r, nonce=n, qop=auth, algorithm={algorithm}-sess"
    (wanted,) = read_challenges([challenge.encode()])
    told = answer(wanted, Credentials("u", "p"), b"CONNECT", b"h:1", b"c")
    secret, request = hashed(hashed("u:r:p") + ":n:c"), hashed("CONNECT:h:1")
    expected = hashed(f"{secret}:n:00000001:c:auth:{request}")
    assert fields(told)[b"response"] == expected.encode()


def test_what_is_quoted_comes_back_quoted_and_is_hashed_as_it_was_meant() -> None:
    (wanted,) = read_challenges([rb'Digest realm="a \"b\" \\", nonce="\n"'])
    told = answer(wanted, Credentials('u"', "p"), b"GET", b"/")
    assert rb'username="u\"", realm="a \"b\" \\", nonce="n"' in told
    secret = hashlib.md5(b'u":a "b" \\:p').hexdigest()
    request = hashlib.md5(b"GET:/").hexdigest()
    response = hashlib.md5(f"{secret}:n:{request}".encode()).hexdigest()
    assert f'response="{response}"'.encode() in told


def test_no_two_answers_have_the_same_client_nonce() -> None:
    (wanted,) = read_challenges([RFC_2617])
    told = [answer(wanted, Credentials("u", "p"), b"GET", b"/") for _ in range(100)]
    assert len({fields(value)[b"cnonce"] for value in told}) == 100


# --- Basic ---


@pytest.mark.parametrize(
    ("credentials", "value"),  # RFC 7617 sections 2 and 2.1
    [
        (Credentials("Aladdin", "open sesame"), b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        (Credentials("test", "123\xa3"), b"Basic dGVzdDoxMjPCow=="),
    ],
)
def test_basic_is_as_the_rfc_says(credentials: Credentials, value: bytes) -> None:
    (wanted,) = read_challenges([b'Basic realm="WallyWorld"'])
    assert answer(wanted, credentials, b"CONNECT", b"h:1") == value
    assert read_basic(value) == credentials


@pytest.mark.parametrize(
    "value",
    [
        *[b"", b"Basic", b"Basic ", b"Basic Og", b"Basic dTpw!", b"Basic dTpw dTpw", b"Basicdg=="],
        *[b"Digest dTpw", b"Basic dXA=", b"Basic dTpw,Basic dTpw", b"dTpw", b"Basic \xff"],
    ],
)
def test_what_is_no_basic_shows_nobody(value: bytes) -> None:
    assert read_basic(value) is None


@pytest.mark.parametrize("value", [b"Basic dTpwOnA=", b"basic dTpwOnA=", b"BASIC  dTpwOnA= "])
def test_basic_is_read_as_it_may_be_written(value: bytes) -> None:
    assert read_basic(value) == Credentials("u", "p:p")


@settings(deadline=None)
@given(st.binary().filter(lambda user: b":" not in user), st.binary())
def test_any_argument_comes_through_basic_as_it_was(user: bytes, password: bytes) -> None:
    given_ = Credentials(*(text.decode("utf-8", "surrogateescape") for text in (user, password)))
    (wanted,) = read_challenges([b"Basic"])
    assert read_basic(answer(wanted, given_, b"CONNECT", b"h:1")) == given_


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_value_is_basic_or_not(value: bytes) -> None:
    read_basic(value)
    read_basic(b"Basic " + value)


# --- what a proxy offers ---

SHA = b"Digest realm=r, nonce=n, qop=auth, algorithm=SHA-256"
OFFERS = {
    "nothing": ([], None),
    "Basic": ([b'Basic realm="x"'], "basic"),
    "Basic without a realm": ([b"Basic"], "basic"),
    "the strongest, in fields": ([b"Basic", b"Digest realm=r, nonce=n", SHA], "sha-256"),
    "the strongest, in one field": ([b"Digest realm=r, nonce=n,Basic, " + SHA], "sha-256"),
    "a session if nothing else": ([SHA + b"-sess", b"Digest realm=r, nonce=n"], "sha-256-sess"),
    "no session if it can": ([SHA + b"-sess", SHA], "sha-256"),
    "Digest before Basic": ([b"Basic", b"dIGEST  REALM=r ,, nonce = n"], "md5"),
    "an algorithm nobody knows": ([b"Digest realm=r, nonce=n, algorithm=SHA-3", b"Basic"], "basic"),
    "auth-int alone": ([b"Digest realm=r, nonce=n, qop=auth-int"], None),
    "both kinds of qop": ([b'Digest realm=r, nonce=n, qop="auth-int , AUTH"'], "md5"),
    "a session that is old": ([b"Digest realm=r, nonce=n, algorithm=MD5-sess"], None),
    "no nonce": ([b"Digest realm=r"], None),
    "no realm": ([b"Digest nonce=n"], None),
    "others": ([b"Negotiate", b"NTLM TlRMTVNTUAAC=, Bearer realm=x"], None),
    "others before": ([b"NTLM TlRMTVNTUAAC==, Negotiate abc , Basic realm=x"], "basic"),
    "commas in quotes": ([b'Newauth realm="a, Digest realm=r", title="\\", ", Basic'], "basic"),
    "a parameter of nobody": ([b"realm=x, Basic"], "basic"),
    "nonsense": ([b'"', b"=", b"Digest realm=r, nonce=n, =, Basic", b"\xff"], "md5"),
    "a quote that never ends": ([b'Digest realm=r, nonce="n'], None),
}


@pytest.mark.parametrize(("offered", "chosen"), OFFERS.values(), ids=OFFERS)
def test_the_best_is_chosen(offered: list[bytes], chosen: str | None) -> None:
    challenge = choose(read_challenges(offered))
    if challenge and challenge.scheme == "digest":
        assert challenge.algorithm.decode() == chosen
    else:
        assert (challenge and challenge.scheme) == chosen


PARTS = [b"Digest ", b"Basic ", b"realm=r", b"nonce=", b"qop=auth", b",", b"=", b'"', b"\\", b" "]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PARTS) | st.binary(max_size=5)).map(b"".join))
def test_whatever_is_offered_the_answer_can_be_sent(value: bytes) -> None:
    try:
        heard = h11.Response(status_code=407, headers=[(b"Proxy-Authenticate", value)])
    except h11.LocalProtocolError:
        return  # no field's value
    challenge = choose(read_challenges([heard.headers[0][1]]))
    if challenge:
        told = answer(challenge, Credentials("u", "p"), b"CONNECT", b"h:1")
        headers = [(b"Host", b"h:1"), (b"Proxy-Authorization", told)]
        h11.Request(method=b"CONNECT", target=b"h:1", headers=headers)


# --- credentials that cannot be ---


@pytest.mark.parametrize(
    ("user", "password"),
    [
        *[("u:v", "secret"), ("u\r\nX: y", "secret"), ("u", "secret\n"), ("u\0", "secret")],
        *[("u", "secret\x7f"), ("u", "secret\x85"), ("\ud800", "secret"), ("u", "secret\udfff")],
    ],
)
def test_credentials_that_cannot_be_sent_are_a_mistake(user: str, password: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_credentials(Credentials(user, password))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "credentials",
    [Credentials("", ""), Credentials("a user", "p: \xe9 \u20ac"), Credentials("\udcff", "\udc80")],
)
def test_others_can_be_sent(credentials: Credentials) -> None:
    check_credentials(credentials)


def test_a_password_is_not_shown() -> None:
    credentials = Credentials("u", "secret")
    for shown in (f"{credentials}", f"{credentials!r}", f"{[credentials]}"):
        assert "secret" not in shown
