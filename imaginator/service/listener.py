"""The one port, open: plain HTTP and TLS for one site, with the certificates that are in force."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from twisted.application.service import Service
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTCP, IReactorTime
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.server import Site

from imaginator.model.errors import ConfigurationError
from imaginator.service.notify import notify
from imaginator.service.port import OnePort
from imaginator.service.tls import AbsentFile, server_context

ALL_ADDRESSES = "::"
"""IPv6's any address, which takes IPv4 connections as well."""

_log = Logger()


class Certificates(NamedTuple):
    """The PEM files of TLS."""

    authority: Path
    certificate: Path
    key: Path

    def versions(self) -> tuple[tuple[int, int] | None, ...]:
        """What changes when a file does: its inode number and mtime, None where it is absent."""
        stats = [path.stat() if path.exists() else None for path in self]
        return tuple(stat and (stat.st_ino, stat.st_mtime_ns) for stat in stats)


class Listener(Service):
    """Listens from its start on; starting it raises `ConfigurationError` for a port that is taken."""

    def __init__(self, reactor: IReactorTCP, clock: IReactorTime, address: str, port: int, site: Site) -> None:
        self._reactor = reactor
        self._clock = clock
        self._address = address
        self._port = port
        self._site = site
        self._secure: TLSMemoryBIOFactory | None = None
        self._listening: IListeningPort | None = None

    def secure(self, certificates: Certificates) -> None:
        """Serve TLS with these files from now on.

        Raises `AbsentFile`, and serves TLS no more; `ConfigurationError` for files that are no good, and then nothing
        has changed.
        """
        try:
            context = server_context(*certificates)
        except AbsentFile:
            self._secure = None
            raise
        self._secure = TLSMemoryBIOFactory(context, isClient=False, wrappedFactory=self._site)

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Open the port, and say where."""
        super().startService()
        factory = OnePort(self._choose, self._clock)
        try:
            listening = self._reactor.listenTCP(self._port, factory, interface=self._address or ALL_ADDRESSES)
        except error.CannotListenError as failure:
            raise ConfigurationError(f"port {self._port}", f"cannot listen: {failure.socketError}") from None
        self._listening = listening
        self._site.startFactory()
        address = listening.getHost()
        assert isinstance(address, IPv4Address | IPv6Address)
        _log.info("listening on port {port}", port=address.port)
        notify("READY=1")

    async def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Close the port."""
        super().stopService()
        notify("STOPPING=1")
        listening, self._listening = self._listening, None
        if listening is not None:
            await maybeDeferred(listening.stopListening)
            self._site.stopFactory()

    def _choose(self, secure: bool) -> IProtocolFactory:
        # Without certificates a TLS client meets plain HTTP, and tells so; there is nothing to shake hands with.
        return self._secure if secure and self._secure is not None else self._site
