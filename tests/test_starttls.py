"""The plain openings that lead to TLS: whole conversations, in the shapes that real servers give
them, and what becomes of each when the server says no, says too much, or says something else.

What a server says is written with \\n for CR LF where its protocol has lines.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pync.errors import ProtocolError
from pync.wire.dialogue import MOST_TURN
from pync.wire.starttls import STARTTLS, starttls
from pync.wire.starttls.lines import MOST_LINE
from pync.wire.starttls.opening import Opening

PEER = "localhost (127.0.0.1) port 25 (tcp)"
NAME = "example.org"
EVERYTHING = 1 << 20

LDAP_REQUEST = bytes.fromhex("301d 0201 01 7718 8016") + b"1.3.6.1.4.1.1466.20037"
LDAP_SUCCESS = bytes.fromhex("300c 020101 7807 0a0100 0400 0400")
SSL_REQUEST = bytes.fromhex("00000008 04d2162f")
MYSQL_SSL_REQUEST = bytes.fromhex("200000 01 008a0000 00000001 21") + bytes(23)
XMPP_HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams' to='example.org' version='1.0'>"
)
XMPP_STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
XMPP_PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
XMPP_STREAM = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0' xml:lang='en' "
    b"xmlns:stream='http://etherx.jabber.org/streams' from='example.org' id='8be4-25c0'>"
)


def mysql(flags: int = 0xFFFE, version: bytes = b"\x0a5.5.5-10.11.6-MariaDB\0") -> bytes:
    """A server's greeting with these capabilities (the lower two bytes of them)."""
    packet = version + (31).to_bytes(4, "little") + b"q:Pd=@3k\0"
    packet += flags.to_bytes(2, "little") + bytes.fromhex("2d 0200 ff81 15") + bytes(10)
    packet += b"S&wB{2>b^R1q\0mysql_native_password\0"
    return len(packet).to_bytes(3, "little") + b"\0" + packet


def postgres_error(words: bytes) -> bytes:
    fields = b"SFATAL\0VFATAL\0C53300\0M" + words + b"\0Fpostmaster.c\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


class Script(NamedTuple):
    """A conversation, in turns of what the server says and what the client then says."""

    protocol: str
    turns: list[tuple[bytes, bytes]]


def mail(hello: str, greeting: str, capabilities: str, ready: str) -> list[tuple[bytes, bytes]]:
    return [
        (crlf(greeting), crlf(f"{hello} [127.0.0.1]\n")),
        (crlf(capabilities), b"STARTTLS\r\n"),
        (crlf(ready), b""),
    ]


POSTFIX = """\
250-mail.example.org
250-PIPELINING
250-SIZE 10240000
250-VRFY
250-ETRN
250-STARTTLS
250-ENHANCEDSTATUSCODES
250-8BITMIME
250-DSN
250-SMTPUTF8
250 CHUNKING
"""
PIGEONHOLE = """\
"IMPLEMENTATION" "Dovecot (Debian) Pigeonhole"
"SIEVE" "fileinto reject envelope encoded-character vacation subaddress relational imap4flags"
"NOTIFY" "mailto"
"SASL" ""
"STARTTLS"
"VERSION" "1.0"
OK "Dovecot (Debian) ready."
"""
PROSODY = (
    b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
    b"<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>10000</max-bytes></limits>"
    b"</stream:features>"
)

