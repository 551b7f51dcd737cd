"""Certificates for demonstrations and tests."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate

from imaginator.rpc.certificates import make_authority, make_certificate


def test_files(tmp_path: Path) -> None:
    """A certificate and its key belong together, and the key is its owner's alone."""
    certificate, key = tmp_path / "alice.pem", tmp_path / "alice.key"
    key.touch(0o644)
    make_certificate(make_authority("a"), "alice").write(certificate, key)
    ssl.create_default_context().load_cert_chain(certificate, key)

    assert 0o600 == stat.S_IMODE(key.stat().st_mode)


def test_authority_without_key(tmp_path: Path) -> None:
    """An authority's key may stay in memory."""
    make_authority("the authority").write(tmp_path / "CA.pem", None)
    certificate = load_pem_x509_certificate((tmp_path / "CA.pem").read_bytes())

    assert certificate.issuer == certificate.subject
    assert [tmp_path / "CA.pem"] == list(tmp_path.iterdir())
