"""The side that is called: the door, by whose path the coder and TLS are chosen, and what goes on behind it.

Calls follow one another on a connection. An answering method takes one value and gives one, or words for why not; a
speaking one has the conversation to itself, and its failure ends that, since nobody could tell where it stands.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from typing import Protocol as Interface

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from imaginator.srpc.call import Call
from imaginator.srpc.coders import Coder
from imaginator.srpc.conversation import Conversation, Run
from imaginator.srpc.definitions import Registry
from imaginator.srpc.errors import Broken, Refused
from imaginator.srpc.kinds import Message
from imaginator.srpc.reading import Limits

GOB_PATH, TLS_GOB_PATH = b"/_goSRPC_/", b"/_go_TLS_SRPC_/"
JSON_PATH, TLS_JSON_PATH = b"/_SRPC_/unsecured/JSON", b"/_SRPC_/TLS/JSON"

IDLE = 3600.0
"""Seconds that a connection may be kept without a call."""

BEGINNING = 30.0
"""Seconds until a door must have been opened, and until the first call behind it, which includes TLS."""

_LONGEST_REQUEST = 4096
_CONNECTED = b"HTTP/1.0 200 Connected to Go SRPC\n\n"
_NOT_FOUND = b"HTTP/1.0 404 Not Found\r\n\r\n"
_NEEDS_TLS = b"HTTP/1.0 405 Method Not Allowed\r\n\r\n"
_BAD = b"HTTP/1.0 400 Bad Request\r\n\r\n"

_log = Logger()

Open = Callable[[IAddress], IProtocol | None]
"""Makes what goes on behind a door, by the peer's address; None where nothing does."""


class Door(Protocol):
    """Reads what a connection begins with, ``CONNECT PATH HTTP/1.0``, and opens.

    ``paths`` has None for those that only TLS leads on.
    """

    transport: ITCPTransport

    def __init__(self, paths: Mapping[bytes, Open | None], clock: IReactorTime) -> None:
        self._paths = paths
        self._clock = clock
        self._read = b""
        self._inner: IProtocol | None = None
        self._late: IDelayedCall | None = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to wait."""
        self._late = self._clock.callLater(BEGINNING, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Read on, or pass it on."""
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._read += data
        ends = [self._read.find(end) + len(end) for end in (b"\n\n", b"\n\r\n") if end in self._read]
        if ends:
            self._open(self._read[: min(ends)], self._read[min(ends) :])
        elif len(self._read) > _LONGEST_REQUEST:
            self._refuse(_BAD)

    def _open(self, request: bytes, rest: bytes) -> None:
        self._stop_waiting()
        words = request.split()
        if len(words) < 3 or words[0] != b"CONNECT":
            self._refuse(_BAD)
        elif words[1] not in self._paths:
            self._refuse(_NOT_FOUND)
        elif (way := self._paths[words[1]]) is None or (inner := way(self.transport.getPeer())) is None:
            self._refuse(_NEEDS_TLS)
        else:
            self._read = b""
            self.transport.write(_CONNECTED)
            self._inner = inner
            inner.makeConnection(self.transport)
            if rest:
                inner.dataReceived(rest)

    def _refuse(self, answer: bytes) -> None:
        self._read = b""
        self.transport.write(answer)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """Tell whoever is behind."""
        self._stop_waiting()
        if self._inner is not None:
            self._inner.connectionLost(reason)

    def _stop_waiting(self) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()


SHORT = Limits(message=1 << 20, value=1 << 20, elements=100_000)
"""What nearly all requests keep within by far."""

HASHES = Limits(message=32 << 20, value=32 << 20)
"""The same for requests that name objects."""


class Answering(NamedTuple):
    """A method that makes a value of one of ``request``; it may raise `Refused`.

    ``answer`` gets the caller and the request; a ``large`` answer is made bytes of in another thread.
    """

    request: type[Message]
    answer: Callable[[Any, Any], Awaitable[Message]]
    large: bool = False
    limits: Limits = SHORT


