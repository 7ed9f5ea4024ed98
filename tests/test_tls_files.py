"""Certificates, keys and passphrases: what cannot be used is told in a line, before anything is
opened; what a listener makes for itself is what it says it is."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from authority import PASSPHRASE, Authority
from harness import Program, needs_ipv6
from plain_peer import HERE, ended_within, start
from test_terminal import Terminal

UNSEEN = "PYNC_SSL_PASSPHRASE"

# The role, the options, and what is said of them.  What is in braces is one of `files`.
BAD_FILES = [
    ("connects", "--ssl-trustfile {missing}", "{missing}: No such file or directory"),
    ("connects", "--ssl-trustfile {directory}", "{directory}: Is a directory"),
    ("connects", "--ssl-trustfile {empty}", "{empty}: no certificate or crl found"),
    ("connects", "--ssl-trustfile {text}", "{text}: no certificate or crl found"),
    ("connects", "--ssl-trustfile {broken}", "{broken}: a certificate in it is damaged"),
    ("connects", "--ssl-cert {missing}", "{missing}: No such file or directory"),
    ("connects", "--ssl-cert {chain}", "{chain}: there is no certificate with its key in it"),
    ("listens", "--ssl-cert {missing}", "{missing}: No such file or directory"),
    ("listens", "--ssl-cert {empty}", "{empty}: there is no certificate with its key in it"),
    ("listens", "--ssl-cert {broken}", "{broken}: there is no certificate with its key in it"),
    ("listens", "--ssl-cert {key}", "{key}: there is no certificate with its key in it"),
    ("listens", "--ssl-cert {chain} --ssl-key {missing}", "{chain} and {missing}: No such file .*"),
    ("listens", "--ssl-cert {chain} --ssl-key {text}", "{chain} and {text}: there is no .* key .*"),
    ("listens", "--ssl-cert {chain} --ssl-key {foreign}", "{chain} .*: the key does not belong .*"),
    ("listens", "--ssl-cert {chain} --ssl-key {rsa}", "{chain} .*: the key does not belong .*"),
    ("listens", "--ssl-cert {chain} --ssl-key {locked}", "{chain} .*: the key does not belong .*"),
    ("listens", "--ssl-client-ca {missing} --ssl-cert {combined}", "{missing}: No such file .*"),
    ("listens", "--ssl-client-ca {key} --ssl-cert {combined}", "{key}: no certificate or crl .*"),
    ("logs keys", "--ssl", "{directory}: Is a directory"),
]


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> dict[str, Path]:
    """Files for BAD_FILES by their names there; {missing} does not exist."""
    valid, rsa = authority.leaf["valid"], authority.leaf["rsa"]
    texts = {
        "empty": "",
        "text": "the quick brown fox\n",
        "broken": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return {
        **{name: tmp_path / name for name in ("missing", *texts)},
        "directory": tmp_path,
        "chain": valid.chain,
        "key": valid.key,
        "combined": valid.combined,
        "foreign": authority.leaf["expired"].key,
        "rsa": rsa.key,
        "locked": authority.leaf["encrypted-key"].key,
    }


@pytest.mark.parametrize(("role", "options", "told"), BAD_FILES)
def test_a_file_that_cannot_be_used_is_told_before_anything_is_opened(
    role: str, options: str, told: str, files: dict[str, Path], tmp_path: Path
) -> None:
    named = {name: re.escape(f"{path}") for name, path in files.items()}
    env = {UNSEEN: PASSPHRASE, "SSLKEYLOGFILE": f"{tmp_path}" if role == "logs keys" else ""}
    with socket.create_server((HERE, 0)) as server:
        server.setblocking(False)
        where = (HERE, f"{server.getsockname()[1]}")  # who opened it would be told of that
        words = (*(["-l"] if role == "listens" else []), *options.format(**files).split(), *where)
        with start(*words, env=env) as pync:
            status, out, err = pync.finish()
        with pytest.raises(BlockingIOError):
            server.accept()
    option = "SSLKEYLOGFILE" if role == "logs keys" else options.split(maxsplit=1)[0]
    assert re.fullmatch(f"pync: {option}: cannot use {told.format(**named)}\n", err)
    assert (status, out) == (2, b"")


# Passphrases.


def unlocking(authority: Authority) -> tuple[str, ...]:
    leaf = authority.leaf["encrypted-key"]
    return "-lvn", "--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}", HERE, "0"


def test_a_passphrase_is_taken_from_the_environment(authority: Authority) -> None:
    with (
        start(*unlocking(authority), env={UNSEEN: PASSPHRASE}) as server,
        start("--ssl-trustfile", f"{authority.root}", HERE, f"{server.port}", stdin=b"x") as client,
    ):
        assert client.finish() == (0, b"", "")
        assert server.finish()[:2] == (0, b"x")


WRONG = "wrong passphrase"
NONE = f"the key wants its passphrase, from {UNSEEN} or a terminal"


@pytest.mark.parametrize(
    ("passphrase", "told"),
    [
        ("wrong", WRONG),
        (PASSPHRASE.upper(), WRONG),
        ("", NONE),
        (None, NONE),
        ("x" * 2000, WRONG),
    ],
)
def test_a_wrong_passphrase_is_told(
    authority: Authority, passphrase: str | None, told: str
) -> None:
    env = {} if passphrase is None else {UNSEEN: passphrase}
    with start(*unlocking(authority), env=env, shell='exec setsid "$@"') as pync:
        status, out, err = pync.finish()
    assert (status, out) == (2, b"")
    assert re.fullmatch(rf"pync: --ssl-cert: cannot use .*encrypted-key\.key: {told}\n", err)


@pytest.mark.parametrize(("typed", "right"), [(PASSPHRASE, True), ("wrong", False)])
def test_a_passphrase_is_asked_for_on_the_terminal_and_not_shown(
    authority: Authority, typed: str, right: bool
) -> None:
    with Terminal(*unlocking(authority)) as terminal:
        terminal.expect(b"Passphrase of the key: ")
        terminal.type(f"{typed}\n")
        if right:
            assert terminal.expect(rb"^\n?Listening on ")
            terminal.type("\x03")
            assert terminal.status() == -2
        else:
            terminal.expect(rb"^\n?pync: --ssl-cert: cannot use .*: wrong passphrase\n")
            assert terminal.status() == 2
        assert terminal.state() == terminal.given


# The listener's own certificate.


@pytest.mark.parametrize("host", [HERE, pytest.param("::1", marks=needs_ipv6)])
def test_two_shells_need_no_more_than_a_fingerprint(host: str) -> None:
    with Program.pync("-lvn", "--ssl", host, "0", stdin=b"from the listener") as server:
        pin = server.expect(r"SHA256 fingerprint (sha256:[0-9a-f]{64})\n")[1]
        with start("--ssl-fingerprint", pin, host, f"{server.port}", stdin=b"and back") as client:
            assert client.finish() == (0, b"from the listener", "")
        assert server.finish()[:2] == (0, b"and back")


def test_it_is_another_one_each_time() -> None:
    with (
        Program.pync("-l", "--ssl", HERE, "0") as one,
        Program.pync("-l", "--ssl", HERE, "0") as two,
    ):
        pins = {
            each.expect(r"SHA256 fingerprint (sha256:[0-9a-f]{64})\n")[1] for each in (one, two)
        }
    assert len(pins) == 2


def test_without_the_fingerprint_it_is_refused_and_told_how_to_pin() -> None:
    with Program.pync("-lvn", "--ssl", HERE, "0", stdin=b"from the listener") as server:
        pin = server.expect(r"SHA256 fingerprint (sha256:[0-9a-f]{64})\n")[1]
        with start("--ssl", HERE, f"{server.port}", stdin=b"and back") as client:
            status, out, err = client.finish()
        assert (status, out) == (1, b"")
        assert err.endswith(f"self-signed certificate; pin it with --ssl-fingerprint {pin}\n")
        server.expect("pync: TLS with .* failed: the peer refuses: unknown ca\n")
        assert not ended_within(server, 0.05)


def test_without_the_library_a_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "cryptography.py").write_text("raise ImportError('as if it were not installed')")
    path = os.pathsep.join([f"{tmp_path}", os.environ.get("PYTHONPATH", "")])
    with Program.pync("-lv", "--ssl", HERE, "0", env={"PYTHONPATH": path}) as pync:
        status, out, err = pync.finish()
    assert (status, out) == (2, b"")
    assert re.fullmatch(
        r"pync: --listen --ssl without --ssl-cert .* pip install '.*\[tls\]'\n", err
    )


def test_where_no_file_can_be_written_no_certificate_is_made() -> None:
    nothing = 'ulimit -f 0; exec "$@"'
    with start("-lv", "--ssl", HERE, "0", shell=nothing) as pync:
        status, out, err = pync.finish()
    assert (status, out) == (2, b"")
    assert re.fullmatch("pync: --listen --ssl: .*: No usable temporary directory .*\n", err)
