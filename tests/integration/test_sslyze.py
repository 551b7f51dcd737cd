"""The daemon's TLS, as an independent scanner sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.live import Live
from tests.support.sslyze import SCANS, scan

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")
GOOD_CIPHERS = {
    "tls_1_2": {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    },
    "tls_1_3": {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"},
}
GOOD_CURVES = {"X25519", "X448", "secp256r1", "secp384r1", "secp521r1"}
FINDINGS: dict[str, dict[str, object]] = {
    "tls_compression": {"supports_compression": False},
    "tls_1_3_early_data": {"supports_early_data": False},
    "openssl_ccs_injection": {"is_vulnerable_to_ccs_injection": False},
    "tls_fallback_scsv": {"supports_fallback_scsv": True},
    "heartbleed": {"is_vulnerable_to_heartbleed": False},
    "robot": {"robot_result": "NOT_VULNERABLE_RSA_NOT_SUPPORTED"},
    "session_renegotiation": {
        "supports_secure_renegotiation": True,
        "is_vulnerable_to_client_renegotiation_dos": False,
        "client_renegotiations_success_count": 0,
    },
    "session_resumption": {
        "session_id_resumption_result": "NOT_SUPPORTED",
        "session_id_successful_resumptions_count": 0,
        "tls_ticket_resumption_result": "NOT_SUPPORTED",
        "tls_ticket_successful_resumptions_count": 0,
    },
    "tls_extended_master_secret": {"supports_ems_extension": True},
}
"""What each scan has to find; it may find more."""


def test_nothing_is_found(small: Live, tmp_path: Path) -> None:
    """TLS 1.2 and 1.3 with the ciphers and curves that are meant, no known weakness, and nothing is resumed."""
    found = scan(small.daemon.port, tmp_path)
    accepted = {
        version: {one["cipher_suite"]["name"] for one in found[f"{version}_cipher_suites"]["accepted_cipher_suites"]}
        for version in [*OLD, *GOOD_CIPHERS]
    }
    curves = {curve["name"] for curve in found["elliptic_curves"]["supported_curves"]}
    findings = {name: {key: found[name][key] for key in expected} for name, expected in FINDINGS.items()}

    assert len(SCANS) == len(found)
    assert {**{version: set() for version in OLD}, **GOOD_CIPHERS} == accepted
    assert curves <= GOOD_CURVES
    assert "X25519" in curves
    assert FINDINGS == findings
