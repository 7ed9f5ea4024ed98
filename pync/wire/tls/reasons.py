"""Why TLS failed, in words that name the way out."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping

from pync.wire.tls.certificates import Certificate, peer_certificate, words

TRUST = "name its authority with --ssl-trustfile"
PIN = "pin it with --ssl-fingerprint"


def untrusted(found: Certificate) -> str:
    return f"{found.issuer} is not trusted"


def mismatch(found: Certificate) -> str:
    return f"name mismatch: certificate is for {found.names}"


# By X509_V_ERR_*, openssl-verification-options(1) has their words.
REFUSALS: Mapping[int, Callable[[Certificate], str]] = {
    9: lambda found: f"certificate is not yet valid, but from {found.begins}",
    10: lambda found: f"certificate has expired, on {found.ends}",
    18: lambda _: "self-signed certificate",
    19: untrusted,
    20: untrusted,
    21: untrusted,
    62: mismatch,
    64: mismatch,
}
DATED = (9, 10)
SELF_SIGNED = 18
UNKNOWN = (SELF_SIGNED, 19, 20, 21)  # of those, what says that nobody vouches for it
ALERT = "_ALERT_"  # in OpenSSL's name of an error that is the peer's
NAMELESS = re.compile(r"\[[^]]*\] (.*) \(.*\)")  # how Python shows one that it has no name for
RECORD_TYPES = range(20, 25)  # RFC 8446, 5.1, and heartbeats


def cut_short(avoidable: bool) -> str:
    """An end that TLS does not know of.  avoidable: ours came before, and could be kept back."""
    way_out = "; if it took our end for a lost client, --no-shutdown is the way out"
    return "the peer ended without close_notify, something may be missing" + way_out * avoidable


def not_pinned(fingerprint: str | None) -> str:
    return f"certificate is {fingerprint or 'another'}, not the pinned one"


def no_tls(first: bytes) -> str:
    """What it means that a peer begins so; nothing if TLS may begin so."""
    if not first or first[0] in RECORD_TYPES:
        return ""
    return f"the peer does not speak TLS, but says {first.splitlines()[0]!r}"


def explain(
    error: ssl.SSLError, tls: ssl.SSLObject, first: bytes, pin: str | None, trust: str
) -> str:
    """`error` in words.

    tls: where it happened.  first: what the peer began with.  pin, trust: as Tls has them.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return refused(error, peer_certificate(tls), pin, trust)
    if plain := no_tls(first):
        return plain
    if isinstance(error, ssl.SSLEOFError):
        return "the peer closed the connection during the handshake"
    if error.library == "BIO":  # ours are in memory and do not fail
        return "cannot write to SSLKEYLOGFILE"
    reason = error.reason or ""
    if ALERT in reason:
        return f"the peer refuses: {words(reason.partition(ALERT)[2])}"
    return words(reason) or NAMELESS.sub(r"\1", str(error))


def refused(
    error: ssl.SSLCertVerificationError, found: Certificate | None, pin: str | None, trust: str
) -> str:
    if pin and error.verify_code in UNKNOWN:
        return not_pinned(found and found.fingerprint)
    if pin or not found:  # OpenSSL keeps no client's that it refused
        return error.verify_message
    if error.verify_code in DATED and found.current:
        return f"an authority's {error.verify_message}"
    row = REFUSALS.get(error.verify_code)
    reason = row(found) if row else error.verify_message
    way_out = f"; {trust or ways_out(error, found)}" if error.verify_code in UNKNOWN else ""
    return reason + way_out


def ways_out(error: ssl.SSLCertVerificationError, found: Certificate) -> str:
    pinned = f"{PIN} {found.fingerprint}"
    return pinned if error.verify_code == SELF_SIGNED else f"{TRUST}, or {pinned}"
