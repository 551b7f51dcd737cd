"""The first byte of a connection decides who speaks on it."""

from __future__ import annotations

import socket
import time

import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from imaginator.service.port import FIRST_BYTE, FirstByte, OnePort, give_up_the_stalled
from imaginator.web.crowd import Crowd
from tests.support.real_reactor import reactor

ADDRESS = IPv4Address("TCP", "127.0.0.1", 1)
OTHER = IPv4Address("TCP", "127.0.0.2", 1)
FLOOD = 20 * 1024 * 1024


class Speaker(Protocol):
    """Answers what it gets, after its name."""

    name = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Answer."""
        assert self.transport is not None
        self.transport.write(self.name + data)


class Tls(Speaker):
    """What a TLS connection meets."""

    name = b"tls:"


class Plain(Speaker):
    """What any other connection meets."""

    name = b"plain:"


def connection(clock: Clock, crowd: Crowd | None = None) -> tuple[FirstByte, StringTransport]:
    """A new connection to the port."""
    port = OnePort(lambda secure: Factory.forProtocol(Tls if secure else Plain), clock, crowd or Crowd(10))
    protocol, transport = port.buildProtocol(ADDRESS), StringTransport()
    protocol.makeConnection(transport)
    return protocol, transport


@pytest.mark.parametrize(("data", "answer"), [(b"\x16\x03", b"tls:\x16\x03"), (b"GET", b"plain:GET")])
def test_the_first_byte_decides(data: bytes, answer: bytes) -> None:
    """A handshake record is TLS, anything else is plain; nothing is lost, and no deadline is left."""
    clock = Clock()
    protocol, transport = connection(clock)
    protocol.dataReceived(data)

    assert answer == transport.value()
    assert not clock.getDelayedCalls()


def test_silence_has_a_deadline() -> None:
    """A connection that says nothing is cut."""
    clock = Clock()
    _, transport = connection(clock)
    clock.advance(FIRST_BYTE - 1)
    before = transport.disconnecting or transport.disconnected
    clock.advance(1)

    assert not before
    assert transport.disconnecting or transport.disconnected


def test_a_lost_connection_has_no_deadline() -> None:
    """A client that goes away leaves nothing behind."""
    clock = Clock()
    protocol, _ = connection(clock)
    protocol.connectionLost()

    assert not clock.getDelayedCalls()


def test_a_kind_that_is_not_served() -> None:
    """Such a connection is closed at once, and what still comes on it is nobody's."""
    clock = Clock()
    protocol, transport = OnePort(lambda secure: None, clock, Crowd(1)).buildProtocol(ADDRESS), StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(b"\x16\x03")

    assert transport.disconnecting
    assert b"" == transport.value()
    assert not clock.getDelayedCalls()


def test_without_a_place() -> None:
    """A connection that finds no place is cut at once; one that leaves makes room."""
    crowd = Crowd(1)
    clock = Clock()
    first, _ = connection(clock, crowd)
    crowd.busy(ADDRESS)
    port = OnePort(lambda secure: Factory.forProtocol(Plain), clock, crowd)
    second, transport = port.buildProtocol(OTHER), StringTransport()
    second.makeConnection(transport)
    assert transport.disconnecting
    second.connectionLost()
    first.connectionLost()

    assert crowd.enter(OTHER, lambda: None)
    assert not clock.getDelayedCalls()


class Flood(Protocol):
    """Sends more than any buffer takes, and tells of its end."""

    ended: Deferred[None]

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Send it all at once."""
        assert self.transport is not None
        self.transport.write(bytes(FLOOD))

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        """Tell."""
        self.ended.callback(None)


@pytest_twisted.ensureDeferred
async def test_a_client_that_takes_nothing_is_given_up() -> None:
    """The kernel ends the connection when nothing gets through for so long; nothing is done for it here."""
    flood = Factory.forProtocol(Flood)
    Flood.ended = Deferred()
    listening = reactor.listenTCP(0, OnePort(lambda secure: flood, reactor, Crowd(10)), interface="127.0.0.1")
    give_up_the_stalled(listening.socket, 1)
    with socket.create_connection(("127.0.0.1", listening.getHost().port)) as client:
        client.sendall(b"x")
        await Flood.ended
    await listening.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_client_that_is_slow_is_not() -> None:
    """One that takes a little now and then gets everything, though that takes longer than it may take nothing."""
    flood = Factory.forProtocol(Flood)
    Flood.ended = Deferred()
    listening = reactor.listenTCP(0, OnePort(lambda secure: flood, reactor, Crowd(10)), interface="127.0.0.1")
    give_up_the_stalled(listening.socket, 2)

    def read_slowly(client: socket.socket) -> int:
        client.sendall(b"x")
        received = 0
        while received < FLOOD:
            received += len(client.recv(FLOOD // 10, socket.MSG_WAITALL))
            time.sleep(0.25)
        return received

    with socket.create_connection(("127.0.0.1", listening.getHost().port)) as client:
        received = await deferToThread(read_slowly, client)
    await Flood.ended
    await listening.stopListening()

    assert FLOOD == received
