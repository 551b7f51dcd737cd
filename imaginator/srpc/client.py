"""The side that calls: connections to one server, opened when they are needed and kept while they are good.

What is asked is asked again when the connection breaks, at growing intervals, until `PERSISTENCE` is over; so whatever
is called here must do no harm when it is done twice. Several calls at a time have a connection each.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from imaginator.srpc.call import Call
from imaginator.srpc.coders import GOB
from imaginator.srpc.conversation import Conversation, Run
from imaginator.srpc.definitions import Registry
from imaginator.srpc.errors import Broken, Refused, Unwelcome
from imaginator.srpc.kinds import Message
from imaginator.srpc.server import GOB_PATH, TLS_GOB_PATH

PERSISTENCE = 90.0
"""Seconds for which a server may be away, such as for a restart, before what is asked of it fails."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
_CONNECT_SECONDS = 20
_KEPT = 4
"""Connections that are kept open without a call."""

_STATUS = {
    "401": "it does not accept the certificate",
    "404": "it does not speak SRPC there",
    "405": "it wants TLS with a client certificate",
}

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_log = Logger()


class Server(NamedTuple):
    """Where a server is; ``tls`` gives what connections are secured with, None for none."""

    host: str
    port: int
    tls: Callable[[], IOpenSSLClientConnectionCreator] | None

    def __str__(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}"


@implementer(IHandshakeListener)
class Line(Conversation):
    """A connection to a server."""

    def __init__(self, clock: Any, run: Run) -> None:
        super().__init__(clock, run)
        self.registry = Registry()
        self._secured: Deferred[None] = Deferred()
        self._unwelcome = ""

    def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
        """Both know who the other is."""
        self._secured.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """End all waiting, for the handshake as well; what TLS has to say is final."""
        if isinstance(failure := reason.value, SSL.Error) and failure.args:
            self._unwelcome = ", ".join(str(part[-1]) for part in failure.args[0])
        super().connectionLost(reason)
        if not self._secured.called:
            self._secured.callback(None)

    async def begin(self, tls: IOpenSSLClientConnectionCreator | None) -> None:
        """Be let in; raises `Unwelcome` where the server will not have us, `Broken` where another try may do."""
        try:
            await self._begin(tls)
        except Broken as broken:
            self.cut(str(broken))
            if self._unwelcome:
                raise Unwelcome(f"no TLS: {self._unwelcome}") from None
            raise

    async def _begin(self, tls: IOpenSSLClientConnectionCreator | None) -> None:
        self.transport.setTcpKeepAlive(True)
        self.transport.setTcpNoDelay(True)  # else each small message waits until the one before it is acknowledged
        path = (TLS_GOB_PATH if tls else GOB_PATH).decode()
        await self.say(f"CONNECT {path} HTTP/1.0\n\n".encode())
        status = await self.line()
        while await self.line():
            pass
        code = status.split()[1] if len(status.split()) > 1 else ""
        if not status.startswith("HTTP/") or code != "200":
            raise Unwelcome(_STATUS.get(code, f"it answers {status!r}"))
        if tls is not None:
            self.transport.startTLS(tls)  # type: ignore[attr-defined]  # those of TCP have it
            await self._within(lambda: self._secured, "the TLS handshake")
            # With TLS 1.3 the server looks at our certificate when we think that all is done: its answer tells.
            await self.say(b"\n")
            await self.line()

    @asynccontextmanager
    async def call(self, method: str) -> AsyncIterator[Call]:
        """A call of a method that the server lets us call; raises `Refused` where it does not."""
        await self.say(f"{method}\n".encode())
        call = Call(self, GOB, self.registry, self._run)
        await call.accepted()
        yield call


class Client:
    """Asks one server."""

    def __init__(self, reactor: Any, run: Run, server: Server, persistence: float = PERSISTENCE) -> None:
        self._reactor = reactor
        self._run = run
        self.server = server
        self._persistence = persistence
        self._idle: list[Line] = []

    async def ask(self, method: str, request: Message, response: type[M], *, large: bool = False) -> M:
        """The answer to a request; raises `Refused` with the server's words, `Broken` where it stays away."""

        async def talk(call: Call) -> M:
            await call.send(request, large=large)
            await call.accepted()
            return await call.receive(response)

        return await self.speak(method, talk)

    async def speak(self, method: str, talk: Callable[[Call], Awaitable[T]]) -> T:
        """What comes of a conversation that a method begins; it begins anew when the connection breaks."""
        pause, away = _FIRST_PAUSE, 0.0
        while True:
            began = self._reactor.seconds()
            try:
                async with self._line() as line, line.call(method) as call:
                    began = math.inf  # what the server talks is no time of absence
                    return await talk(call)
            except Broken as broken:
                away += max(self._reactor.seconds() - began, 0) + pause
                if isinstance(broken, Unwelcome) or away > self._persistence:
                    raise type(broken)(f"{method}: {broken}") from None
                _log.warn("image server {server}: {method}: {why}", server=self.server, method=method, why=str(broken))
            await deferLater(self._reactor, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Close what is open without a call."""
        while self._idle:
            self._idle.pop().close()

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[Line]:
        """A connection, which is kept afterwards if what was said on it was said to the end."""
        self._idle = [line for line in self._idle if not line.is_over]
        line = self._idle.pop() if self._idle else await self._opened()
        try:
            yield line
        except Refused:
            self._keep(line)
            raise
        except BaseException:
            line.cut("given up")
            raise
        self._keep(line)

    def _keep(self, line: Line) -> None:
        if len(self._idle) < _KEPT and not line.is_over:
            self._idle.append(line)
        else:
            line.close()

    async def _opened(self) -> Line:
        tls = self.server.tls() if self.server.tls else None
        endpoint = HostnameEndpoint(self._reactor, self.server.host, self.server.port, timeout=_CONNECT_SECONDS)
        factory = Factory.forProtocol(lambda: Line(self._reactor, self._run))
        factory.noisy = False
        try:
            line: Line = await endpoint.connect(factory)  # type: ignore[assignment]
        except (ConnectError, DNSLookupError, OSError) as error:
            raise Broken(str(error)) from None
        try:
            await line.begin(tls)
        except CancelledError:
            line.cut("given up")
            raise
        return line
