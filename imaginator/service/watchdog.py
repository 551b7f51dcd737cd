"""Tells systemd that the reactor turns, as often as the unit's ``WatchdogSec`` wants it (sd_watchdog_enabled(3))."""

from __future__ import annotations

import os

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from imaginator.service.notify import notify


def interval() -> float:
    """Seconds between two words to systemd, half of what it waits for; 0 where it does not wait for this process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6


class Watchdog(Service):
    """Tells from its start to its end. A disk that is full is no reason to be silent: a restart would not help."""

    def __init__(self, clock: IReactorTime) -> None:
        self._telling = LoopingCall(notify, "WATCHDOG=1")
        self._telling.clock = clock

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Begin, if systemd waits."""
        super().startService()
        if seconds := interval():
            self._telling.start(seconds)

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """End."""
        super().stopService()
        if self._telling.running:
            self._telling.stop()
