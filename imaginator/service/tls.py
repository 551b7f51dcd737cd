"""TLS for the one port: 1.2 and 1.3, client certificates asked for but not demanded.

A certificate that does not verify ends the handshake; pages work without one, RPC does not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion

from imaginator.model.errors import ConfigurationError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; Twisted's own list still has suites in CBC mode."""

T = TypeVar("T")


class AbsentFile(ConfigurationError):
    """A file that TLS needs is not there: HTTPS and RPC are closed then, and nothing else is."""


def server_context(authority: Path, certificate: Path, key: Path) -> CertificateOptions:
    """The server's side of TLS; raises `AbsentFile`, or `ConfigurationError` for a file that is there but no good."""
    for path in (authority, certificate, key):
        if not path.exists():
            raise AbsentFile(str(path), "no such file: HTTPS and RPC need it")
    authorities = _read(authority, x509.load_pem_x509_certificates, "PEM certificates")
    chain = _read(certificate, x509.load_pem_x509_certificates, "PEM certificates")
    private = _read(key, lambda data: load_pem_private_key(data, None), "a PEM private key without a password")
    if private.public_key() != chain[0].public_key():
        raise ConfigurationError(str(key), f"not the key of {certificate}")
    options = CertificateOptions(
        privateKey=PKey.from_cryptography_key(private),  # type: ignore[arg-type]
        certificate=X509.from_cryptography(chain[0]),
        extraCertChain=[X509.from_cryptography(one) for one in chain[1:]],
        verify=True,
        caCerts=[X509.from_cryptography(one) for one in authorities],
        requireCertificate=False,
        acceptableCiphers=AcceptableCiphers.fromOpenSSLCipherString(CIPHERS),
        raiseMinimumTo=TLSVersion.TLSv1_2,
    )
    # A context is made once and kept: make it now, where a failure has somebody to tell.
    try:
        options.getContext()
    except SSL.Error as error:
        raise ConfigurationError(str(certificate), f"not usable for TLS: {error}") from None
    return options


def _read(path: Path, load: Callable[[bytes], T], expected: str) -> T:
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigurationError(str(path), f"expected {expected}") from None
