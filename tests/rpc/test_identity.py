"""What a certificate says of its owner."""

from __future__ import annotations

import pytest
from cryptography.x509 import ObjectIdentifier

from imaginator.model.errors import NotAuthenticated
from imaginator.model.identity import Identity
from imaginator.rpc.certificates import Wish, issue, make_authority, make_certificate
from imaginator.rpc.der import encode_strings
from imaginator.rpc.identity import GROUPS_OID, METHODS_OID, identity_of

AUTHORITY = make_authority("test authority")


def test_all_fields() -> None:
    """User, groups and methods are read."""
    issued = make_certificate(AUTHORITY, "alice", groups=["eng", "ops"], methods=["Imaginator.*"])

    assert Identity("alice", ("eng", "ops"), ("Imaginator.*",)) == identity_of(issued.certificate)


def test_extensions_are_optional() -> None:
    """A bare certificate names a user without groups and methods."""
    assert Identity("bob") == identity_of(make_certificate(AUTHORITY, "bob").certificate)


def test_nameless() -> None:
    """A subject without a common name is nobody."""
    with pytest.raises(NotAuthenticated, match="names no user"):
        identity_of(issue(AUTHORITY, Wish("")).certificate)


@pytest.mark.parametrize("oid", [METHODS_OID, GROUPS_OID], ids=["methods", "groups"])
def test_garbage_extension(oid: ObjectIdentifier) -> None:
    """An extension that is no DER sequence of strings makes the certificate worthless, and the error names it."""
    wish = Wish("mallory", extensions={oid: b"\x30\x7fgarbage"})

    with pytest.raises(NotAuthenticated, match=r"mallory: extension 1\.3\.6\.1\.4\.1\.9586\.100\.7"):
        identity_of(issue(AUTHORITY, wish).certificate)


@pytest.mark.parametrize("pattern", ["*", "Imaginator", "a.b.c", ""])
def test_method_without_exactly_one_dot(pattern: str) -> None:
    """A permitted method is Service.Method; anything else makes the certificate invalid."""
    wish = Wish("mallory", extensions={METHODS_OID: encode_strings([pattern])})

    with pytest.raises(NotAuthenticated, match=r"expected Service\.Method"):
        identity_of(issue(AUTHORITY, wish).certificate)
