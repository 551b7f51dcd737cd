"""JSON-RPC on real sockets: the real resource over a fake builder, TLS with certificates made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from OpenSSL import crypto
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from imaginator.model.errors import NotFound
from imaginator.model.identity import Trusted
from imaginator.rpc.callers import Callers
from imaginator.rpc.certificates import Issued, Wish, issue, make_authority
from imaginator.rpc.client import Client, Credentials
from imaginator.rpc.jsonrpc import JsonRpc
from imaginator.rpc.operations import Operations
from imaginator.rpc.xmlrpc import XmlRpc
from tests.support.fake_builder import FakeBuilder

Result = TypeVar("Result")

SECRET = "correct-horse"
"""What the site's redaction replaces."""


class LogPage(Resource):
    """``/showBuildLog?ID&follow&offset=N`` over the fake builder's logs."""

    isLeaf = True  # noqa: N815

    def __init__(self, builder: FakeBuilder) -> None:
        super().__init__()
        self._builder = builder

    def render_GET(self, request: Request) -> int:  # noqa: N802
        """Send the log until the build is finished."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        sending = Deferred.fromCoroutine(self._send(request))
        sending.addErrback(lambda failure: failure.trap(CancelledError))
        request.notifyFinish().addErrback(lambda _: sending.cancel())
        return NOT_DONE_YET

    async def _send(self, request: Request) -> None:
        build_id, *options = request.uri.decode().partition("?")[2].split("&")
        try:
            log = await self._builder.log(build_id)
        except NotFound as error:
            request.setResponseCode(404)
            request.write(str(error).encode())
        else:
            offset = int(next(option.removeprefix("offset=") for option in options if option.startswith("offset=")))
            while not (log.finished and offset == len(log.data)):
                await log.grown(offset)
                block = await log.read(offset, 1000)
                request.write(block)
                offset += len(block)
        request.finish()


class BytesPage(Resource):
    """A body that ``cut`` ends before its time."""

    isLeaf = True  # noqa: N815

    def __init__(self, body: bytes, cut: bool = False) -> None:
        super().__init__()
        self._body = body
        self._cut = cut

    def render_GET(self, request: Request) -> int:  # noqa: N802
        """Send the body in chunks."""
        request.setHeader(b"content-type", b"application/x-tar")
        request.write(self._body)
        if self._cut:
            request.transport.abortConnection()  # type: ignore[union-attr]
        else:
            request.finish()
        return NOT_DONE_YET


class Connections(WrappingFactory):
    """Knows the open connections of a site, so that a test can end without any."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._empty: Deferred[None] | None = None

    async def close(self) -> None:
        """Cut every connection, and return when the last is gone."""
        for connection in self.protocols:
            connection.transport.abortConnection()
        if self.protocols:
            self._empty = Deferred()
            await self._empty

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:  # noqa: N802
        """A connection is gone; its inner protocol learns of it right after this."""
        from tests.support.real_reactor import reactor

        super().unregisterProtocol(p)
        if self._empty is not None and not self.protocols:
            reactor.callLater(0, self._empty.callback, None)


class RpcSite:
    """A site on 127.0.0.1: TLS at ``port``, plain HTTP at ``plain_port``; ``files`` has everybody's certificates."""

    def __init__(self, files: Path, builder: FakeBuilder, trusted: Trusted = Trusted()) -> None:  # noqa: B008
        self.files = files
        self.builder = builder
        self.authority = make_authority("test authority")
        self.authority.write(files / "CA.pem", None)
        self.root = Resource()
        operations = Operations(cast(Any, builder), Callers(trusted), lambda text: text.replace(SECRET, "$SECRET"))
        self.root.putChild(b"jsonrpc", JsonRpc(operations))
        self.root.putChild(b"RPC2", XmlRpc(operations))
        self.root.putChild(b"showBuildLog", LogPage(builder))
        self._connections = Connections(Site(self.root))
        self._ports: list[Any] = []

    def listen(self) -> None:
        """Begin to serve."""
        from tests.support.real_reactor import reactor

        server = issue(self.authority, Wish("imaginator", server=True))
        options = ssl.CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(server.key),
            certificate=crypto.X509.from_cryptography(server.certificate),
            verify=True,
            caCerts=[crypto.X509.from_cryptography(self.authority.certificate)],
            requireCertificate=False,
        )
        self._ports = [
            reactor.listenSSL(0, self._connections, options, interface="127.0.0.1"),
            reactor.listenTCP(0, self._connections, interface="127.0.0.1"),
        ]
        self.port, self.plain_port = (port.getHost().port for port in self._ports)

    async def close(self) -> None:
        """Serve no more."""
        await gatherResults([port.stopListening() for port in self._ports])
        await self._connections.close()

    def certify(self, wish: Wish, authority: Issued | None = None) -> Credentials:
        """A certificate, signed by the site's authority or another; its owner trusts the site."""
        certificate, key = self.files / f"{wish.user}.pem", self.files / f"{wish.user}.key"
        issue(authority or self.authority, wish).write(certificate, key)
        return Credentials(certificate, key, self.files / "CA.pem")

    async def ask(self, credentials: Credentials, use: Callable[[Client], Result]) -> Result:
        """What ``use`` makes of a client, in a thread of its own."""

        def run() -> Result:
            with Client("127.0.0.1", self.port, credentials) as client:
                return use(client)

        return await deferToThread(run)

    async def call(self, credentials: Credentials, method: str, **parameters: Any) -> Any:
        """The result of one call."""
        return await self.ask(credentials, lambda client: client.call(method, **parameters))
