"""Calls over real connections of the loopback, and with peers that are slow, wrong or gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from imaginator.srpc import messages as said
from imaginator.srpc.call import Call
from imaginator.srpc.client import Client, Server
from imaginator.srpc.coders import GOB, JSON, Coder
from imaginator.srpc.conversation import LONGEST_LINE, PATIENCE, Conversation
from imaginator.srpc.decoding import Decoder
from imaginator.srpc.encoding import Encoder
from imaginator.srpc.errors import Broken, Refused, Unwelcome
from imaginator.srpc.jsoncoding import JsonDecoder, JsonEncoder
from imaginator.srpc.server import (
    BEGINNING,
    GOB_PATH,
    JSON_PATH,
    TLS_GOB_PATH,
    Answering,
    Calls,
    Door,
    Serving,
    Speaking,
)
from tests.support.real_reactor import reactor


async def same_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Calls it here."""
    return function(*args)


class Bench:
    """A server's methods, and what becomes of its connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.ended: list[str] = []
        self.never: list[Deferred[None]] = []
        methods: dict[str, Answering | Speaking] = {
            "Images.Check": Answering(said.CheckImageRequest, self.check),
            "Images.Get": Answering(said.GetImageRequest, self.get, large=True),
            "Images.Fail": Answering(said.CheckImageRequest, self.fail),
            "Images.Wait": Answering(said.CheckImageRequest, self.wait),
            "Objects.Double": Speaking(self.double),
            "Objects.Fail": Speaking(self.fail_speaking),
            "Objects.Late": Speaking(self.fail_late),
        }
        self.serving = Serving(reactor, same_thread, methods, self.admit, self, lambda error, name: f"{name}: {error}")

    def busy(self, peer: IAddress) -> None:
        """Somebody is being answered."""

    def waited_for(self, peer: IAddress) -> None:
        """Somebody is waited for."""

    def admit(self, name: str, transport: object) -> str:
        """Everybody, but to one method."""
        if name == "Images.Fail" and self.connections < 0:
            raise Refused("access to method denied")
        return "somebody"

    async def check(self, caller: str, request: said.CheckImageRequest) -> said.CheckImageResponse:
        """Whether it is known who calls."""
        return said.CheckImageResponse(image_exists=caller == "somebody" and request.image_name == "a/b")

    async def get(self, _caller: str, request: said.GetImageRequest) -> said.GetImageResponse:
        """A refusal of two lines."""
        raise Refused(f"no such\nimage: {request.image_name}")

    async def fail(self, _caller: str, request: said.CheckImageRequest) -> said.CheckImageResponse:
        """An error of the program."""
        raise ZeroDivisionError("oops")

    async def wait(self, _caller: str, request: said.CheckImageRequest) -> said.CheckImageResponse:
        """For ever."""
        never: Deferred[None] = Deferred()
        self.never.append(never)
        try:
            await never
        except CancelledError:
            self.ended.append(request.image_name)
            raise
        return said.CheckImageResponse()

    async def double(self, call: Call) -> None:
        """What is sent, twice as often, with its length."""
        while (request := await call.receive(said.AddObjectRequest)).length:
            data = b"".join([block async for block in call.blocks(request.length)])
            await call.send(said.AddObjectRequest(2 * request.length))
            await call.conversation.say(2 * data)

    async def fail_speaking(self, call: Call) -> None:
        """An error of the program."""
        raise ZeroDivisionError("oops")

    async def fail_late(self, call: Call) -> None:
        """A value the second time; the first time the connection breaks after a while."""
        if self.connections == 1:
            await deferLater(reactor, 0.6)
            raise ZeroDivisionError("oops")
        await call.send(said.CheckImageResponse(True))

    def door(self) -> Door:
        """The way in."""
        self.connections += 1

        def behind(coder: Coder) -> Callable[[IAddress], Any]:
            return Calls(self.serving, coder).buildProtocol

        return Door({GOB_PATH: behind(GOB), JSON_PATH: behind(JSON), TLS_GOB_PATH: None}, reactor)

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[int]:
        """The port, as long as the context is open."""
        factory: Factory[Door] = Factory.forProtocol(self.door)
        factory.noisy = False
        listening: IListeningPort = reactor.listenTCP(port, factory, interface="127.0.0.1")
        try:
            yield listening.getHost().port  # type: ignore[attr-defined]
        finally:
            await maybeDeferred(listening.stopListening)
            await deferLater(reactor, 0.01)


def client(port: int, persistence: float = 5.0) -> Client:
    """One without TLS."""
    return Client(reactor, same_thread, Server("127.0.0.1", port, None), persistence)


CHECK = ("Images.Check", said.CheckImageRequest("a/b"), said.CheckImageResponse)


@pytest_twisted.ensureDeferred
async def test_calls_follow_one_another() -> None:
    """On one connection, whether they are answered or refused."""
    bench = Bench()
    async with bench.listening() as port:
        caller = client(port)
        for _ in range(2):
            assert said.CheckImageResponse(image_exists=True) == await caller.ask(*CHECK)
            with pytest.raises(Refused, match="^no such image: a/b$"):
                await caller.ask("Images.Get", said.GetImageRequest("a/b"), said.GetImageResponse)
            with pytest.raises(Refused, match="^Images.Fail: oops$"):
                await caller.ask("Images.Fail", said.CheckImageRequest(), said.CheckImageResponse)
            for name, words in (
                ("Images.No", "Images: unknown method: No"),
                ("No.Such", "unknown service: No"),
                (".LocalUpgradeToUnix", "unknown service:"),
                ("Nothing", "malformed Service.Method: Nothing"),
            ):
                with pytest.raises(Refused, match=f"^{words}$"):
                    await caller.ask(name, said.CheckImageRequest(), said.CheckImageResponse)
        caller.close()

    assert 1 == bench.connections


@pytest_twisted.ensureDeferred
async def test_objects_follow_values() -> None:
    """Both ways at once, of all sizes; the failure of such a method ends the connection, and the next one is new."""
    bench = Bench()
    sizes = [1, 100_000, 3_000_000, 5]

    async def talk(call: Call) -> list[int]:
        sending = Deferred.fromCoroutine(send(call))
        found = []
        for _ in sizes:
            count = (await call.receive(said.AddObjectRequest)).length
            found.append(len(b"".join([block async for block in call.blocks(count)])))
        await sending
        return found

    async def send(call: Call) -> None:
        for size in sizes:
            await call.send(said.AddObjectRequest(size))
            await call.conversation.say(b"x" * size)
        await call.send(said.AddObjectRequest())

    async with bench.listening() as port:
        caller = client(port, persistence=0)
        assert [2 * size for size in sizes] == await caller.speak("Objects.Double", talk)
        assert said.CheckImageResponse(image_exists=True) == await caller.ask(*CHECK)
        with pytest.raises(Broken):
            await caller.speak("Objects.Fail", talk)
        assert said.CheckImageResponse(image_exists=True) == await caller.ask(*CHECK)
        caller.close()

    assert 2 == bench.connections


@pytest_twisted.ensureDeferred
async def test_a_long_talk_that_breaks() -> None:
    """How long a server has talked does not count as its absence: there is another try."""
    bench = Bench()
    async with bench.listening() as port:
        caller = client(port, persistence=0.5)
        answer = await caller.speak("Objects.Late", lambda call: call.receive(said.CheckImageResponse))
        caller.close()

    assert (2, True) == (bench.connections, answer.image_exists)


@pytest_twisted.ensureDeferred
async def test_a_server_that_comes_later() -> None:
    """It is asked again until it is there."""
    bench = Bench()
    async with bench.listening() as port:
        pass
    caller = client(port)
    answer = Deferred.fromCoroutine(caller.ask(*CHECK))
    await deferLater(reactor, 0.1)
    async with bench.listening(port):
        assert said.CheckImageResponse(image_exists=True) == await answer
        caller.close()


@pytest_twisted.ensureDeferred
async def test_a_server_that_goes_away() -> None:
    """A connection that broke while it was idle is not used; without a server the words say so."""
    bench = Bench()
    async with bench.listening() as port:
        caller = client(port, persistence=0)
        await caller.ask(*CHECK)
        caller._idle[0].transport.abortConnection()  # what a restart looks like from here
        await deferLater(reactor, 0.01)
        await caller.ask(*CHECK)
        caller.close()
    with pytest.raises(Broken, match="^Images.Check: Connection was refused"):
        await caller.ask(*CHECK)

    assert 2 == bench.connections


@pytest_twisted.ensureDeferred
async def test_a_call_that_is_given_up() -> None:
    """The server stops what it does for it."""
    bench = Bench()
    async with bench.listening() as port:
        caller = client(port)
        waiting = Deferred.fromCoroutine(
            caller.ask("Images.Wait", said.CheckImageRequest("x/y"), said.CheckImageResponse)
        )
        while not bench.never:
            await deferLater(reactor, 0.01)
        waiting.cancel()
        with pytest.raises(CancelledError):
            await waiting
        while not bench.ended:
            await deferLater(reactor, 0.01)

    assert ["x/y"] == bench.ended


class Stranger(Protocol):
    """Says one thing to whoever comes."""

    words = b""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Say it."""
        self.transport.write(self.words)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"HTTP/1.0 405 Method Not Allowed\r\n\r\n", "it wants TLS with a client certificate"),
        (b"HTTP/1.0 401 Unauthorized\n\n", "it does not accept the certificate"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it does not speak SRPC there"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "it answers 'SSH-2.0-OpenSSH_9.2'"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_others_than_servers(words: bytes, reason: str) -> None:
    """They are asked once."""
    stranger = type("Stranger", (Stranger,), {"words": words})
    factory: Factory[Protocol] = Factory.forProtocol(stranger)
    factory.noisy = False
    listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
    try:
        with pytest.raises(Unwelcome, match="^Images.Check: it"):
            await client(listening.getHost().port).ask(*CHECK)
        with pytest.raises(Broken) as raised:
            await client(listening.getHost().port).ask(*CHECK)
    finally:
        await maybeDeferred(listening.stopListening)

    assert reason in str(raised.value)


@pytest_twisted.ensureDeferred
async def test_lines_of_json() -> None:
    """The same methods; a ping between two calls; the first call comes with the request to be let in."""
    bench = Bench()
    transport = StringTransport()
    door = bench.door()
    door.makeConnection(transport)
    door.dataReceived(b"CONNECT /_SRPC_/unsecured/JSON HTTP/1.0\n\nImages.Check\n")
    door.dataReceived(JsonEncoder().encode(said.CheckImageRequest("a/b")))
    door.dataReceived(b"\nImages.Check\n" + JsonEncoder().encode(said.CheckImageRequest("c/d")))
    for _ in range(3):
        await deferLater(reactor, 0)
    door.connectionLost()

    greeting = b"HTTP/1.0 200 Connected to Go SRPC\n\n"
    yes, no = (JsonEncoder().encode(said.CheckImageResponse(found)) for found in (True, False))
    assert greeting + b"\n\n" + yes + b"\n" + b"\n\n" + no == transport.value()
    decoder = JsonDecoder()
    decoder.feed(yes)
    assert said.CheckImageResponse(True) == decoder.next(said.CheckImageResponse)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"CONNECT /_go_TLS_SRPC_/ HTTP/1.0\r\n\r\n", b"HTTP/1.0 405 "),
        (b"CONNECT /elsewhere HTTP/1.0\n\n", b"HTTP/1.0 404 "),
        (b"CONNECT\n\n", b"HTTP/1.0 400 "),
        (b"CONVERT / HTTP/1.0\n\n", b"HTTP/1.0 400 "),
        (b"C" * 5000, b"HTTP/1.0 400 "),
    ],
)
def test_doors_that_stay_shut(request_: bytes, answer: bytes) -> None:
    """They say why, and the connection ends."""
    door, transport = Bench().door(), StringTransport()
    door.makeConnection(transport)
    door.dataReceived(request_)
    door.connectionLost()

    assert transport.value().startswith(answer)
    assert transport.disconnecting


