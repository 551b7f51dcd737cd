"""Clients that say too much, or take too long to say it."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from imaginator.web.crowd import Crowd
from imaginator.web.site import (
    CLOSING,
    LONGEST_BODY,
    LONGEST_OF_STRANGERS,
    REQUEST_DEADLINE,
    BoundedChannel,
    BoundedSite,
)
from tests.support.raw_http import Tls, served
from tests.support.real_reactor import reactor

LONG = 8 * 1024 * 1024
"""Bytes of an answer that no socket's buffers take."""


class Echo(Resource):
    """Answers with the request's body and the arguments that Twisted found in it; at ``/long`` with a long text."""

    isLeaf = True  # noqa: N815

    def render_GET(self, request: Request) -> bytes | int:  # noqa: N802
        """Answer a GET; that of ``/never`` never."""
        if request.path == b"/never":
            return NOT_DONE_YET
        return bytes(LONG) if request.path == b"/long" else b"hello"

    def render_POST(self, request: Request) -> bytes:  # noqa: N802
        """Answer a POST."""
        assert request.content is not None
        return b"%d bytes, %d arguments" % (len(request.content.read()), len(request.args))


@pytest.fixture(scope="module")
def tls() -> Tls:
    """Certificates."""
    return Tls()


WHO = {"": LONGEST_OF_STRANGERS, "alice": LONGEST_BODY}


@pytest.mark.parametrize("user", WHO)
@pytest_twisted.ensureDeferred
async def test_a_body_announced_as_too_large_is_refused_unread(tls: Tls, user: str) -> None:
    """The answer is 413 before a byte of the body was sent, and the connection is closed."""
    async with served(BoundedSite(Echo(), reactor), tls) as connect:
        client = await connect(user)
        client.ask("/", f"Content-Length: {WHO[user] + 1}", method="POST")
        await client.lost

        assert client.data.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("user", WHO)
@pytest_twisted.ensureDeferred
async def test_a_body_that_grows_too_large_is_refused(tls: Tls, user: str) -> None:
    """A chunked body, whose length nobody announces, is cut off at the limit."""
    async with served(BoundedSite(Echo(), reactor), tls) as connect:
        client = await connect(user)
        client.ask("/", "Transfer-Encoding: chunked", method="POST")
        client.transport.write(b"%x\r\n" % WHO[user] + bytes(WHO[user]) + b"\r\n1\r\nx")
        await client.until(lambda data: b"\r\n\r\n" in data)

        assert client.data.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("user", WHO)
