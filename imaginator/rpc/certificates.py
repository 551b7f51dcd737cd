"""Makes certificates as this ecosystem knows them: ECDSA P-256, identities as `imaginator.rpc.identity` reads them.

For demonstrations, tests, and operators without an authority of their own (see `imaginator.rpc.authority`).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imaginator.rpc.der import encode_strings
from imaginator.rpc.identity import GROUPS_OID, METHODS_OID

_CLOCK_SKEW = timedelta(minutes=5)
_VALIDITY = timedelta(days=3650)
_LOCAL_HOST = ("127.0.0.1", "::1")
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Issued(NamedTuple):
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, certificate: Path, key: Path | None) -> None:
        """Write both as PEM, the key for its owner alone; None keeps the key in memory."""
        certificate.write_bytes(self.certificate_pem())
        if key is not None:
            _write_private(key, self.key_pem())

    def certificate_pem(self) -> bytes:
        """The certificate's file."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """The key's file, without a password."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


class Wish(NamedTuple):
    """What a certificate shall say. Times default to five minutes ago and ten years on.

    A server's certificate is valid for the local host, and for calling others where it has methods. ``extensions`` are
    further ones, or replacements of those that
    groups and methods make, as raw bytes.
    """

    user: str
    groups: Sequence[str] = ()
    methods: Sequence[str] = ()
    server: bool = False
    not_before: datetime | None = None
    not_after: datetime | None = None
    extensions: Mapping[x509.ObjectIdentifier, bytes] = {}


def make_authority(name: str, not_after: datetime | None = None, root: Issued | None = None) -> Issued:
    """An authority that is signed by ``root``, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(Wish(name, not_after=not_after), key)
    builder = builder.issuer_name(root.certificate.subject if root else _name(name))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    return Issued(builder.sign(root.key if root else key, hashes.SHA256()), key)


def make_certificate(
    authority: Issued, user: str, *, groups: Sequence[str] = (), methods: Sequence[str] = (), server: bool = False
) -> Issued:
    """A certificate that is valid now."""
    return issue(authority, Wish(user, groups, methods, server))


def issue(authority: Issued, wish: Wish) -> Issued:
    """A certificate as wished, signed by ``authority``."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = _builder(wish, key).issuer_name(authority.certificate.subject)
    builder = builder.add_extension(signer, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_purpose(wish), critical=False)
    if wish.server:
        builder = builder.add_extension(_local_names(wish.user), critical=False)
    for oid, value in _identity(wish).items():
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    return Issued(builder.sign(authority.key, hashes.SHA256()), key)


def revoke(
    authority: Issued, *revoked: Issued, last_update: datetime | None = None, next_update: datetime | None = None
) -> bytes:
    """A list of revoked certificates, signed by ``authority``, in PEM form; by default made now, due in ten years."""
    made_at = last_update or datetime.now(UTC) - _CLOCK_SKEW
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(made_at)
        .next_update(next_update or made_at + _VALIDITY)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(made_at)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _builder(wish: Wish, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(wish.user))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(wish.not_before or now - _CLOCK_SKEW)
        .not_valid_after(wish.not_after or now + _VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    return x509.Name(names)


def _purpose(wish: Wish) -> x509.ExtendedKeyUsage:
    """What a certificate is for: a server that may call methods calls other servers."""
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] if wish.server else []
    if wish.methods or not wish.server:
        usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    return x509.ExtendedKeyUsage(usages)


def _local_names(host: str) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in (host, "localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in _LOCAL_HOST]
    return x509.SubjectAlternativeName(names)


def _identity(wish: Wish) -> dict[x509.ObjectIdentifier, bytes]:
    lists = {METHODS_OID: wish.methods, GROUPS_OID: wish.groups}
    return {**{oid: encode_strings(texts) for oid, texts in lists.items() if texts}, **wish.extensions}


def _write_private(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
