"""The server's side of TLS: 1.2 and 1.3, client certificates asked for but not demanded.

A certificate that does not verify, or that was revoked, ends the handshake; pages work without one, RPC does not.
Nothing is resumed: every connection is a full handshake, which meets the authorities and lists that are in force.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from imaginator.model.errors import ConfigurationError
from imaginator.service.credentials import Credentials

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all good."""

PROTOCOL = b"http/1.1"

_OPTIONS = (
    SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_TICKET
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | SSL.OP_SINGLE_ECDH_USE
)
_LIST_IS_LATE = (SSL.X509VerificationCodes.ERR_CRL_HAS_EXPIRED, SSL.X509VerificationCodes.ERR_CRL_NOT_YET_VALID)


@implementer(IOpenSSLServerConnectionCreator)
class ServerSide:
    """Makes connections of one context; raises `ConfigurationError` where OpenSSL will not have the credentials."""

    def __init__(self, credentials: Credentials) -> None:
        try:
            self._context = _context(credentials)
        except (SSL.Error, TypeError) as error:
            raise ConfigurationError(str(credentials.files.certificate), f"not usable for TLS: {error}") from None

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N802 - Twisted's name
        """A connection that has not begun; ``protocol.certificate_error`` will be what is wrong with a certificate."""
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(protocol)
        return connection


def _context(credentials: Credentials) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # OpenSSL demands one of servers that verify clients, although nothing is ever resumed.
    context.set_session_id(secrets.token_bytes(16))
    context.set_cipher_list(CIPHERS)
    context.set_alpn_select_callback(_choose_protocol)  # type: ignore[arg-type]  # its sentinel has a private type
    context.use_certificate(credentials.chain[0])
    context.use_privatekey(credentials.key)  # type: ignore[arg-type]  # it says itself which keys it takes
    for certificate in credentials.chain[1:]:
        context.add_extra_chain_cert(certificate)
    _verify_clients(context, credentials)
    return context


def _choose_protocol(_connection: SSL.Connection, offered: Sequence[bytes]) -> object:
    return PROTOCOL if PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _verify_clients(context: SSL.Context, credentials: Credentials) -> None:
    store = context.get_cert_store()
    assert store is not None
    for authority in credentials.authorities:
        store.add_cert(X509.from_cryptography(authority))
        context.add_client_ca(authority)
    context.set_verify(SSL.VERIFY_PEER, _accept)
    if credentials.files.revocations is not None:
        for one in credentials.lists:
            store.add_crl(one.signed)
        store.set_flags(X509StoreFlags.CRL_CHECK)


def _accept(connection: SSL.Connection, _certificate: X509, error: int, _depth: int, accepted: int) -> bool:
    """Let a list count past its time: what it revokes is refused all the same. The transport learns what was wrong."""
    if accepted or error in _LIST_IS_LATE:
        return True
    connection.get_app_data().certificate_error = error
    return False
