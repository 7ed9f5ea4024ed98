"""--starttls with real servers: the plain words, TLS, and then the user's own conversation.

There is no server for NNTP: the installation of Debian's inn2 fails on a machine whose name
has no domain.  For NNTP there is the scripted one in test_starttls.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest
from authority import Authority
from harness import PIPE, Program, Result
from starttls_servers import SERVERS, serving

from pync.wire.starttls import STARTTLS


class Turn(NamedTuple):
    """What the user says, and a pattern of what has come once that is answered."""

    say: bytes
    hear: str = ""


def mysql(number: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "little") + bytes([number]) + content


def postgres(content: bytes) -> bytes:
    return (4 + len(content)).to_bytes(4, "big") + content


MYSQL_LOGIN = bytes.fromhex("008a0000 00000001 21") + bytes(23) + b"pync\0\0"
MYSQL_PING, MYSQL_QUIT = b"\x0e", b"\x01"
MYSQL_OK = r"\x00\x00\x00\x02\x00\x00\x00"
POSTGRES_STARTUP = bytes.fromhex("00030000") + b"user\0pync\0database\0postgres\0\0"
POSTGRES_IS_READY = r"^R\x00\x00\x00\x08\x00\x00\x00\x00(?s:.)*Z\x00\x00\x00\x05I$"
LDAP_BIND = bytes.fromhex("300c 020101 6007 020103 0400 8000")  # as nobody
LDAP_BOUND = r"^0\x0c\x02\x01\x01a\x07\n\x01\x00\x04\x00\x04\x00$"
LDAP_UNBIND = bytes.fromhex("3005 020102 4200")
XMPP_STREAM = (
    b"<stream:stream xmlns='jabber:client' to='localhost' version='1.0' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>"
)

CONVERSATIONS = {
    "smtp": [Turn(b"EHLO us\n", r"250 \S+\r\n"), Turn(b"QUIT\n", "221 .*\r\n")],
    "lmtp": [Turn(b"LHLO us\n", r"250 \S+\r\n"), Turn(b"QUIT\n", "221 .*\r\n")],
    "imap": [
        Turn(b"a1 CAPABILITY\n", r"^\* CAPABILITY IMAP4.*\r\na1 OK .*\r\n"),
        Turn(b"a2 LOGOUT\n", r"a2 OK .*\r\n"),
    ],
    "pop3": [Turn(b"CAPA\n", r"^\+OK\r\nCAPA\r\n(?s:.)*\r\n\.\r\n"), Turn(b"QUIT\n", r"\+OK Log")],
    "sieve": [
        Turn(b"", 'OK "TLS .*\r\n'),
        Turn(b"CAPABILITY\n", 'OK "Capability .*\r\n'),
        Turn(b"LOGOUT\n", 'OK "Logout .*\r\n'),
    ],
    "ftp": [Turn(b"FEAT\n", "^211-(?s:.)*\r\n211 End\r\n"), Turn(b"QUIT\n", "221 .*\r\n")],
    "ldap": [Turn(LDAP_BIND, LDAP_BOUND), Turn(LDAP_UNBIND)],
    "postgres": [
        Turn(postgres(POSTGRES_STARTUP), POSTGRES_IS_READY),
        Turn(b"X" + postgres(b"")),
    ],
    "mysql": [
        Turn(mysql(2, MYSQL_LOGIN), rf"^\x07\x00\x00\x03{MYSQL_OK}$"),
        Turn(mysql(0, MYSQL_PING), rf"\x07\x00\x00\x01{MYSQL_OK}$"),
        Turn(mysql(0, MYSQL_QUIT)),
    ],
    "xmpp": [
        Turn(XMPP_STREAM, "<stream:features>.*PLAIN.*</stream:features>$"),
        Turn(b"</stream:stream>", "</stream:stream>$"),
    ],
}
IN_LINES = ["smtp", "lmtp", "imap", "pop3", "sieve", "ftp"]

# vsftpd and MariaDB end a session without close_notify.
CUT_SHORT = dict.fromkeys(
    ["ftp", "mysql"], "the peer ended without close_notify, something may be missing"
)

# Each server's words for having no TLS.
NOT_OFFERED = dict.fromkeys(SERVERS, "the server does not offer STARTTLS") | {
    "imap": 'the server said "a BAD TLS support isn\'t enabled."',
    "pop3": 'the server said "-ERR TLS support isn\'t enabled."',
    "ftp": "the server said '530 Please login with USER and PASS.'",
    "ldap": "the server said 'result code 2: unsupported extended operation'",
}

each_server = pytest.mark.parametrize("protocol", SERVERS)


def start(protocol: str, port: int, authority: Authority, *options: str, **how: Any) -> Program:
    trust = ("--ssl-trustfile", f"{authority.root}")
    return Program.pync("--starttls", protocol, *trust, *options, "localhost", f"{port}", **how)


def complaints(result: Result) -> str:
    return "".join(re.findall("^pync: .*", result.err, re.MULTILINE))


def check_end(protocol: str, result: Result) -> None:
    """All is well, but for what the server is known for."""
    cut_short = CUT_SHORT.get(protocol, "")
    assert complaints(result).endswith(cut_short)
    assert (result.status == 1) == bool(complaints(result)) == bool(cut_short)


def test_every_protocol_has_its_server_or_its_excuse() -> None:
    assert STARTTLS.keys() == SERVERS.keys() | {"nntp"}


@each_server
def test_a_conversation_under_tls(protocol: str, authority: Authority) -> None:
    crlf = ["-C"] if protocol in IN_LINES else []
    with (
        serving(protocol, authority.leaf["valid"]) as port,
        start(protocol, port, authority, "-v", "--linger", "0", *crlf, stdin=PIPE) as client,
    ):
        for say, hear in CONVERSATIONS[protocol]:
            client.send(say)
            client.expect(hear, "out")
        result = client.finish()
    check_end(protocol, result)
    assert re.search(r"^TLS: TLSv1\.[23], ", result.err, re.MULTILINE)
    assert "TLS: certificate of CN=valid, issued by CN=intermediate, " in result.err
    assert b"STARTTLS" not in result.out


@pytest.mark.parametrize("protocol", IN_LINES)
def test_a_conversation_from_a_pipe(protocol: str, authority: Authority) -> None:
    """Postfix does not read what is sent after QUIT, our close_notify: that resets the connection,
    and its own may be lost.  So it is not told of our end."""
    turns = CONVERSATIONS[protocol]
    said = b"".join(turn.say for turn in turns)
    with (
        serving(protocol, authority.leaf["valid"]) as port,
        start(protocol, port, authority, "-C", "--no-shutdown", stdin=said) as client,
    ):
        result = client.finish()
        for turn in turns:
            client.expect(turn.hear, "out")
    check_end(protocol, result)


@each_server
def test_a_server_with_a_certificate_for_another_name(protocol: str, authority: Authority) -> None:
    with (
        serving(protocol, authority.leaf["valid"]) as port,
        start(protocol, port, authority, "--ssl-servername", "other.example") as client,
    ):
        result = client.finish()
    assert result[:2] == (1, b"")
    assert "failed: name mismatch: certificate is for localhost, " in complaints(result)


@each_server
def test_a_server_without_tls(protocol: str, authority: Authority) -> None:
    with (
        serving(protocol, None) as port,
        start(protocol, port, authority) as client,
    ):
        result = client.finish()
    assert result[:2] == (1, b"")
    assert complaints(result) == (
        f"pync: STARTTLS ({protocol}) with localhost (127.0.0.1) port {port} (tcp) failed: "
        + NOT_OFFERED[protocol]
    )
