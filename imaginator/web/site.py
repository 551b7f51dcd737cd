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

LONGEST_BODY = 1024 * 1024
"""Bytes of a request body; the largest RPC request is far smaller."""

REQUEST_DEADLINE = 30.0
"""Seconds from the opening of a connection, or the end of the answer before, until a request must be complete."""

_TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_CLOSED = Failure(ConnectionDone())


class BoundedRequest(Request):
    """A request that is answered 413, and its connection closed, when its body is too large."""

    channel: BoundedChannel
    content: IO[bytes]
    _refused = False

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """Refuse a body that is announced as too large before any of it is read."""
        super().gotLength(length and min(length, LONGEST_BODY))
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

    def _check(self, length: int) -> None:
        if length > LONGEST_BODY and not self._refused:
            self._refused = True
            self.channel.transport.write(_TOO_LARGE)
            self.channel.loseConnection()


class BoundedChannel(HTTPChannel):
    """A connection that is cut when a request is not complete in time, however busily it trickles in.

    Twisted's own timeout starts anew with every byte.
    """

    transport: ITCPTransport
    _deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:  # noqa: N802
        """Begin to wait for the first request."""
        super().connectionMade()
        self._await_request()

    def allContentReceived(self) -> None:  # noqa: N802
        """The request is whole: its answer may take as long as it takes."""
        self._stop_waiting()
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:  # noqa: N802
        """Begin to wait for the next request."""
        self._await_request()
        super().requestDone(request)

    def connectionLost(self, reason: Failure = _CLOSED) -> None:  # noqa: N802
        """Forget the deadline."""
        self._stop_waiting()
        super().connectionLost(reason)

    def _await_request(self) -> None:
        self._stop_waiting()
        self._deadline = self.callLater(REQUEST_DEADLINE, self._too_late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _too_late(self) -> None:
        self.transport.abortConnection()


class BoundedSite(Site):
    """A site for open networks: HTTP/1.1 only, forms are not parsed, bodies and waiting have limits.

    It keeps no access log: pages that refresh themselves would fill it.

    ``timeout`` is how many seconds a connection may be silent while a request is awaited.
    """

    protocol = BoundedChannel  # type: ignore[assignment]  # Twisted names its own proxy of a channel here

    def __init__(self, resource: IResource, reactor: IReactorTime, timeout: float = 15.0) -> None:
        super().__init__(resource, BoundedRequest, reactor=reactor, timeout=timeout, parsePOSTFormSubmission=False)

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802
        """HTTP/1.1: an HTTP/2 stream would not tell the client's certificate."""
        return [b"http/1.1"]

    def log(self, request: http.Request) -> None:
        """Write nothing."""
