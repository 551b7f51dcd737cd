"""Clients that say too much, or take too long to say it."""

from __future__ import annotations

import pytest_twisted
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import Request

from imaginator.web.site import LONGEST_BODY, REQUEST_DEADLINE, BoundedChannel, BoundedSite
from tests.support.raw_http import served
from tests.support.real_reactor import reactor


class Echo(Resource):
    """Answers with the request's body and the arguments that Twisted found in it."""

    isLeaf = True  # noqa: N815

    def render_GET(self, request: Request) -> bytes:  # noqa: N802
        """Answer a GET."""
        return b"hello"

    def render_POST(self, request: Request) -> bytes:  # noqa: N802
        """Answer a POST."""
        assert request.content is not None
        return b"%d bytes, %d arguments" % (len(request.content.read()), len(request.args))


@pytest_twisted.ensureDeferred
async def test_a_body_announced_as_too_large_is_refused_unread() -> None:
    """The answer is 413 before a byte of the body was sent, and the connection is closed."""
    async with served(BoundedSite(Echo(), reactor)) as connect:
        client = await connect()
        client.ask("/", f"Content-Length: {LONGEST_BODY + 1}", method="POST")
        await client.lost

        assert client.data.startswith(b"HTTP/1.1 413 ")


@pytest_twisted.ensureDeferred
async def test_a_body_that_grows_too_large_is_refused() -> None:
    """A chunked body, whose length nobody announces, is cut off at the limit."""
    async with served(BoundedSite(Echo(), reactor)) as connect:
        client = await connect()
        client.ask("/", "Transfer-Encoding: chunked", method="POST")
        client.transport.write(b"100000\r\n" + bytes(0x100000) + b"\r\n1\r\nx")
        await client.until(lambda data: b"\r\n\r\n" in data)

        assert client.data.startswith(b"HTTP/1.1 413 ")


@pytest_twisted.ensureDeferred
async def test_a_body_of_the_longest_length_is_taken_and_not_parsed() -> None:
    """The limit itself is allowed; a form is handed on as it is, since parsing a large one takes long."""
    async with served(BoundedSite(Echo(), reactor)) as connect:
        client = await connect()
        form = ("Content-Type: application/x-www-form-urlencoded", f"Content-Length: {LONGEST_BODY}")
        client.ask("/", *form, method="POST")
        client.transport.write(b"a=b&" * (LONGEST_BODY // 4))
        data = await client.until(lambda data: b"arguments" in data)

        assert data.endswith(b"%d bytes, 0 arguments" % LONGEST_BODY)


@pytest_twisted.ensureDeferred
async def test_a_connection_serves_one_request_after_another() -> None:
    """The deadline does not end a connection that is used well."""
    async with served(BoundedSite(Echo(), reactor)) as connect:
        client = await connect()
        client.ask("/")
        client.ask("/")
        await client.until(lambda data: data.count(b"hello") == 2)


def connection(clock: Clock) -> tuple[BoundedChannel, StringTransport]:
    """A connection to a site whose time is ``clock``."""
    channel = BoundedSite(Echo(), clock, timeout=10).buildProtocol(None)
    assert isinstance(channel, BoundedChannel)
    transport = StringTransport()
    channel.makeConnection(transport)
    return channel, transport


def test_a_request_that_trickles_in_is_cut_off() -> None:
    """A byte each second keeps Twisted's timeout from ever firing, but not the deadline."""
    clock = Clock()
    channel, transport = connection(clock)
    for _ in range(int(REQUEST_DEADLINE) - 1):
        channel.dataReceived(b"G")
        clock.advance(1)
    assert not transport.disconnecting

    clock.advance(1)

    assert transport.disconnecting


def test_a_silent_connection_is_closed() -> None:
    """Who says nothing is sent away after the idle timeout."""
    clock = Clock()
    _, transport = connection(clock)

    clock.advance(11)

    assert transport.disconnecting


def test_the_deadline_counts_anew_after_an_answer() -> None:
    """A kept connection may bring its next request as late as a fresh one."""
    clock = Clock()
    channel, transport = connection(clock)
    clock.advance(9)
    channel.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    for _ in range(int(REQUEST_DEADLINE) - 1):
        channel.dataReceived(b"G")
        clock.advance(1)

    assert transport.value().endswith(b"hello")
    assert not transport.disconnecting


def test_nothing_is_left_of_a_closed_connection() -> None:
    """When the client goes, the deadline goes."""
    clock = Clock()
    channel, _ = connection(clock)

    channel.connectionLost()

    assert [] == clock.getDelayedCalls()
