"""Watches how late the reactor is, which tells of work that keeps it from its turns."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

BETWEEN = 0.5
"""Seconds between two timers."""


class Lateness(Service):
    """Sets timers one after the other; ``tell`` hears by how many seconds each was late."""

    def __init__(self, clock: IReactorTime, tell: Callable[[float], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._due = 0.0
        self._timer: IDelayedCall | None = None

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Set the first."""
        super().startService()
        self._set()

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Set no more."""
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _set(self) -> None:
        self._due = self._clock.seconds() + BETWEEN
        self._timer = self._clock.callLater(BETWEEN, self._ring)

    def _ring(self) -> None:
        self._tell(max(self._clock.seconds() - self._due, 0.0))
        self._set()