def test_one_who_hesitates() -> None:
    """Neither at the door nor behind it is anybody waited for much longer than it takes to speak."""
    clock = Clock()
    bench = Bench()
    serving = bench.serving._replace(clock=clock)
    for beginning in (b"", b"CONNECT /_goSRPC_/ HTTP/1.0\n\n", b"CONNECT /_goSRPC_/ HTTP/1.0\n\nImages.Ch"):
        door, transport = Door({GOB_PATH: Calls(serving, GOB).buildProtocol}, clock), StringTransport()
        door.makeConnection(transport)
        door.dataReceived(beginning)
        clock.advance(BEGINNING + 1)
        assert transport.disconnected, beginning
        door.connectionLost()


class Peer:
    """Somebody at the other end of a conversation whose time is a `Clock`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.conversation = Conversation(self.clock, same_thread)
        self.transport = StringTransport()
        self.conversation.makeConnection(self.transport)

    def trickles(self, data: bytes, waiting: Deferred[Any]) -> int:
        """Say a byte a second until nobody waits any more; how many that were."""
        for count, number in enumerate(data):
            if waiting.called:
                return count
            self.conversation.dataReceived(bytes((number,)))
            self.clock.advance(1)
        return len(data)


WAITS: dict[str, Callable[[Conversation], Awaitable[Any]]] = {
    "a line": lambda conversation: conversation.line(),
    "a message": lambda conversation: conversation.value(Decoder(), said.GetImageResponse),
}


def words_of(waiting: Deferred[Any]) -> list[str]:
    """The words with which a wait breaks, as soon as it does."""
    found: list[str] = []

    def broken(failure: Failure) -> None:
        failure.trap(Broken)
        found.append(str(failure.value))

    waiting.addErrback(broken)
    return found


async def block(conversation: Conversation) -> None:
    """The first of a large object's blocks."""
    async for _ in conversation.blocks(1 << 20):
        return


