"""The daemon's life: what must be there first, then what is read, then what serves; and its end."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.logger import ILogObserver, Logger

from imaginator.model.errors import ImaginatorError
from imaginator.service.log import Redact
from imaginator.service.notify import notify

UMASK = 0o022
GARBAGE_THRESHOLDS = (700, 10, 1_000)
"""Python's own for the young generations, whose collections are short, and a hundred times its own for the old one."""
Work = Callable[[], Coroutine[Deferred[Any], Any, None]]

_log = Logger()


def forget_garbage() -> None:
    """Keep what is there now out of all later garbage collections, and make full ones rare.

    Each takes 30 to 50 ms of the reactor's time, and packing a large tree would set off several; the collections of
    young objects, where cycles arise, go on. A start leaves no garbage that would be worth one.
    """
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def take_all_descriptors() -> None:
    """Raise this process' limit of descriptors to the highest that it may have."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))


class Reactor(IReactorCore, IReactorFromThreads):
    """What a daemon needs of a reactor."""


class Daemon(MultiService):
    """Starts ``foundation``, awaits ``load``, starts ``serving``, and tells its starter that it is ready.

    A failure of any ends the process with 1. ``reload`` is called at SIGHUP. ``observer`` becomes the log of the
    application that this service is added to; ``redact`` takes secrets out of what is told to whoever started the
    daemon.
    """

    def __init__(self, reactor: Reactor, observer: ILogObserver, redact: Redact, *, load: Work, reload: Work) -> None:
        super().__init__()
        self._reactor = reactor
        self._observer = observer
        self._redact = redact
        self._load = load
        self._reload = reload
        self.foundation = MultiService()
        self.serving = MultiService()
        self._starting: Deferred[None] | None = None

    def setServiceParent(self, parent: Any) -> None:  # noqa: N802 - Twisted's name
        """Join an application, whose log is ours from now on."""
        parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to start."""
        super().startService()
        os.umask(UMASK)
        signal.signal(signal.SIGHUP, self._hang_up)
        self._starting = Deferred.fromCoroutine(self._start())

    async def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Stop serving first; the foundation, which everything stands on, goes last."""
        if self._starting is not None:
            self._starting.cancel()
        await self._stop(self.serving)
        await self._stop(self.foundation)
        await super().stopService()

    async def _stop(self, service: IService) -> None:
        if service.running:
            await service.disownServiceParent()

    async def _start(self) -> None:
        try:
            self.foundation.setServiceParent(self)
            await self._load()
            forget_garbage()
            self.serving.setServiceParent(self)
            notify("READY=1")
        except CancelledError:
            pass
        except ImaginatorError as error:
            self._give_up(str(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            self._give_up(f"cannot start: {where}{error.strerror or error}")
        except Exception as error:
            _log.failure("cannot start")
            self._give_up(f"cannot start: {error!r}")

    def _give_up(self, sentence: str) -> None:
        _log.critical("{sentence}", sentence=sentence)
        sys.__stderr__.write(f"imaginator: {self._redact(sentence)}\n")  # type: ignore[union-attr]
        # twistd ends with status 0 whatever happened; there is no other way to tell its caller.
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.callFromThread(self._reactor.stop)

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(lambda: Deferred.fromCoroutine(self._read_again()))

    async def _read_again(self) -> None:
        try:
            await self._reload()
        except ImaginatorError as error:
            _log.error("reload: {error}", error=str(error))
        except Exception:
            _log.failure("reload")