@pytest_twisted.ensureDeferred
async def test_a_body_of_the_longest_length_is_taken_and_not_parsed(tls: Tls, user: str) -> None:
    """The limit itself is allowed; a form is handed on as it is, since parsing a large one takes long."""
    async with served(BoundedSite(Echo(), reactor), tls) as connect:
        client = await connect(user)
        form = ("Content-Type: application/x-www-form-urlencoded", f"Content-Length: {WHO[user]}")
        client.ask("/", *form, method="POST")
        client.transport.write(b"a=b&" * (WHO[user] // 4))
        data = await client.until(lambda data: b"arguments" in data)

        assert data.endswith(b"%d bytes, 0 arguments" % WHO[user])


@pytest_twisted.ensureDeferred
async def test_plain_http_is_a_stranger() -> None:
    """Without TLS nobody is known."""
    async with served(BoundedSite(Echo(), reactor)) as connect:
        client = await connect()
        client.ask("/", f"Content-Length: {LONGEST_OF_STRANGERS + 1}", method="POST")
        await client.lost

        assert client.data.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_a_length_of_many_digits_is_a_bad_request(name: bytes) -> None:
    """Python reads no number of more than 4300 digits; that is no error of the program."""
    channel, transport = connection(Clock())
    channel.dataReceived(b"POST / HTTP/1.1\r\n" + name + b": " + b"9" * 5000 + b"\r\n\r\n")

    assert transport.value().startswith(b"HTTP/1.1 400 ")
    assert transport.disconnecting


@pytest_twisted.ensureDeferred
async def test_a_connection_serves_one_request_after_another() -> None:
    """The deadline does not end a connection that is used well."""
    async with served(BoundedSite(Echo(), reactor)) as connect:
        client = await connect()
        client.ask("/")
        client.ask("/")
        await client.until(lambda data: data.count(b"hello") == 2)


class Transport(StringTransport):
    """A transport that knows whether it was cut."""

    aborted = False

    def abortConnection(self) -> None:  # noqa: N802
        """Remember it."""
        self.aborted = True
        super().abortConnection()


def connection(clock: Clock) -> tuple[BoundedChannel, Transport]:
    """A connection to a site whose time is ``clock``."""
    channel = BoundedSite(Echo(), clock).buildProtocol(None)
    assert isinstance(channel, BoundedChannel)
    transport = Transport()
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


def test_a_connection_is_closed_politely_then_by_force() -> None:
    """One that is not gone some seconds after it was closed is cut."""
    clock = Clock()
    _, transport = connection(clock)

    clock.advance(REQUEST_DEADLINE)
    closed = transport.disconnecting, transport.aborted
    clock.advance(CLOSING)

    assert ((True, False), True) == (closed, transport.aborted)


def test_an_answer_is_taken_at_the_client_s_own_pace() -> None:
    """The next request is awaited from when nothing of the answer before is left here, and not read any sooner."""
    clock = Clock()
    channel, transport = connection(clock)
    channel.dataReceived(b"GET /long HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    assert transport.producer is not None
    transport.producer.pauseProducing()
    channel.dataReceived(b"GET /long HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    clock.advance(10 * REQUEST_DEADLINE)
    before = transport.disconnecting, transport.value().count(b"hello"), list(clock.getDelayedCalls())
    transport.producer.resumeProducing()

    assert ((False, 1, []), 2) == (before, transport.value().count(b"hello"))
    clock.advance(REQUEST_DEADLINE)
    assert transport.disconnecting


def test_who_does_not_take_an_answer_makes_room() -> None:
    """A place is kept for a client that is being answered, as long as it takes what it gets."""
    channel, transport = connection(Clock())
    crowd = channel.factory.crowd = Crowd(1)
    assert crowd.enter(transport.getPeer(), transport.abortConnection)
    channel.dataReceived(b"GET /never HTTP/1.1\r\n\r\n")
    assert transport.producer is not None
    other = IPv4Address("TCP", "10.0.0.1", 1)
    while_answered = crowd.enter(other, lambda: None)
    transport.producer.pauseProducing()
    transport.producer.resumeProducing()
    while_taken = crowd.enter(other, lambda: None)
    transport.producer.pauseProducing()

    assert (False, False) == (while_answered, while_taken)
    assert crowd.enter(other, lambda: None)
    assert transport.aborted


@pytest.mark.parametrize("header", ["Connection: close", "Connection: keep-alive"])
@pytest_twisted.ensureDeferred
async def test_a_slow_reader_gets_a_whole_answer(tls: Tls, header: str) -> None:
    """A long answer is there when its client begins to read, whether the connection ends with it or not."""
    async with served(BoundedSite(Echo(), reactor), tls) as connect:
        client = await connect()
        client.pause()
        client.ask("/long", header)
        await deferLater(reactor, 0.1, lambda: None)
        client.resume()
        await client.until(lambda data: len(data) > LONG)

        assert client.data.endswith(b"\r\n\r\n" + bytes(LONG))


def test_the_deadline_counts_anew_after_an_answer() -> None:
    """A kept connection may bring its next request as late as a fresh one."""
    clock = Clock()
    channel, transport = connection(clock)
    clock.advance(REQUEST_DEADLINE - 1)
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

    assert [] == list(clock.getDelayedCalls())
