"""The first byte of a connection decides who speaks on it."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from imaginator.service.port import FIRST_BYTE, FirstByte, OnePort

ADDRESS = IPv4Address("TCP", "127.0.0.1", 1)


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


def connection(clock: Clock) -> tuple[FirstByte, StringTransport]:
    """A new connection to the port."""
    port = OnePort(lambda secure: Factory.forProtocol(Tls if secure else Plain), clock)
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
