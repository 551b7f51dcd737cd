"""Who calls: a client certificate as an `Identity`.

The certificate's chain, validity and purpose were verified in the TLS handshake; here it is only read. The user is the
subject's common name. Two optional extensions, each a DER SEQUENCE OF strings, list the permitted methods
(``Service.Method``, with shell-style globs) and the groups.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.web.server import Request

from imaginator.model.errors import NotAuthenticated
from imaginator.model.identity import Identity
from imaginator.rpc.der import decode_strings

METHODS_OID = x509.ObjectIdentifier("1.3.6.1.4.1.9586.100.7.1")
GROUPS_OID = x509.ObjectIdentifier("1.3.6.1.4.1.9586.100.7.2")

KNOWN = 1000
"""Certificates that are not read again: those of callers who make many calls."""


def identify(request: Request) -> Identity:
    """The caller of a request; raises `NotAuthenticated` without TLS or without a usable client certificate."""
    if not request.isSecure():
        raise NotAuthenticated("plain HTTP tells nobody's identity: use HTTPS with a client certificate")
    certificate = request.transport.getPeerCertificate()  # type: ignore[union-attr]
    if certificate is None:
        raise NotAuthenticated("no client certificate was shown")
    return identity_of(certificate.to_cryptography())


@lru_cache(KNOWN)
def identity_of(certificate: x509.Certificate) -> Identity:
    """What a verified certificate says; raises `NotAuthenticated` where it is malformed."""
    user = _user(certificate)
    return Identity(user=user, groups=_strings(certificate, GROUPS_OID, user), methods=_methods(certificate, user))


def _user(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or not names[0].value:
        raise NotAuthenticated("the client certificate names no user: expected one common name in its subject")
    return str(names[0].value)


def _methods(certificate: x509.Certificate, user: str) -> tuple[str, ...]:
    methods = _strings(certificate, METHODS_OID, user)
    for method in methods:
        if method.count(".") != 1:
            raise NotAuthenticated(f"client certificate of {user}: method {method!r}, expected Service.Method")
    return methods


def _strings(certificate: x509.Certificate, oid: x509.ObjectIdentifier, user: str) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_oid(oid)
        return decode_strings(extension.value.public_bytes())
    except x509.ExtensionNotFound:
        return ()
    except (ValueError, x509.DuplicateExtension) as error:
        raise NotAuthenticated(f"client certificate of {user}: extension {oid.dotted_string}: {error}") from None