SCRIPTS = {
    "postfix": Script("smtp", mail(
        "EHLO", "220 mail.example.org ESMTP Postfix (Debian)\n", POSTFIX,
        "220 2.0.0 Ready to start TLS\n",
    )),
    "postfix, postscreen": Script("smtp", mail(
        "EHLO", "220-mail.example.org wait\n220 mail.example.org ESMTP Postfix\n", POSTFIX,
        "220 2.0.0 Ready to start TLS\n",
    )),
    "exim, STARTTLS last": Script("smtp", mail(
        "EHLO", "220 mx ESMTP Exim 4.96 Thu, 01 Jan 2026 00:00:00 +0000\n",
        "250-mx Hello localhost [127.0.0.1]\n250-HELP\n250 STARTTLS\n", "220 TLS go ahead\n",
    )),
    "dovecot lmtp": Script("lmtp", mail(
        "LHLO", "220 mail.example.org Dovecot (Debian) ready.\n",
        "250-mail.example.org\n250-STARTTLS\n250-8BITMIME\n250-CHUNKING\n250 PIPELINING\n",
        "220 2.0.0 OK\n",
    )),
    "dovecot imap": Script("imap", [
        (crlf("* OK [CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ "
              "STARTTLS LOGINDISABLED] Dovecot (Debian) ready.\n"), b"a STARTTLS\r\n"),
        (crlf("a OK Begin TLS negotiation now.\n"), b""),
    ]),
    "imap, untagged lines": Script("imap", [
        (crlf("* OK IMAP4rev1 Service Ready\n"), b"a STARTTLS\r\n"),
        (crlf("* CAPABILITY IMAP4rev1 STARTTLS\n* OK Bye for now\na ok\n"), b""),
    ]),
    "dovecot pop3": Script("pop3", [
        (crlf("+OK Dovecot (Debian) ready.\n"), b"STLS\r\n"),
        (crlf("+OK Begin TLS negotiation now.\n"), b""),
    ]),
    "vsftpd": Script("ftp", [
        (crlf("220 (vsFTPd 3.0.3)\n"), b"AUTH TLS\r\n"),
        (crlf("234 Proceed with negotiation.\n"), b""),
    ]),
    "proftpd, with a banner": Script("ftp", [
        (crlf("220-Welcome.\n Be kind\n221 times.\n\n220-And again.\n"
              "220 ProFTPD Server (Debian) [::ffff:127.0.0.1]\n"), b"AUTH TLS\r\n"),
        (crlf("234 AUTH TLS successful\n"), b""),
    ]),
    "inn": Script("nntp", [
        (crlf("200 news.example.org InterNetNews NNRP server INN 2.7.1 ready (posting ok)\n"),
         b"STARTTLS\r\n"),
        (crlf("382 Begin TLS negotiation now\n"), b""),
    ]),
    "inn, no posting": Script("nntp", [
        (b"201 news (no posting)\n", b"STARTTLS\r\n"),
        (b"382\n", b""),
    ]),
    "pigeonhole": Script("sieve", [
        (crlf(PIGEONHOLE), b"STARTTLS\r\n"),
        (crlf('OK "Begin TLS negotiation now."\n'), b""),
    ]),
    "sieve, literals": Script("sieve", [
        (crlf('"IMPLEMENTATION" {12}\nOK "x\\\nNO\n\n"Y" {0}\n\n{8}\nstarttls\n"Z" ""\n'
              'OK (TAG {3}\n"\n) {4}\nNO\n\n'), b"STARTTLS\r\n"),
        (crlf("OK\n"), b""),
    ]),
    "slapd": Script("ldap", [(b"", LDAP_REQUEST), (LDAP_SUCCESS, b"")]),
    "active directory": Script("ldap", [
        (b"", LDAP_REQUEST),
        (bytes.fromhex("3084 00000028 020101 7884 0000001f 0a0100 0400 0400 8a16")
         + b"1.3.6.1.4.1.1466.20037", b""),
    ]),
    "postgres": Script("postgres", [(b"", SSL_REQUEST), (b"S", b"")]),
    "mariadb": Script("mysql", [(mysql(), MYSQL_SSL_REQUEST)]),
    "prosody": Script("xmpp", [
        (b"", XMPP_HEADER),
        (XMPP_STREAM + PROSODY, XMPP_STARTTLS),
        (XMPP_PROCEED, b""),
    ]),
    "ejabberd, spread out": Script("xmpp", [
        (b"", XMPP_HEADER),
        (XMPP_STREAM.replace(b"'", b'"') + b"\n  " + PROSODY.replace(b"><", b">\n<"),
         XMPP_STARTTLS),
        (XMPP_PROCEED.replace(b"/>", b"></proceed >"), b""),
    ]),
}  # fmt: skip


def opening(protocol: str) -> Opening:
    return starttls(protocol, PEER, NAME)


