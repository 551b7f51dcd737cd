"""A port, open: plain HTTP and TLS for one site, and SRPC, with the certificates that are in force."""

from __future__ import annotations

from typing import NamedTuple

from twisted.application.service import Service
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorSocket, IReactorTCP, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port
from twisted.logger import Logger

from imaginator.model.clock import wall_time
from imaginator.model.errors import ConfigurationError, NotAuthenticated
from imaginator.service.credentials import Credentials, Files, read_credentials
from imaginator.service.inherited import inherited_socket
from imaginator.service.notify import notify
from imaginator.service.port import BACKLOG, OnePort, Speech, give_up_the_stalled
from imaginator.service.refusals import Refusals
from imaginator.service.tls import ServerSide
from imaginator.service.trust import Chain, Trust, TrustingFactory
from imaginator.srpc.coders import GOB, JSON
from imaginator.srpc.server import (
    GOB_PATH,
    JSON_PATH,
    TLS_GOB_PATH,
    TLS_JSON_PATH,
    Calls,
    Door,
    Open,
    Serving,
)
from imaginator.web.site import BoundedSite

ALL_ADDRESSES = "::"
"""IPv6's any address, which takes IPv4 connections as well."""

_log = Logger()


class Place(NamedTuple):
    """Where to listen, and what the log calls that. ``plaintext`` lets in calls without TLS."""

    address: str
    port: int
    what: str = "listening"
    plaintext: bool = False
    may_be_inherited: bool = True
    """Whether the socket is systemd's, where it gives one."""


class Secured(NamedTuple):
    """What files of TLS are good for: new connections, and requests on open ones."""

    credentials: Credentials
    server: ServerSide
    trust: Trust


def secured(files: Files) -> Secured:
    """Read the files, and be ready to serve with them; raises `AbsentFile` or `ConfigurationError`."""
    credentials = read_credentials(files)
    return Secured(credentials, ServerSide(credentials), Trust(credentials))


class Listener(Service):
    """Listens from its start on, at ``place``.

    Starting it raises `ConfigurationError` for a port that is taken, or a socket of systemd that is none of ours.
    ``refusals`` tells of handshakes that are refused. ``calls`` is what is served over SRPC.
    """

    def __init__(
        self, reactor: IReactorTCP, clock: IReactorTime, place: Place, site: BoundedSite, calls: Serving | None = None
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._place = place
        self._site = site
        self._calls = calls
        self.refusals = Refusals(clock)
        self._trust: Trust | None = None
        self._listening: IListeningPort | None = None
        self.secure(None)

    def secure(self, secured: Secured | None) -> None:
        """Serve TLS with these from now on, or no TLS; connections that are open stay so."""
        self._trust = secured and secured.trust
        self._secure = self._trusting(secured, self._site)
        self._door = None if self._calls is None else self._doors(secured, self._calls)

    def _trusting(self, secured: Secured | None, inner: IProtocolFactory) -> TrustingFactory | None:
        return secured and TrustingFactory(secured.server, inner, self._check, self.refusals)

    def _doors(self, secured: Secured | None, calls: Serving) -> Factory[Door]:
        """What leads to calls; without TLS only where that is let in."""
        paths: dict[bytes, Open | None] = {}
        for coder, tls, plain in ((GOB, TLS_GOB_PATH, GOB_PATH), (JSON, TLS_JSON_PATH, JSON_PATH)):
            inner = Calls(calls, coder)
            paths[plain] = inner.buildProtocol if self._place.plaintext else None
            if (trusting := self._trusting(secured, inner)) is not None:
                paths[tls] = trusting.buildProtocol
        door: Factory[Door] = Factory.forProtocol(lambda: Door(paths, self._clock))
        door.noisy = False
        return door

    def _check(self, chain: Chain) -> None:
        if self._trust is None:
            raise NotAuthenticated("HTTPS is closed: the status page says why")
        self._trust.check(chain, wall_time(self._clock))

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Open the port, and say where."""
        super().startService()
        factory = OnePort(self._choose, self._clock, self._site.crowd)
        self._listening = listening = self._open(factory)
        assert isinstance(listening, Port)
        give_up_the_stalled(listening.socket)
        self._site.startFactory()
        address = listening.getHost()
        assert isinstance(address, IPv4Address | IPv6Address)
        _log.info("{what} on port {port}", what=self._place.what, port=address.port)

    def _open(self, factory: OnePort) -> IListeningPort:
        """The port of systemd's socket, which outlives this process, else one of our own."""
        inherited = inherited_socket() if self._place.may_be_inherited else None
        if inherited is not None:
            with inherited:
                adopting = IReactorSocket(self._reactor)
                return adopting.adoptStreamPort(inherited.fileno(), inherited.family, factory)
        try:
            return self._reactor.listenTCP(self._place.port, factory, BACKLOG, self._place.address or ALL_ADDRESSES)
        except error.CannotListenError as failure:
            raise ConfigurationError(f"port {self._place.port}", f"cannot listen: {failure.socketError}") from None

    async def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Close the port."""
        super().stopService()
        notify("STOPPING=1")
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
            self._site.stopFactory()
        self.refusals.stop()

    def _choose(self, speech: Speech) -> IProtocolFactory | None:
        return {Speech.TLS: self._secure, Speech.SRPC: self._door, Speech.HTTP: self._site}[speech]
