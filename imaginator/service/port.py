"""One port for plain HTTP and TLS: the first byte of a connection tells which it is.

A TLS connection begins with a handshake record, whose first byte is 22 (RFC 8446, section 5.1); no HTTP method does.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

HANDSHAKE = 22
FIRST_BYTE = 30.0
"""Seconds that a connection may say nothing at all."""

Choose = Callable[[bool], IProtocolFactory]
"""The factory for a TLS connection (True) or a plain one, as it is now: certificates may be exchanged."""


class FirstByte(Protocol):
    """Waits for the first byte, then passes everything to the protocol that it calls for."""

    def __init__(self, choose: Choose, address: IAddress, clock: IReactorTime) -> None:
        self._choose = choose
        self._address = address
        self._clock = clock
        self._inner: IProtocol | None = None
        self._deadline: IDelayedCall | None = None
        self.transport: ITCPTransport

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to wait."""
        self._deadline = self._clock.callLater(FIRST_BYTE, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Choose by the first byte; pass on the rest."""
        if self._inner is None:
            self._stop_waiting()
            inner = self._choose(data[0] == HANDSHAKE).buildProtocol(self._address)
            if inner is None:
                self.transport.abortConnection()
                return
            self._inner = inner
            inner.makeConnection(self.transport)
        self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """Tell the protocol behind."""
        self._stop_waiting()
        if self._inner is not None:
            self._inner.connectionLost(reason)

    def _stop_waiting(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()


class OnePort(ServerFactory):
    """Serves both kinds of connections, each by the factory that ``choose`` gives for it."""

    noisy = False

    def __init__(self, choose: Choose, clock: IReactorTime) -> None:
        self._choose = choose
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> FirstByte:  # noqa: N802 - Twisted's name
        """A connection."""
        assert addr is not None
        return FirstByte(self._choose, addr, self._clock)
