"""A certificate authority of the tests' own, with certificates that are good, or bad in one way.

    def test_something(authority: Authority) -> None:
        leaf = authority.leaf["expired"]
        start("-l", "--ssl", "--ssl-cert", f"{leaf.chain}", "--ssl-key", f"{leaf.key}", HERE, "0")

The root has signed the intermediate, and that has signed the leaves where LEAVES does not
say otherwise.  All of it lies in PEM files, made once for all tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def ecdsa_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_key() -> Key:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


PASSPHRASE = "secret"  # of "encrypted-key"
LOOPBACK = (
    x509.DNSName("localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
    x509.IPAddress(ip_address("::1")),
)
CERTIFICATES = frozenset({"key_cert_sign", "crl_sign"})  # what an authority signs
SIGNATURES = frozenset({"digital_signature"})
USAGES = CERTIFICATES | SIGNATURES | {
    "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "encipher_only", "decipher_only",
}  # fmt: skip

CRITICAL = (x509.BasicConstraints, x509.KeyUsage)


class Kind(NamedTuple):
    """How a leaf is made; one of which nothing is said is good.

    days: when its validity begins and ends, from now.
    signer: one of the authorities; with "" it has signed itself.
    sent: the authorities whose certificates follow it in its chain.
    """

    names: tuple[x509.GeneralName, ...] = LOOPBACK
    days: tuple[int, int] = (-1, 30)
    signer: str = "intermediate"
    sent: tuple[str, ...] = ("intermediate",)
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH
    new_key: Callable[[], Key] = ecdsa_key
    encryption: KeySerializationEncryption = NoEncryption()


LEAVES = {
    "valid": Kind(),
    "rsa": Kind(new_key=rsa_key),
    "reversed-chain": Kind(sent=("root", "intermediate")),
    "encrypted-key": Kind(encryption=BestAvailableEncryption(PASSPHRASE.encode())),
    "client": Kind(names=(x509.DNSName("client"),), purpose=ExtendedKeyUsageOID.CLIENT_AUTH),
    "expired": Kind(days=(-30, -1)),
    "not-yet-valid": Kind(days=(1, 30)),
    "wrong-name": Kind(names=(x509.DNSName("other.example"),)),
    "wrong-ca": Kind(signer="stranger", sent=()),
    "self-signed": Kind(signer="", sent=()),
}


class Leaf(NamedTuple):
    """A certificate and its key, in files.

    chain: the certificate and what follows it.
    issuers: what follows it, alone; None if nothing does.
    combined: the key and the chain.
    fingerprint: "sha256:" and 64 digits.
    """

    chain: Path
    issuers: Path | None
    key: Path
    combined: Path
    fingerprint: str


class Authority(NamedTuple):
    """What to trust, and what to show.

    root: what all leaves but "wrong-ca" and "self-signed" lead to.
    leaf: by their names in LEAVES, which are also their common names.
    """

    root: Path
    leaf: Mapping[str, Leaf]


class Signed(NamedTuple):
    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def make_authority(directory: Path) -> Authority:
    """Make everything, in files in the directory."""
    root = make_signer("root", None)
    signers = {
        "root": root,
        "intermediate": make_signer("intermediate", root),
        "stranger": make_signer("stranger", None),
    }
    leaves = {}
    for name, kind in LEAVES.items():
        leaf = make_leaf(name, kind, signers.get(kind.signer))
        issuers = b"".join(signers[sent].pem for sent in kind.sent)
        leaves[name] = write_leaf(directory / name, leaf, issuers, kind.encryption)
    return Authority(written(directory / "root.pem", root.pem), leaves)


def make_signer(name: str, signer: Signed | None) -> Signed:
    authority = x509.BasicConstraints(ca=True, path_length=None)
    return sign(name, ecdsa_key(), signer, (-365, 365), authority, key_usage(CERTIFICATES))


def make_leaf(name: str, kind: Kind, signer: Signed | None) -> Signed:
    return sign(
        name,
        kind.new_key(),
        signer,
        kind.days,
        x509.SubjectAlternativeName(kind.names),
        x509.ExtendedKeyUsage([kind.purpose]),
        key_usage(SIGNATURES),
    )


def key_usage(usages: frozenset[str]) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in usages for usage in USAGES})


def sign(
    name: str,
    key: Key,
    signer: Signed | None,
    days: tuple[int, int],
    *extensions: x509.ExtensionType,
) -> Signed:
    """Signed by `signer` or by itself, with what a strict verifier asks for (RFC 5280, 4.2.1)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signing_key = signer.key if signer else key
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(
        issuer_name=signer.certificate.subject if signer else subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
    )
    builder = builder.not_valid_before(now + timedelta(days=days[0]))
    builder = builder.not_valid_after(now + timedelta(days=days[1]))
    for extension in (
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()),
        *extensions,
    ):
        builder = builder.add_extension(extension, critical=type(extension) in CRITICAL)
    return Signed(builder.sign(signing_key, SHA256()), key)


def write_leaf(
    stem: Path, leaf: Signed, issuers: bytes, encryption: KeySerializationEncryption
) -> Leaf:
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    chain = leaf.pem + issuers
    return Leaf(
        chain=written(stem.with_suffix(".chain"), chain),
        issuers=written(stem.with_suffix(".issuers"), issuers) if issuers else None,
        key=written(stem.with_suffix(".key"), key),
        combined=written(stem.with_suffix(".combined"), key + chain),
        fingerprint="sha256:" + leaf.certificate.fingerprint(SHA256()).hex(),
    )


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
