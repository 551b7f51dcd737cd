"""The HTTP side that no handler sees: how long a client may take to say what it wants, and how much it may say."""

# Twisted's HTTP classes are not annotated; untyped_calls_exclude does not reach calls through super().
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import IO

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from imaginator.web.answers import has_certificate
from imaginator.web.crowd import Crowd, most_connections

LONGEST_BODY = 1024 * 1024
"""Bytes of a request body; the largest RPC request is far smaller."""

LONGEST_OF_STRANGERS = 64 * 1024
"""The same for clients without a certificate, whom no body helps: it stays in memory, so that they write no files."""

LONGEST_LENGTH = 100
"""Bytes of the header that announces a body's length."""

REQUEST_DEADLINE = 30.0
"""Seconds from the opening of a connection, or the end of the answer before, until a request must be complete."""

CLOSING = 5.0
"""Seconds in which a connection that was closed has to be gone."""

_BAD = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_CLOSED = Failure(ConnectionDone())


class BoundedRequest(Request):
    """A request that is answered 413, and its connection closed, when its body is too large."""

    channel: BoundedChannel
    content: IO[bytes]
    _refused = False

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """Refuse a body that is announced as too large before any of it is read."""
        self._longest = LONGEST_BODY if self._is_known() else LONGEST_OF_STRANGERS
        super().gotLength(self._longest if length is None else min(length, self._longest))
        self._check(length or 0)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Keep a part of the body, unless it becomes too large."""
        self._check(self.content.tell() + len(data))
        if not self._refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802
        """Answer, unless the request was refused."""
        if not self._refused:
            super().requestReceived(command, path, version)

    def _is_known(self) -> bool:
        return has_certificate(self.channel.transport)

    def _check(self, length: int) -> None:
        if length > self._longest and not self._refused:
            self._refused = True
            self.channel.refuse(_TOO_LARGE)


class BoundedChannel(HTTPChannel):
    """A connection that is closed when a request is not complete in time, however busily it trickles in.

    Twisted's own timeout starts anew with every byte. A request counts as answered when the client has taken the
    answer, at its own pace: one that takes nothing at all is the kernel's matter (see `imaginator.service.port`).
    """

    transport: ITCPTransport
    factory: BoundedSite
    _deadline: IDelayedCall | None = None
    _closed = False
    _answering = False
    _full = False
    _answered: Request | None = None

    def connectionMade(self) -> None:  # noqa: N802
        """Begin to wait for the first request."""
        super().connectionMade()
        self._await_request()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Take a part of a request; over TLS more may come after the end."""
        if not self._closed:
            super().dataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802
        """Tell that a line is too long."""
        self.refuse(_BAD)

    def headerReceived(self, line: bytes) -> bool:  # noqa: N802
        """Take a header; of a length with more digits than Python reads Twisted would make an error of the program."""
        if len(line) > LONGEST_LENGTH and line.lower().startswith(b"content-length:"):
            self.refuse(_BAD)
            return False
        received: bool = super().headerReceived(line)
        return received

    def allContentReceived(self) -> None:  # noqa: N802
        """The request is whole: its answer may take as long as it takes."""
        self._stop_waiting()
        self._answering = True
        self.factory.crowd.busy(self.transport.getPeer())
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:  # noqa: N802
        """Begin to wait for the next request, as soon as nothing of the answer is left here."""
        if self._full:
            self._answered = request
            return
        self._answering = False
        self._await_request()
        super().requestDone(request)

    def pauseProducing(self) -> None:  # noqa: N802
        """The client takes less than it gets."""
        super().pauseProducing()
        self._full = True
        self.factory.crowd.waited_for(self.transport.getPeer())

    def resumeProducing(self) -> None:  # noqa: N802
        """The client has taken what was there for it."""
        super().resumeProducing()
        self._full = False
        if self._answering:
            self.factory.crowd.busy(self.transport.getPeer())
        answered, self._answered = self._answered, None
        if answered is not None:
            self.requestDone(answered)

    def refuse(self, answer: bytes) -> None:
        """Send a last answer."""
        self.transport.write(answer)
        self.loseConnection()

    def loseConnection(self) -> None:  # noqa: N802
        """Close the connection when everything is sent; what still comes does not count."""
        self._closed = True
        super().loseConnection()

    def connectionLost(self, reason: Failure = _CLOSED) -> None:  # noqa: N802
        """Forget the deadline."""
        self._stop_waiting()
        super().connectionLost(reason)

    def _await_request(self) -> None:
        self._stop_waiting()
        self._deadline = self.callLater(REQUEST_DEADLINE, self._too_late)
        self.factory.crowd.waited_for(self.transport.getPeer())

    def _stop_waiting(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _too_late(self) -> None:
        # First politely, for those who only kept a connection in reserve.
        self._deadline = self.callLater(CLOSING, self.transport.abortConnection)
        self.loseConnection()


class BoundedSite(Site):
    """A site for open networks: HTTP/1.1 only, forms are not parsed; bodies, waiting and connections have limits.

    It keeps no access log: pages that refresh themselves would fill it. ``crowd`` knows its connections.
    """

    protocol = BoundedChannel  # type: ignore[assignment]  # Twisted names its own proxy of a channel here

    def __init__(self, resource: IResource, reactor: IReactorTime) -> None:
        super().__init__(resource, BoundedRequest, reactor=reactor, timeout=None, parsePOSTFormSubmission=False)
        self.crowd = Crowd(most_connections())

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802
        """HTTP/1.1: an HTTP/2 stream would not tell the client's certificate."""
        return [b"http/1.1"]

    def log(self, request: http.Request) -> None:
        """Write nothing."""
