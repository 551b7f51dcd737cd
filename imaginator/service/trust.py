"""Whether a certificate that a handshake accepted is still good: asked for every request that counts on one.

A connection may stay open for long. What it began goes on, such as a log that is followed; a new request on it counts
as one without a certificate once that has expired, was revoked, or its authority is trusted no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography import x509
from OpenSSL.crypto import X509
from OpenSSL.SSL import Error
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

from imaginator.model.errors import NotAuthenticated
from imaginator.service.credentials import Credentials
from imaginator.service.refusals import Refusals, reason_of
from imaginator.service.revocation import key_of
from imaginator.service.tls import ServerSide

Chain = Sequence[x509.Certificate]
"""A certificate and those that vouch for it, up to an authority."""


class Trust:
    """The authorities and lists in force."""

    def __init__(self, credentials: Credentials) -> None:
        self._authorities = frozenset(map(key_of, credentials.authorities))
        self._serials = {one.issuer_key: one.serials for one in credentials.lists}
        self._needs_list = credentials.files.revocations is not None

    def check(self, chain: Chain, now: datetime) -> None:
        """Raise `NotAuthenticated` where a chain that was accepted would not be now."""
        if not all(one.not_valid_before_utc <= now <= one.not_valid_after_utc for one in chain):
            raise NotAuthenticated("the client certificate has expired, or is not valid yet")
        if key_of(chain[-1]) not in self._authorities:
            raise NotAuthenticated("the authority of the client certificate is not trusted any more")
        if self._needs_list:
            self._check_list(chain[0], issuer=chain[:2][-1])

    def _check_list(self, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
        serials = self._serials.get(key_of(issuer))
        if serials is None:
            raise NotAuthenticated("no list tells whether the client certificate was revoked")
        if certificate.serial_number in serials:
            raise NotAuthenticated("the client certificate was revoked")


class TrustingTransport(BufferingTLSTransport):
    """A TLS connection that shows its client's certificate as long as that is good."""

    factory: TrustingFactory
    certificate_error: int | None = None
    # Nothing is renegotiated: what a client has shown once it shows to the end.
    _certificate: X509 | None = None
    _chain: Chain = ()

    def getPeerCertificate(self) -> X509 | None:  # noqa: N802 - Twisted's name
        """The client's certificate, None where it showed none; raises `NotAuthenticated` for one that was good."""
        if self._certificate is None:
            self._certificate = super().getPeerCertificate()
            if self._certificate is None:
                return None
            self._chain = self.getHandle().get_verified_chain(as_cryptography=True)
        self.factory.check(self._chain)
        return self._certificate

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """Tell of a handshake that OpenSSL has ended, rather than the client or its patience."""
        # Twisted keeps the reason for the protocol within, which would not know of what it is.
        if self._reason is not None and self._reason.check(Error) and not self._handshakeDone:
            told = reason_of(self._reason.value, self.certificate_error)
            self.factory.refusals.tell(self.getPeer(), *told)
        super().connectionLost(reason)


class TrustingFactory(TLSMemoryBIOFactory):
    """TLS around the connections of ``site``; ``check`` raises `NotAuthenticated`, by what is in force when called.

    ``refusals`` hears of handshakes that are refused.
    """

    protocol = TrustingTransport

    def __init__(
        self, server: ServerSide, site: IProtocolFactory, check: Callable[[Chain], None], refusals: Refusals
    ) -> None:
        super().__init__(server, isClient=False, wrappedFactory=site)
        self.check = check
        self.refusals = refusals
