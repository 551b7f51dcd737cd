"""Lists of revoked certificates, as authorities sign them (RFC 5280).

A list counts until the authority's next one is there, even past the time that it promised one for: what it revokes
stays revoked, and nobody is locked out because a file was not renewed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from imaginator.model.errors import ConfigurationError
from imaginator.service.pem import blocks, read_pem

KNOWN = 1000
"""Certificates whose keys are not asked for again: those of authorities, and of who they vouch for."""


class RevocationList(NamedTuple):
    """An authority's list: the serial numbers that it revokes, and when the next one is due, if that is said."""

    signed: x509.CertificateRevocationList
    issuer_key: bytes
    serials: frozenset[int]
    next_update: datetime | None


@lru_cache(KNOWN)
def key_of(certificate: x509.Certificate) -> bytes:
    """The public key: what an authority is known by, whatever it is called."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_lists(path: Path, authorities: Sequence[x509.Certificate]) -> list[RevocationList]:
    """The newest list of each authority; raises `ConfigurationError` for an absent file, or one that is no good."""
    newest: dict[bytes, x509.CertificateRevocationList] = {}
    for signed in read_pem(path, _load, "revocation lists (X509 CRL) in PEM form"):
        key = _issuer_key(path, signed, authorities)
        if any(extension.critical for extension in signed.extensions):
            raise ConfigurationError(str(path), "a partial or an indirect revocation list: expected complete ones")
        if key not in newest or newest[key].last_update_utc < signed.last_update_utc:
            newest[key] = signed
    return [
        RevocationList(signed, key, frozenset(revoked.serial_number for revoked in signed), signed.next_update_utc)
        for key, signed in newest.items()
    ]


def _load(data: bytes) -> list[x509.CertificateRevocationList]:
    return [x509.load_pem_x509_crl(block) for block in blocks(data, "X509 CRL")]


def _issuer_key(path: Path, signed: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]) -> bytes:
    for authority in authorities:
        if signed.issuer == authority.subject and _signed_by(signed, authority):
            return key_of(authority)
    name = signed.issuer.rfc4514_string()
    raise ConfigurationError(str(path), f"the revocation list of {name} is not signed by an authority of the CA file")


def _signed_by(signed: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    return signed.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
