"""What the PEM files of TLS hold: who may call, who the daemon is, and whose certificates were revoked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from imaginator.model.errors import ConfigurationError
from imaginator.model.expiry import Expiry
from imaginator.service.pem import blocks, read_pem
from imaginator.service.revocation import RevocationList, key_of, read_lists

Certificate = x509.Certificate
Version = tuple[int, int, int]


class AbsentFile(ConfigurationError):
    """A file that TLS needs is not there: HTTPS and RPC are closed then, and nothing else is."""


class Files(NamedTuple):
    """The PEM files; without ``revocations`` no certificate counts as revoked."""

    authority: Path
    certificate: Path
    key: Path
    revocations: Path | None = None

    def versions(self) -> tuple[Version | None, ...]:
        """What changes when a file does: its inode number, mtime and size, None where it is absent."""
        return tuple(None if path is None else _version(path) for path in self)


class Credentials(NamedTuple):
    """The files' contents, which fit together; ``chain`` begins with the daemon's own certificate."""

    files: Files
    authorities: Sequence[Certificate]
    chain: Sequence[Certificate]
    key: PrivateKeyTypes
    lists: Sequence[RevocationList] = ()

    def expiries(self) -> Iterator[Expiry]:
        """What ends when: of each file what ends first."""
        files = self.files
        authority = min(one.not_valid_after_utc for one in self.authorities)
        own = min(one.not_valid_after_utc for one in self.chain)
        yield Expiry("ca-file", "the authority's certificate", str(files.authority), authority)
        yield Expiry("cert-file", "the daemon's certificate", str(files.certificate), own)
        if ends := [one.next_update for one in self.lists if one.next_update is not None]:
            yield Expiry("crl-file", "the list of revoked certificates", str(files.revocations), min(ends))

    def warnings(self) -> Iterator[str]:
        """What is odd: authorities whose callers are all refused, since no list tells which were revoked."""
        if self.files.revocations is not None:
            listed = {one.issuer_key for one in self.lists}
            through_others = {one.issuer for one in self.authorities if one.issuer != one.subject}
            for authority in self.authorities:
                if key_of(authority) not in listed and authority.subject not in through_others:
                    name = authority.subject.rfc4514_string()
                    yield f"{self.files.revocations}: no list of {name}: callers with its certificates are refused"


def read_credentials(files: Files) -> Credentials:
    """Read all files; raises `AbsentFile`, or `ConfigurationError` for a file that is there but no good."""
    for path in (files.authority, files.certificate, files.key):
        if not path.exists():
            raise AbsentFile(str(path), "no such file: HTTPS and RPC need it")
    authorities = read_pem(files.authority, _certificates, "PEM certificates")
    chain = read_pem(files.certificate, _certificates, "PEM certificates")
    key = read_pem(files.key, lambda data: load_pem_private_key(data, None), "a PEM private key without a password")
    if key.public_key() != chain[0].public_key():
        raise ConfigurationError(str(files.key), f"not the key of {files.certificate}")
    lists = read_lists(files.revocations, authorities) if files.revocations is not None else []
    return Credentials(files, authorities, chain, key, lists)


def _version(path: Path) -> Version | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _certificates(data: bytes) -> list[Certificate]:
    return [x509.load_pem_x509_certificate(block) for block in blocks(data, "CERTIFICATE")]
