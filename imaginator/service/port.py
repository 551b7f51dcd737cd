"""One port for plain HTTP, TLS and SRPC: the first byte of a connection tells which it is.

A TLS connection begins with a handshake record, whose first byte is 22 (RFC 8446, section 5.1); no HTTP method does.
One of SRPC begins with ``CONNECT``, which no other method of HTTP has its first letter in common with.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from enum import IntEnum

from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from imaginator.web.crowd import Crowd

FIRST_BYTE = 30.0
"""Seconds that a connection may say nothing at all."""

BACKLOG = 1024
"""Connections that wait to be taken; with fewer a burst would keep others out for a second, as long as TCP waits."""

STALLED = 600
"""Seconds after which a client is given up that takes nothing of what it is sent, or whose host does not answer."""

UNSENT = 64 * 1024
"""Bytes that the kernel takes beyond what is under way; it would take megabytes for each who does not read."""


class Speech(IntEnum):
    """What a connection speaks."""

    HTTP = 0
    TLS = 1
    SRPC = 2


_FIRST = {22: Speech.TLS, ord("C"): Speech.SRPC}

Choose = Callable[[Speech], IProtocolFactory | None]
"""The factory for a connection, as it is now: certificates may be exchanged, or go."""


class FirstByte(Protocol):
    """Waits for the first byte, then passes everything to the protocol that it calls for."""

    def __init__(self, choose: Choose, address: IAddress, clock: IReactorTime, crowd: Crowd) -> None:
        self._choose = choose
        self._address = address
        self._clock = clock
        self._crowd = crowd
        self._inner: IProtocol | None = None
        self._deadline: IDelayedCall | None = None
        self.transport: ITCPTransport

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to wait, if there is a place."""
        if not self._crowd.enter(self._address, self.transport.abortConnection):
            self.transport.abortConnection()
            return
        self._deadline = self._clock.callLater(FIRST_BYTE, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Choose by the first byte; pass on the rest."""
        if self._inner is None:
            self._stop_waiting()
            factory = self._choose(_FIRST.get(data[0], Speech.HTTP))
            inner = None if factory is None else factory.buildProtocol(self._address)
            if inner is None:
                # Plain HTTP would wait for the end of a line until the client's patience, or its own, is over.
                self.transport.loseConnection()
                return
            self._inner = inner
            inner.makeConnection(self.transport)
        self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """Tell the protocol behind."""
        self._stop_waiting()
        self._crowd.leave(self._address)
        if self._inner is not None:
            self._inner.connectionLost(reason)

    def _stop_waiting(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()


class OnePort(ServerFactory):
    """Serves all kinds of connections, each by the factory that ``choose`` gives for it, if ``crowd`` has a place."""

    noisy = False

    def __init__(self, choose: Choose, clock: IReactorTime, crowd: Crowd) -> None:
        self._choose = choose
        self._clock = clock
        self._crowd = crowd

    def buildProtocol(self, addr: IAddress | None) -> FirstByte:  # noqa: N802 - Twisted's name
        """A connection."""
        assert addr is not None
        return FirstByte(self._choose, addr, self._clock, self._crowd)


def give_up_the_stalled(listening: socket.socket, seconds: int = STALLED) -> None:
    """Let the kernel cut connections, which inherit it from the socket they come by, when nothing gets through.

    It keeps little of what is not taken, and asks silent hosts whether they are still there.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(seconds // 5, 1))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(seconds // 20, 1))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    # Answers in several small parts would wait for each other's acknowledgement, 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
