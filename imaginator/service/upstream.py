"""The image server that is somewhere else: where it is, and how connections to it are secured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL.SSL import Error
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, trustRootFromCertificates

from imaginator.model.errors import ConfigurationError
from imaginator.service.credentials import Credentials, Files, read_credentials
from imaginator.srpc.client import Server
from imaginator.srpc.errors import Broken


def image_server(options: Mapping[str, Any]) -> Server | None:
    """The server that the flags name; None where they name none."""
    host = options["image-server-hostname"]
    if not host:
        return None
    files = Files(*(options[f"{name}-file"] for name in ("ca", "cert", "key")))
    return Server(host, options["image-server-port"], Securing(host, files))


class Securing:
    """Makes TLS of the files as they are when a connection begins: the daemon's certificate is shown there as well."""

    def __init__(self, host: str, files: Files) -> None:
        self._host = host
        self._files = files
        self._versions: object = None
        self._made: IOpenSSLClientConnectionCreator | None = None

    def __call__(self) -> IOpenSSLClientConnectionCreator:
        """What secures one connection; raises `Broken` where the files are no good."""
        versions = self._files.versions()
        if self._made is None or versions != self._versions:
            try:
                self._made = _client_side(self._host, read_credentials(self._files))
            except (ConfigurationError, Error, ValueError) as error:
                raise Broken(f"no TLS: {error}") from None
            self._versions = versions
        return self._made


def _client_side(host: str, credentials: Credentials) -> IOpenSSLClientConnectionCreator:
    key = credentials.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    own = PrivateCertificate.loadPEM(credentials.chain[0].public_bytes(Encoding.PEM) + key)
    authorities = [Certificate.loadPEM(one.public_bytes(Encoding.PEM)) for one in credentials.authorities]
    creator: IOpenSSLClientConnectionCreator = optionsForClientTLS(
        host, trustRoot=trustRootFromCertificates(authorities), clientCertificate=own
    )
    return creator