class Speaking(NamedTuple):
    """A method that says and hears what it likes."""

    speak: Callable[[Call], Awaitable[None]]
    limits: Limits = SHORT


Methods = Mapping[str, Answering | Speaking]


class Turns(Interface):
    """Hears whose turn it is on the connection with a peer (see `imaginator.web.crowd.Crowd`)."""

    def busy(self, peer: IAddress) -> None:
        """Something is done for the peer."""

    def waited_for(self, peer: IAddress) -> None:
        """It is the peer's turn."""


class Serving(NamedTuple):
    """What connections share. ``admit`` gives who calls a method, by its name and transport; it may raise `Refused`."""

    clock: IReactorTime
    run: Run
    methods: Methods
    admit: Callable[[str, Any], Any]
    turns: Turns
    translate: Callable[[Exception, str], str]
    """The words for a failure of a method."""


class Calls(Factory):
    """Makes the connections behind doors, of one coder."""

    noisy = False

    def __init__(self, serving: Serving, coder: Coder) -> None:
        self._serving = serving
        self._coder = coder

    def buildProtocol(self, addr: IAddress | None) -> Called:  # noqa: N802 - Twisted's name
        """A connection."""
        assert addr is not None
        return Called(self._serving, self._coder, addr)


class Called(Conversation):
    """One connection, whose calls are answered one after the other."""

    def __init__(self, serving: Serving, coder: Coder, peer: IAddress) -> None:
        super().__init__(serving.clock, serving.run)
        self._serving = serving
        self._coder = coder
        self._peer = peer
        self._registry = Registry()
        self._working: Deferred[None] | None = None

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to answer."""
        super().connectionMade()
        self._working = Deferred.fromCoroutine(self._serve())

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """End what is done for the peer."""
        super().connectionLost(reason)
        if self._working is not None:
            self._working.cancel()

    async def _serve(self) -> None:
        patience = BEGINNING
        try:
            while not self.is_over:
                self._serving.turns.waited_for(self._peer)
                name = await self.line(patience)
                self._serving.turns.busy(self._peer)
                await self._called(name.strip())
                patience = IDLE
        except (Broken, CancelledError):
            pass
        finally:
            self.close()

    async def _called(self, name: str) -> None:
        if not name:  # a ping
            return await self.say(b"\n")
        try:
            method = self._method(name)
            caller = self._serving.admit(name, self.transport)
        except Refused as refused:
            return await self.say(_line(str(refused)))
        await self.say(b"\n")
        call = Call(self, self._coder, self._registry, self._serving.run, caller, method.limits)
        try:
            await (method.speak(call) if isinstance(method, Speaking) else self._answered(method, call, name))
        except (Broken, CancelledError):
            raise
        except Exception as error:
            self.cut(self._serving.translate(error, name))

    def _method(self, name: str) -> Answering | Speaking:
        service, dot, method = name.partition(".")
        if not dot or "." in method:
            raise Refused(f"malformed Service.Method: {name}")
        if not any(known.startswith(f"{service}.") for known in self._serving.methods):
            raise Refused(f"unknown service: {service}")
        if name not in self._serving.methods:
            raise Refused(f"{service}: unknown method: {method}")
        return self._serving.methods[name]

    async def _answered(self, method: Answering, call: Call, name: str) -> None:
        request = await call.receive(method.request)
        try:
            answer = await method.answer(call.caller, request)
        except (Broken, CancelledError):
            raise
        except Exception as error:
            words = str(error) if isinstance(error, Refused) else self._serving.translate(error, name)
            await self.say(_line(words))
            return
        await call.accept()
        await call.send(answer, large=method.large)


def _line(words: str) -> bytes:
    """Words as one line, which is not empty: that would mean that all is well."""
    return (" ".join(words.split()) or "refused").encode() + b"\n"
