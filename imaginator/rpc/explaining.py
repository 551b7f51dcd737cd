"""Why a daemon cannot be talked to, in words: what was expected, what is there, and where to look.

Imported when something has gone wrong: reading certificates takes longer than a call.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

PATIENCE = 5.0
"""Seconds that a second look at a server may take."""

_NAMES = (62, 64)
_TIMES = (9, 10)
_SIGNERS = (18, 19, 20, 21)
"""Codes of X509_STORE_CTX_get_error(3) for another host or address, a time that is not its, and an unknown signer."""

_REFUSALS = {
    "EXPIRED": "it has expired",
    "REVOKED": "it is revoked",
    "UNKNOWN_CA": "the daemon does not trust its authority",
    "CERTIFICATE_REQUIRED": "the daemon wants one",
    "ALERT": "",
}
"""What the reasons of OpenSSL hold where a client's certificate was refused (RFC 8446, 6.2), and what they mean."""


class Server(NamedTuple):
    """Where a daemon was looked for, and with which files: a client's certificate, and the daemon's authority."""

    host: str
    port: int
    certificate: Path | None
    authority: Path | None

    @property
    def address(self) -> str:
        """For people."""
        return f"{self.host} port {self.port}"


def explain(error: Exception, server: Server, seconds: float) -> str:
    """What went wrong with a connection to a server that had this many seconds to answer."""
    match error:
        case socket.gaierror():
            return f"unknown host: {server.address} ({error.strerror})"
        case ssl.SSLCertVerificationError():
            words = f"the certificate of {server.address} is not trusted: {error.verify_message}"
            return f"{words}{_authority(server)}{_mistrust(error.verify_code, server)}"
        case ssl.SSLEOFError():
            return _closed(server)
        case ssl.SSLError() if refusal := _refusal(error):
            own = f"{server.certificate or '(none)'}"
            return f"{server.address} refused the client certificate {own}: {refusal}{_own(server.certificate)}"
        case ssl.SSLError():
            instead = ", but plain HTTP" if _speaks_http(server) else ""
            return f"{server.address} does not speak TLS{instead}: {error.reason or error}"
        case ConnectionRefusedError():
            return f"nothing listens at {server.address}"
        case TimeoutError():
            # Some take the beginning of TLS for one of a request, and wait for its end.
            instead = "; it speaks plain HTTP" if _speaks_http(server) else ""
            return f"{server.address} does not answer within {seconds:g} s{instead}"
        case http.client.IncompleteRead() | ConnectionError():
            return _closed(server)
    return f"{server.address}: {error}"


def _refusal(error: ssl.SSLError) -> str:
    """Why a client's certificate was refused; empty where something else was wrong."""
    reason = error.reason or ""
    return next((words or reason for word, words in _REFUSALS.items() if word in reason), "")


def _closed(server: Server) -> str:
    """With TLS 1.3 a refusal may come as a reset: the server says it after the client's part of the handshake."""
    hint = f"; perhaps it does not trust the client certificate {server.certificate}{_own(server.certificate)}"
    return f"{server.address} closed the connection{hint if server.certificate else ''}"


def _authority(server: Server) -> str:
    return f" (by {server.authority})" if server.authority else " (by the system's authorities)"


def _mistrust(code: int, server: Server) -> str:
    """What the server's certificate says that explains it."""
    shown = _shown(server)
    if shown is None:
        return ""
    if code in _NAMES:
        return f"; it is for {', '.join(_hosts(shown)) or 'no host'}"
    if code in _TIMES:
        return f"; it is valid from {_moment(shown.not_valid_before_utc)} to {_moment(shown.not_valid_after_utc)}"
    if code not in _SIGNERS:
        return ""
    expected = ", ".join(_names_of(server.authority)) if server.authority else "an authority that this system knows"
    return f"; {_name(shown.issuer)} signed it, expected was {expected}"


def _shown(server: Server) -> x509.Certificate | None:
    """The certificate that the server shows to anybody; None where it does not."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((server.host, server.port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=server.host) as line,
        ):
            shown = line.getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(shown) if shown else None


def _hosts(certificate: x509.Certificate) -> Iterator[str]:
    with contextlib.suppress(x509.ExtensionNotFound):
        for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value:
            yield str(name.value)


def _names_of(authorities: Path) -> list[str]:
    return [_name(certificate.subject) for certificate in x509.load_pem_x509_certificates(authorities.read_bytes())]


def _name(name: x509.Name) -> str:
    """The common name, for people, or all of a name that has none."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return repr(found[0].value) if found else name.rfc4514_string()


def _own(path: Path | None) -> str:
    """Who signed the caller's own certificate, and its end where that is past."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes()) if path else None
    except (OSError, ValueError):
        certificate = None
    if certificate is None:
        return ""
    ended = certificate.not_valid_after_utc
    end = f", it was valid to {_moment(ended)}" if ended < datetime.now(UTC) else ""
    return f" ({_name(certificate.issuer)} signed it{end})"


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _speaks_http(server: Server) -> bool:
    """Whether the server answers a plain request."""
    try:
        with socket.create_connection((server.host, server.port), PATIENCE) as line:
            line.settimeout(PATIENCE)
            line.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            return line.recv(5) == b"HTTP/"
    except OSError:
        return False