@pytest.mark.parametrize("what", [*WAITS, "an object"])
def test_a_byte_a_second(what: str) -> None:
    """It is waited for what is whole, not for the next byte; the words say for what."""
    peer = Peer()
    wait = WAITS.get(what, block)
    waiting: Deferred[Any] = Deferred.fromCoroutine(wait(peer.conversation))  # type: ignore[arg-type]
    message = Encoder().encode(said.GetImageResponse(information_database_url="x" * 1000))
    taken = peer.trickles(b"x" * 200 if what != "a message" else message, waiting)
    reasons = words_of(waiting)

    assert PATIENCE == taken
    assert [f"waited {PATIENCE:.0f} s for {what}"] == reasons
    assert peer.transport.disconnected


def test_one_who_takes_nothing() -> None:
    """The sender waits, and not for ever."""
    peer = Peer()
    peer.conversation.pauseProducing()
    sending = Deferred.fromCoroutine(peer.conversation.say(b"x"))
    reasons = words_of(sending)
    peer.clock.advance(PATIENCE - 1)
    assert [] == reasons
    peer.clock.advance(2)

    assert [f"waited {PATIENCE:.0f} s for the peer to take what it is sent"] == reasons


def test_one_who_says_too_much() -> None:
    """A line has an end, and what nobody reads is not taken."""
    peer = Peer()
    waiting = Deferred.fromCoroutine(peer.conversation.line())
    peer.conversation.dataReceived(b"x" * (LONGEST_LINE + 1))
    peer.conversation.dataReceived(b"x")
    reasons = words_of(waiting)
    silent = Peer()
    silent.conversation.dataReceived(b"x" * (1 << 20))

    assert [f"a line of more than {LONGEST_LINE} bytes"] == reasons
    assert ["paused", "paused", "producing"] == [taken(silent, count) for count in (0, 10, 900_000)]


def taken(peer: Peer, count: int) -> str:
    """What the transport is told to do once so many bytes of what has come were read."""

    async def read() -> None:
        assert b"x" * count == b"".join([data async for data in peer.conversation.blocks(count)])

    Deferred.fromCoroutine(read())
    return peer.transport.producerState


@pytest.mark.parametrize("garbage", [b"\xf7" + bytes([255] * 8), b"\x05\xff\xff\xff\xff\xff", b"\x7f" + b"\0" * 127])
def test_garbage(garbage: bytes) -> None:
    """One sentence, and the end."""
    peer = Peer()
    waiting = Deferred.fromCoroutine(peer.conversation.value(Decoder(), said.GetImageResponse))
    peer.conversation.dataReceived(garbage)

    assert 1 == len(words_of(waiting))
    assert peer.transport.disconnected
