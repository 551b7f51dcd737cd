"""Work that is done again and again: never twice at once, an error is logged and does not end it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

_log = Logger()


class Periodic(Service):
    """Does ``work`` every ``interval`` seconds, the first time at once; stopping it cancels what is under way."""

    def __init__(self, clock: IReactorTime, name: str, interval: float, work: Callable[[], Awaitable[None]]) -> None:
        self._name = name
        self._interval = interval
        self._work = work
        self._loop = LoopingCall(self._turn)
        self._loop.clock = clock
        self._busy: Deferred[None] | None = None

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Begin."""
        super().startService()
        self._loop.start(self._interval)

    async def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """End what is under way, and do it no more."""
        super().stopService()
        busy = self._busy
        self._loop.stop()
        if busy is not None:
            busy.cancel()
            await busy

    def _turn(self) -> Deferred[None]:
        self._busy = Deferred.fromCoroutine(self._once())
        return self._busy

    async def _once(self) -> None:
        try:
            await self._work()
        except CancelledError:
            pass
        except Exception:
            _log.failure("{name} failed", name=self._name)
        finally:
            self._busy = None