def feed(dialogue: Opening, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        dialogue.receive(data[start : start + size])


def say(dialogue: Opening, size: int = EVERYTHING) -> bytes:
    return b"".join(iter(lambda: dialogue.data_to_send(size), b""))


def play(script: Script, turns: int, size: int = EVERYTHING) -> Opening:
    """The opening after so many turns of the script, in pieces of `size` bytes."""
    dialogue = opening(script.protocol)
    for heard, answer in script.turns[:turns]:
        feed(dialogue, heard, size)
        assert not dialogue.established
        assert say(dialogue, size) == answer
    return dialogue


def before_the_end(script: Script) -> Opening:
    """The opening when the client has said all and waits for the last reply."""
    return play(script, len(script.turns) - 1)


def failure(why: str, protocol: str) -> str:
    return f"STARTTLS ({protocol}) with {PEER} failed: {why}"


def outcome(dialogue: Opening, data: bytes, size: int) -> str:
    """What the bytes lead to: a state, or the words of an error."""
    try:
        feed(dialogue, data, size)
    except ProtocolError as error:
        return str(error)
    return "established" if dialogue.established else "going on"


each_script = pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
each_protocol = pytest.mark.parametrize("protocol", STARTTLS)


@each_script
@pytest.mark.parametrize("size", [1, 7, EVERYTHING])
def test_a_conversation_leads_to_tls(script: Script, size: int) -> None:
    *early, (last_heard, last_said) = script.turns
    dialogue = play(script, len(early), size)
    feed(dialogue, last_heard, size)
    assert dialogue.established == (not last_said)
    assert say(dialogue, size) == last_said
    assert dialogue.established
    dialogue.receive_end()  # TLS will have its own opinion


def test_every_protocol_has_a_conversation() -> None:
    assert {script.protocol for script in SCRIPTS.values()} == STARTTLS.keys()


def test_the_protocols_are_those_that_are_documented() -> None:
    documented = "ftp imap ldap lmtp mysql nntp pop3 postgres sieve smtp xmpp"
    assert " ".join(sorted(STARTTLS)) == documented


# --- the server says no ---

NOT_OFFERED = "the server does not offer STARTTLS"
NONSENSE = "its answer makes no sense in this protocol"
CLOSING = b"</stream:stream>"
STREAM_ERROR = (
    b"<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
    b"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>No such host</text></stream:error>"
)


@pytest.mark.parametrize(
    ("name", "turn", "heard", "why"),
    [
        ("postfix", 0, b"554 5.7.1 No\r\n", "the server said '554 5.7.1 No'"),
        ("postfix", 0, b"554-No\r\n554 way\r\n", "the server said '554-No'"),
        ("postfix", 0, b"SSH-2.0-OpenSSH_9.2\r\n", "the server said 'SSH-2.0-OpenSSH_9.2'"),
        ("postfix", 1, b"502 5.5.2 Error\r\n", "the server said '502 5.5.2 Error'"),
        ("postfix", 1, b"250-mx\r\n220 mx\r\n", "the server said '220 mx'"),
        ("postfix", 1, b"250 STARTTLS.example.org\r\n", NOT_OFFERED),
        ("postfix", 1, b"250-mx\r\n250-XSTARTTLS\r\n250 HELP\r\n", NOT_OFFERED),
        ("postfix", 2, b"454 TLS not available\r\n", "the server said '454 TLS not available'"),
        ("postfix", 2, b"2200 OK\r\n", "the server said '2200 OK'"),
        ("postfix", 2, b"4\x1b[2J\xff\xc3\xa9\r\n", "the server said '4\\x1b[2J\\\\xffé'"),
        ("postfix", 2, b"5" * 999 + b"\n", f"the server said '{'5' * 200}'"),
        ("dovecot lmtp", 1, b"250 mail\r\n", NOT_OFFERED),
        ("dovecot imap", 0, b"* PREAUTH hello\r\n", "the server said '* PREAUTH hello'"),
        ("dovecot imap", 0, b"* BYE full\r\n", "the server said '* BYE full'"),
        ("dovecot imap", 1, b"a NO not now\r\n", "the server said 'a NO not now'"),
        ("dovecot imap", 1, b"* OK x\r\na BAD what\r\n", "the server said 'a BAD what'"),
        ("dovecot imap", 1, b"* BYE tired\r\n", "the server said '* BYE tired'"),
        ("dovecot imap", 1, b"b OK\r\n", "the server said 'b OK'"),
        ("dovecot pop3", 0, b"-ERR busy\r\n", "the server said '-ERR busy'"),
        ("dovecot pop3", 1, b"-ERR TLS support isn't enabled.\r\n",
         'the server said "-ERR TLS support isn\'t enabled."'),
        ("vsftpd", 0, b"421 Too many\r\n", "the server said '421 Too many'"),
        ("vsftpd", 1, b"530 Please login.\r\n", "the server said '530 Please login.'"),
        ("inn", 0, b"502 no permission\r\n", "the server said '502 no permission'"),
        ("inn", 1, b"580 Can not\r\n", "the server said '580 Can not'"),
        ("pigeonhole", 0, b'"SIEVE" "\\"STARTTLS\\""\r\nOK\r\n', NOT_OFFERED),
        ("pigeonhole", 0, b'"X" {12}\r\n\r\n"STARTTLS"\r\nOK\r\n', NOT_OFFERED),
        ("pigeonhole", 0, b'{12}\r\nSTARTTLS" "X\r\nOK\r\n', NOT_OFFERED),
        ("pigeonhole", 0, b'BYE "Too many"\r\n', "the server said 'BYE \"Too many\"'"),
        ("pigeonhole", 1, b"NO {2}\r\nno\r\n", "the server said 'NO \"no\"'"),
        ("slapd", 1, bytes.fromhex("3012 020101 780d 0a0102 0400 0406") + b"cannot",
         "the server said 'result code 2: cannot'"),
        ("slapd", 1, bytes.fromhex("300c 020102 7807 0a0100 0400 0400"), NONSENSE),
        ("slapd", 1, bytes.fromhex("300c 020101 6107 0a0100 0400 0400"), NONSENSE),
        ("slapd", 1, bytes.fromhex("300b 020101 7806 0a00 0400 0400"), NONSENSE),
        ("slapd", 1, bytes.fromhex("3008 020101 7803 0a0100"), NONSENSE),
        ("slapd", 1, bytes.fromhex("300c 020101 7807 0a0100 0400 0401"), NONSENSE),
        ("slapd", 1, bytes.fromhex("3080 020101 7880 0a0100 0400 0400 0000 0000"), NONSENSE),
        ("slapd", 1, bytes.fromhex("300c 020101 7807 0a0100 0480 0400"), NONSENSE),
        ("slapd", 1, bytes.fromhex("3085 000000000c 020101 7807 0a0100 0400 0400"), NONSENSE),
        ("slapd", 1, bytes.fromhex("3084 7fffffff"), "its answer is too long"),
        ("slapd", 1, b"\x00", NONSENSE),
        ("postgres", 1, b"N", NOT_OFFERED),
        ("postgres", 1, postgres_error(b"sorry, too many clients already"),
         "the server said 'sorry, too many clients already'"),
        ("postgres", 1, b"E\xff\xff\xff\xff", "its answer is too long"),
        ("postgres", 1, b"E\0\0\0\3", NONSENSE),
        ("postgres", 1, b"H", NONSENSE),
        ("mariadb", 0, mysql(flags=0xF7FE), NOT_OFFERED),
        ("mariadb", 0, b"\x19\0\0\0\xff\x10\x04Too many connections..",
         "the server said 'Too many connections..'"),
        ("mariadb", 0, mysql(version=b"\x093.20\0"), NONSENSE),
        ("mariadb", 0, b"\x03\0\0\0\x0a5\0", NONSENSE),
        ("mariadb", 0, b"220 mail.example.org ESMTP\r\n", NONSENSE),
        ("mariadb", 0, b"\xff\xff\xff\0", "its answer is too long"),
        ("prosody", 1, XMPP_STREAM + b"<stream:features/>", NOT_OFFERED),
        ("prosody", 1, XMPP_STREAM + b"<stream:features><starttls/></stream:features>",
         NOT_OFFERED),
        ("prosody", 1, XMPP_STREAM + STREAM_ERROR, "the server said 'error host-unknown'"),
        ("prosody", 1, XMPP_STREAM + CLOSING, "the server said '</stream:stream>'"),
        ("prosody", 1, b"<stream>", NONSENSE),
        ("prosody", 1, XMPP_STREAM + b"</features>", NONSENSE),
        ("prosody", 1, b"<!DOCTYPE a [<!ENTITY b 'c'>", NONSENSE),
        ("prosody", 1, XMPP_STREAM + b"<!-- b -->", NONSENSE),
        ("prosody", 1, XMPP_STREAM + b"<?b c?>", NONSENSE),
        ("prosody", 1, XMPP_STREAM + b"&b;<a/>", NONSENSE),
        ("prosody", 1, XMPP_STREAM + b"<a b='>'/>", NONSENSE),
        ("prosody", 2, b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + CLOSING,
         "the server said 'failure'"),
        ("prosody", 2, b"<proceed/>", "the server said 'proceed'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, EVERYTHING])
def test_a_server_that_says_no_is_told(
    name: str, turn: int, heard: bytes, why: str, size: int
) -> None:
    dialogue = play(SCRIPTS[name], turn)
    with pytest.raises(ProtocolError) as caught:
        feed(dialogue, heard, size)
    assert str(caught.value) == failure(why, SCRIPTS[name].protocol)


@each_script
def test_after_a_no_nothing_is_believed(script: Script) -> None:
    dialogue = before_the_end(script)
    with pytest.raises(ProtocolError) as first:
        dialogue.receive(b"\0\n\0\1>")
    with pytest.raises(ProtocolError) as second:
        dialogue.receive(script.turns[-1][0])
    assert str(second.value) == str(first.value)
    assert (dialogue.established, dialogue.data_to_send(EVERYTHING)) == (False, b"")


# --- bytes out of turn, as they are injected between the plain opening and TLS ---

INJECTED = "bytes came before the handshake"
UNASKED = "it answered before it was asked"


@each_script
@pytest.mark.parametrize("more", [b"\n", b"\x16\x03\x01", b"220 and more\r\n", bytes(100_000)])
def test_bytes_with_the_last_reply_are_an_error(script: Script, more: bytes) -> None:
    dialogue = before_the_end(script)
    last_heard, last_said = script.turns[-1]
    with pytest.raises(ProtocolError) as caught:
        dialogue.receive(last_heard + more)
    assert str(caught.value) == failure(UNASKED if last_said else INJECTED, script.protocol)
    assert not dialogue.established


@each_script
def test_bytes_after_the_last_reply_are_an_error(script: Script) -> None:
    dialogue = before_the_end(script)
    dialogue.receive(script.turns[-1][0])
    say(dialogue)
    assert dialogue.established
    dialogue.receive(b"")
    with pytest.raises(ProtocolError) as caught:
        dialogue.receive(b"x")
    assert str(caught.value) == failure(INJECTED, script.protocol)
    assert not dialogue.established


@each_script
def test_an_answer_before_its_question_is_an_error(script: Script) -> None:
    """All of them at once, in one piece, and one more before the question is wholly out."""
    dialogue = opening(script.protocol)
    with pytest.raises(ProtocolError) as caught:
        dialogue.receive(b"".join(heard for heard, _ in script.turns) + b"x")
    assert str(caught.value) == failure(UNASKED, script.protocol)


@each_script
def test_an_answer_to_half_a_question_is_an_error(script: Script) -> None:
    for turn, (heard, answer) in enumerate(script.turns):
        if answer:
            dialogue = play(script, turn)
            feed(dialogue, heard, EVERYTHING)
            assert dialogue.data_to_send(len(answer) - 1) == answer[:-1]
            with pytest.raises(ProtocolError, match=UNASKED):
                dialogue.receive(b"2")
            assert dialogue.data_to_send(EVERYTHING) == b""


# --- the server goes away, or never comes to an end ---


@each_script
def test_a_server_that_goes_away_is_told(script: Script) -> None:
    for turn, (heard, _) in enumerate(script.turns):
        for kept in {0, 1, len(heard) - 1} & {*range(len(heard))}:
            dialogue = play(script, turn)
            feed(dialogue, heard[:kept], EVERYTHING)
            with pytest.raises(ProtocolError) as caught:
                dialogue.receive_end()
            assert str(caught.value) == failure("it closed the connection", script.protocol)


STANZA = XMPP_STREAM + b"<stream:features>"
ENDLESS = {
    "a line": ("postfix", 0, b"", b"2", MOST_LINE),
    "a greeting": ("postfix", 0, b"", b"220-hello\r\n", MOST_TURN),
    "capabilities": ("postfix", 1, b"", b"250-X\r\n", MOST_TURN),
    "untagged lines": ("dovecot imap", 1, b"", b"* OK\r\n", MOST_TURN),
    "a banner": ("vsftpd", 0, b"220-", b"\r\n", MOST_TURN),
    "quoted strings": ("pigeonhole", 0, b"", b'"STARTTLS"\r\n', MOST_TURN),
    "literals": ("pigeonhole", 0, b"", b'"X" {1}\r\n\n\r\n', MOST_TURN),
    "one line of empty literals": ("pigeonhole", 0, b"", b"{0}\r\n", MOST_TURN),
    "elements": ("prosody", 1, STANZA, b"<a/>", MOST_TURN),
    "depth": ("prosody", 1, STANZA, b"<a>", MOST_TURN),
    "a tag": ("prosody", 1, STANZA, b"<a", MOST_TURN),
    "text": ("prosody", 1, STANZA, b"text", MOST_TURN),
}


@pytest.mark.parametrize(("name", "turn", "start", "part", "most"), ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("size", [1, 1000, EVERYTHING])
def test_an_endless_reply_is_refused(
    name: str, turn: int, start: bytes, part: bytes, most: int, size: int
) -> None:
    dialogue = play(SCRIPTS[name], turn)
    heard = start + part * (most // len(part) + 1)
    assert outcome(dialogue, heard[: most - 1], size) == "going on"
    assert "too long" in outcome(dialogue, heard[most - 1 : most + 1], size)


# --- anything at all ---

ANY_PROTOCOL = st.sampled_from(sorted(STARTTLS))
ANY_SCRIPT = st.sampled_from(sorted(SCRIPTS))
PIECES = st.lists(st.binary(max_size=40) | st.sampled_from([b"\r\n", b">", b"220 ", b"+OK"]))


@given(ANY_PROTOCOL, PIECES)
def test_anything_ends_in_a_state_or_an_error(protocol: str, pieces: list[bytes]) -> None:
    dialogue = opening(protocol)
    with suppress(ProtocolError):
        for piece in pieces:
            say(dialogue)
            dialogue.receive(piece)


@given(ANY_SCRIPT, st.data())
def test_a_changed_conversation_gives_the_same_however_it_is_cut(
    name: str, data: st.DataObject
) -> None:
    script = SCRIPTS[name]
    turn = data.draw(st.integers(0, len(script.turns) - 1))
    heard = bytearray(script.turns[turn][0])
    place = data.draw(st.integers(0, len(heard)))
    heard[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    outcomes = {outcome(play(script, turn), bytes(heard), size) for size in (1, 3, EVERYTHING)}
    assert len(outcomes) == 1
    assert all(words.isprintable() for words in outcomes)


@given(st.text(max_size=30))
def test_a_name_cannot_break_out_of_the_xmpp_header(name: str) -> None:
    shown = "".join(c if c.isprintable() else "?" for c in name)
    header = starttls("xmpp", PEER, shown).data_to_send(EVERYTHING)
    stream = ElementTree.fromstring(header.decode() + "</stream:stream>")
    assert stream.attrib == {"to": shown, "version": "1.0"}


def test_a_name_that_is_no_text_is_sent_all_the_same() -> None:
    header = starttls("xmpp", PEER, "a\udcffb").data_to_send(EVERYTHING)
    assert b"to='a?b'" in header


def test_only_xmpp_needs_xml() -> None:
    tell = "import sys; from pync.wire.starttls import *; {}; print('pyexpat' in sys.modules)"
    for protocol, needs in (("smtp", "False"), ("xmpp", "True")):
        start = f"starttls({protocol!r}, 'peer', 'name')"
        shown = subprocess.run(
            [sys.executable, "-c", tell.format(start)], capture_output=True, text=True, check=True
        )
        assert shown.stdout.strip() == needs
