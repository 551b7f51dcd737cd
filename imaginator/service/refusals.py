"""TLS handshakes that came to nothing: why, told in the log as long as they are few, and counted however many.

A client that is sent away learns little, or tells nobody: its user asks whoever reads the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum

from OpenSSL.SSL import Error, X509VerificationCodes
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.logger import Logger

from imaginator.web.crowd import origin

WINDOW = 60.0
"""Seconds in which `MOST` are told."""

MOST = 20
MOST_OF_ONE = 5
"""The same of one address: one client that tries again and again must not hide the others."""

_log = Logger()


class Reason(StrEnum):
    """Why a handshake was refused, as metrics name it."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    FOREIGN = "foreign-authority"
    REVOKED = "revoked"
    NO_LIST = "no-revocation-list"
    USAGE = "wrong-usage"
    CERTIFICATE = "bad-certificate"
    VERSION = "old-tls"
    CIPHER = "no-common-cipher"
    CLIENT = "refused-by-client"
    NOT_TLS = "not-tls"


WORDS = {
    Reason.EXPIRED: "the client certificate has expired",
    Reason.NOT_YET_VALID: "the client certificate is not valid yet",
    Reason.FOREIGN: "no authority of the CA file has signed the client certificate",
    Reason.REVOKED: "the client certificate was revoked",
    Reason.NO_LIST: "no list of the CRL file tells whether the client certificate was revoked",
    Reason.USAGE: "the client certificate is not one for clients",
    Reason.CERTIFICATE: "the client certificate is no good",
    Reason.VERSION: "the client does not speak TLS 1.2 or 1.3",
    Reason.CIPHER: "the client knows no cipher that is allowed",
    Reason.CLIENT: "the client refused the certificate of this daemon, or gave up",
    Reason.NOT_TLS: "what the client said is not TLS",
}

_Codes = X509VerificationCodes
_OF_CERTIFICATES = {
    _Codes.ERR_CERT_HAS_EXPIRED: Reason.EXPIRED,
    _Codes.ERR_CERT_NOT_YET_VALID: Reason.NOT_YET_VALID,
    _Codes.ERR_CERT_REVOKED: Reason.REVOKED,
    _Codes.ERR_UNABLE_TO_GET_CRL: Reason.NO_LIST,
    _Codes.ERR_INVALID_PURPOSE: Reason.USAGE,
    _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT: Reason.FOREIGN,
    _Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: Reason.FOREIGN,
    _Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: Reason.FOREIGN,
    _Codes.ERR_CERT_SIGNATURE_FAILURE: Reason.FOREIGN,
    _Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: Reason.FOREIGN,
    _Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN: Reason.FOREIGN,
}
_OF_HANDSHAKES = {
    "unsupported protocol": Reason.VERSION,
    "version too low": Reason.VERSION,
    "no shared cipher": Reason.CIPHER,
}


def reason_of(error: Error, certificate_error: int | None) -> tuple[Reason, str]:
    """Why OpenSSL ended a handshake, and its own words; a certificate's error is one of its codes, None for none."""
    said = _said(error)
    if certificate_error is not None:
        return _OF_CERTIFICATES.get(certificate_error, Reason.CERTIFICATE), said
    if " alert " in said:
        return Reason.CLIENT, said
    return _OF_HANDSHAKES.get(said, Reason.NOT_TLS), said


def _said(error: Error) -> str:
    parts: Sequence[object] = error.args[0] if error.args and isinstance(error.args[0], list) else ()
    last = parts[0] if parts else ()
    return str(last[-1]) if isinstance(last, tuple) and last else str(error)


class Refusals:
    """Tells of refused handshakes, and at the end of a `WINDOW` of how many it did not; ``count`` hears of each."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._told: Counter[str | bytes] = Counter()
        self._left_out: Counter[Reason] = Counter()
        self._end: IDelayedCall | None = None
        self.count: Callable[[str], None] = lambda reason: None

    def tell(self, peer: IAddress, reason: Reason, said: str) -> None:
        """A handshake with a peer was refused; ``said`` are OpenSSL's words."""
        self.count(reason.value)
        if self._end is None:
            self._end = self._clock.callLater(WINDOW, self._begin_anew)
        one = origin(peer)
        if self._told.total() >= MOST or self._told[one] >= MOST_OF_ONE:
            self._left_out[reason] += 1
            return
        self._told[one] += 1
        words = f"{WORDS[reason]} ({said})"
        _log.info("TLS handshake with {peer} refused: {words}", peer=getattr(peer, "host", peer), words=words)

    def stop(self) -> None:
        """Tell what is left to tell."""
        if self._end is not None:
            self._end.cancel()
            self._begin_anew()

    def _begin_anew(self) -> None:
        left_out, self._left_out = self._left_out, Counter()
        self._told.clear()
        self._end = None
        if left_out:
            parts = ", ".join(f"{number} {reason}" for reason, number in left_out.most_common())
            _log.info("{number} more TLS handshakes refused: {parts}", number=left_out.total(), parts=parts)
