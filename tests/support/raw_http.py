"""A site on a real port of the loopback, and a client that can be slow, rude or gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    SSL4ServerEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
    wrapClientTLS,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import HTTPFactory

from imaginator.rpc.certificates import Issued, make_authority, make_certificate


class RawClient(Protocol):
    """Keeps what it receives; `until` waits for it, `lost` for the end of the connection."""

    transport: ITCPTransport

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost: Deferred[None] = Deferred()
        self._wanted: Callable[[bytearray], bool] = lambda data: False
        self._waiting: Deferred[None] | None = None

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Keep it, and see whether it is what is waited for."""
        self.data += data
        if self._waiting is not None and self._wanted(self.data):
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        """Tell whoever waits."""
        self.lost.callback(None)

    def ask(self, path: str, *headers: str, method: str = "GET") -> None:
        """Send a request without a body."""
        lines = (f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", "")
        self.transport.write("\r\n".join(lines).encode("ascii"))

    def pause(self) -> None:
        """Read no more, so that the server's buffers fill up."""
        IPushProducer(self.transport).pauseProducing()

    def resume(self) -> None:
        """Read on."""
        IPushProducer(self.transport).resumeProducing()

    async def until(self, wanted: Callable[[bytearray], bool]) -> bytearray:
        """Everything received so far, when ``wanted`` is true of it."""
        if not wanted(self.data):
            self._wanted, self._waiting = wanted, Deferred()
            await self._waiting
        return self.data


class Tls:
    """An authority, a server's certificate by it, and clients with or without one."""

    def __init__(self) -> None:
        self._authority = make_authority("test authority")

    def server(self) -> ssl.CertificateOptions:
        """Verifies clients that show a certificate, and takes those that show none."""
        own = _private(make_certificate(self._authority, "localhost", server=True))
        return ssl.CertificateOptions(
            privateKey=own.privateKey.original,
            certificate=own.original,
            verify=True,
            caCerts=[self._trust().original],
            requireCertificate=False,
        )

    def client(self, user: str) -> IOpenSSLClientConnectionCreator:
        """Shows the certificate of ``user``; none if empty."""
        own = _private(make_certificate(self._authority, user)) if user else None
        return ssl.optionsForClientTLS("localhost", trustRoot=self._trust(), clientCertificate=own)

    def _trust(self) -> ssl.Certificate:
        return ssl.Certificate.loadPEM(self._authority.certificate.public_bytes(Encoding.PEM))


def _private(issued: Issued) -> Any:
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return ssl.PrivateCertificate.loadPEM(key + issued.certificate.public_bytes(Encoding.PEM))


class _Connection(ProtocolWrapper):
    """Tells its factory when the site is done with it."""

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        """Let the site clean up first."""
        super().connectionLost(reason)
        self.factory.left()


class _Counted(WrappingFactory):
    """Knows when the last connection of a site is gone."""

    protocol = _Connection
    _empty: Deferred[None] | None = None

    def left(self) -> None:
        """One connection is gone."""
        if self._empty is not None and not self.protocols:
            self._empty.callback(None)

    async def gone(self) -> None:
        """Return when no connection is left."""
        if self.protocols:
            self._empty = Deferred()
            await self._empty


@asynccontextmanager
async def served(site: HTTPFactory, tls: Tls | None = None) -> AsyncIterator[Callable[..., Deferred[RawClient]]]:
    """Serve ``site`` and hand out a function that connects to it; nothing is left connected afterwards.

    With ``tls`` the function takes a user's name, whose certificate the client shows.
    """
    from twisted.internet import reactor

    counted, clients = _Counted(site), []
    plain = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    encrypted = tls and SSL4ServerEndpoint(reactor, 0, tls.server(), interface="127.0.0.1")
    port = await (encrypted or plain).listen(counted)

    def connect(user: str = "") -> Deferred[RawClient]:
        clients.append(RawClient())
        server = HostnameEndpoint(reactor, b"localhost", port.getHost().port)
        endpoint = wrapClientTLS(tls.client(user), server) if tls else server
        connected: Deferred[RawClient] = connectProtocol(endpoint, clients[-1])
        return connected

    try:
        yield connect
    finally:
        for client in clients:
            if not client.lost.called:
                client.transport.abortConnection()
        await port.stopListening()
        await counted.gone()
