"""The files of TLS over time: read when they change, and told of before what is in them ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from imaginator.model.errors import ConfigurationError
from imaginator.model.expiry import TlsState
from imaginator.service.credentials import AbsentFile, Files
from imaginator.service.listener import Listener, Secured, secured
from imaginator.store.workers import Workers

_log = Logger()


class Renewal:
    """Keeps the TLS of listeners as the files are.

    Files that are no good change nothing, which the state tells and ``refusals`` counts; absent ones close TLS, and
    ``closed`` is told why.
    """

    def __init__(
        self,
        files: Files,
        listeners: Sequence[Listener],
        workers: Workers,
        now: Callable[[], datetime],
        closed: Callable[[str], None],
    ) -> None:
        self._files = files
        self._listeners = listeners
        self._workers = workers
        self._now = now
        self._closed = closed
        self._versions = files.versions()
        self._reading = DeferredLock()
        self.state = TlsState()
        self.refusals = 0

    def begin(self) -> None:
        """Read the files before anything is served; raises `ConfigurationError` for those that are no good."""
        try:
            self._use(secured(self._files))
        except AbsentFile as absent:
            self._close(absent)

    async def look(self) -> None:
        """Read the files if they have changed since they were read."""
        if self._files.versions() != self._versions:
            await self.read()

    async def read(self) -> None:
        """Read the files again."""
        await self._reading.run(lambda: Deferred.fromCoroutine(self._read()))

    async def tell(self) -> None:
        """Log what somebody has to look after."""
        for concern in self.state.concerns(self._now()):
            _log.warn("certificates: {concern}", concern=concern)

    async def _read(self) -> None:
        self._versions = self._files.versions()
        try:
            self._use(await self._workers.run(secured, self._files))
        except AbsentFile as absent:
            self._close(absent)
        except ConfigurationError as error:
            self.state = self.state._replace(problem=str(error))
            self.refusals += 1
            _log.error("the certificates read before stay in force: {error}", error=str(error))
        else:
            _log.info("the certificates that were read are in force")
            await self.tell()

    def _use(self, secured: Secured) -> None:
        self._secure(secured)
        credentials = secured.credentials
        self.state = TlsState(warnings=tuple(credentials.warnings()), expiries=tuple(credentials.expiries()))
        self._closed("")

    def _secure(self, secured: Secured | None) -> None:
        for listener in self._listeners:
            listener.secure(secured)

    def _close(self, absent: AbsentFile) -> None:
        self._secure(None)
        self.state = TlsState()
        self._closed(str(absent))
        _log.warn("RPC is closed: {reason}", reason=str(absent))
