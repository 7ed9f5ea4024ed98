"""What a TLS connection is made with: what is trusted, what is shown, what is offered.

Everything here is read before a connection is opened.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable, Sequence

from pync.errors import LocalError, UsageError
from pync.wire.tls.certificates import fingerprint, words

# The same with each Python; a certificate in a file of trusted ones need not be an authority's.
VERIFY = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which ssl has no name for
NO_COMPRESSED = 1 << 33  # nor for SSL_OP_NO_RX_CERTIFICATE_COMPRESSION, of OpenSSL 3.2
CERTIFICATE, HANDSHAKE = 11, 22  # a message and a record's type (RFC 8446, 4 and 5.1)
LOCKED = "the key wants its passphrase, from PYNC_SSL_PASSPHRASE or a terminal"
FOREIGN_KEY = "the key does not belong to the certificate"
REASONS = {  # OpenSSL's, for files
    "KEY_VALUES_MISMATCH": FOREIGN_KEY,
    "NO_CERTIFICATE_ASSIGNED": FOREIGN_KEY,  # the kinds of the keys differ
}


def for_client() -> ssl.SSLContext:
    """Trusts nobody yet."""
    return prepared(ssl.PROTOCOL_TLS_CLIENT)


def for_server(client_ca: str | None) -> ssl.SSLContext:
    """Asks clients for a certificate if there is `client_ca`, a PEM file of authorities."""
    context = prepared(ssl.PROTOCOL_TLS_SERVER)
    # Nobody needs to resume a session here.  A client that never reads would be left with
    # tickets unread, and its system would reset the connection at its end.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        trust(context, "--ssl-client-ca", client_ca)
    return context


def prepared(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags = VERIFY
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # which hides what was cut
    return context


def trust(context: ssl.SSLContext, option: str, file: str) -> None:
    try:
        context.load_verify_locations(file)
    except OSError as error:
        raise unusable(option, file, reason_of(error, "a certificate in it is damaged")) from None


def trust_authorities(context: ssl.SSLContext, trustfile: str | None) -> None:
    """The system's, or those in the PEM file."""
    if trustfile:
        trust(context, "--ssl-trustfile", trustfile)
    else:
        context.load_default_certs()


def trust_anybody(context: ssl.SSLContext) -> None:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE


def pin(context: ssl.SSLContext, wanted: str) -> None:
    """Trust the certificate with the fingerprint `wanted` and no other, whatever its dates.

    A server that asks for no certificate gets none, and one that asks lets OpenSSL
    judge it, which wants to know it beforehand.  So when it arrives, before it is
    judged, it is made an authority of its own if it is the right one.  ssl has no
    public way to look at messages; without this one nobody would be let in.
    """

    def look(
        _tls: object, direction: str, version: int, record: int, message: int, data: bytes
    ) -> None:
        if (direction, record, message) == ("read", HANDSHAKE, CERTIFICATE):
            found = first_certificate(data, version)
            if fingerprint(found) == wanted:
                context.load_verify_locations(cadata=found)

    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    if ssl.OPENSSL_VERSION_INFO >= (3, 2):
        # A compressed certificate comes in another message (RFC 8879, 4), which tells nothing.
        context.options |= ssl.Options(NO_COMPRESSED)
    context._msg_callback = look  # type: ignore[attr-defined]


def first_certificate(message: bytes, version: int) -> bytes:
    """The peer's own, DER, of a Certificate message (RFC 5246, 7.4.2; RFC 8446, 4.4.2)."""
    start = 4
    if version == ssl.TLSVersion.TLSv1_3:
        start += 1 + number(message, start, 1)  # the request's context
    start += 3  # the list's length
    length = number(message, start, 3)
    return bytes(message[start + 3 : start + 3 + length])


def number(message: bytes, start: int, size: int) -> int:
    """A number of that many bytes, as far as they are there: nobody has checked them yet."""
    return int.from_bytes(message[start : start + size], "big")


def show(
    context: ssl.SSLContext, certificate: str, key: str | None, passphrase: Callable[[], bytes]
) -> None:
    """Use the PEM files; without `key` it is in `certificate` too."""
    answers = []

    def answer() -> bytes:
        answers.append(passphrase())
        return answers[-1]

    try:
        context.load_cert_chain(certificate, key, answer)
    except (OSError, ValueError) as error:  # ValueError: no passphrase is that long
        files = " and ".join(filter(None, (certificate, key)))
        reason = reason_of(error, "there is no certificate with its key in it")
        if answers and reason != FOREIGN_KEY:
            reason = "wrong passphrase" if answers[-1] else LOCKED
        raise unusable("--ssl-cert", files, reason) from None


def show_ephemeral(context: ssl.SSLContext) -> str:
    """Use a key and a certificate that are made for this process; the fingerprint."""
    try:
        from pync.wire.tls.ephemeral import make
    except ImportError:
        raise UsageError(
            "--listen --ssl without --ssl-cert makes a certificate, which needs the cryptography "
            "library; install it with: pip install 'pync-netcat[tls]'"
        ) from None
    pem, der = make()
    try:
        with tempfile.NamedTemporaryFile() as file:  # ssl reads keys from files alone; mode 0600
            file.write(pem)
            file.flush()
            context.load_cert_chain(file.name)
    except OSError as error:
        raise LocalError(f"--listen --ssl: cannot write the key: {error.strerror}") from None
    return fingerprint(der)


def offer(context: ssl.SSLContext, protocols: Sequence[str], ciphers: str | None) -> None:
    """protocols: for ALPN, best first.  ciphers: in OpenSSL's words, of TLS 1.2."""
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if ciphers:
        try:
            context.set_ciphers(f"{ciphers}:!aNULL:!eNULL")  # nobody checked, nothing hidden
        except ssl.SSLError:
            raise UsageError(f"--ssl-ciphers: OpenSSL knows no cipher in {ciphers!r}") from None


def log_keys(context: ssl.SSLContext, file: str) -> None:
    """Add the keys of each connection to `file`, in NSS's key log format."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
        context.keylog_filename = file
    except OSError as error:
        raise unusable("SSLKEYLOGFILE", file, reason_of(error)) from None


def unusable(what: str, file: str, reason: str) -> LocalError:
    return LocalError(f"{what}: cannot use {file}: {reason}")


def reason_of(error: OSError | ValueError, nameless: str = "") -> str:
    """Why a file cannot be used.  nameless: the reason where OpenSSL gives none."""
    if isinstance(error, ssl.SSLError):
        return REASONS.get(error.reason, words(error.reason)) if error.reason else nameless
    return getattr(error, "strerror", None) or str(error)
