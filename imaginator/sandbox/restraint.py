"""Holds back a build that would slow down everybody: by starting processes, or by filling the cache of the disk.

Control groups share out processors and memory, but not what forks and writes cost all of the machine: a fork, also one
that is refused, takes locks that are the whole kernel's, and who writes faster than the disk makes everybody's writes
wait. So a build that grows by many processes at once, or beats against its limit of them, gets little time of the
processors for a moment; and one that has written much to its own disk writes past the cache from then on, at the disk's
own pace.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from imaginator.sandbox.kernel.loop import bypass_cache, device_of, forget_limits, written
from imaginator.sandbox.limits import ControlGroups

INTERVAL = 0.1
"""Seconds between two looks."""

MANY = 25 * (os.cpu_count() or 1)
"""Processes more, or refused, since the last look: a build may have as many jobs at a time as there are processors."""

CALM = 5
"""Looks at which it was quiet before a build is held back no more."""

MUCH = 1 << 29
"""Bytes written to a build's disk."""

_log = Logger()


class Restraint:
    """Watches one build, whose disk is the file ``image``, until it is stopped."""

    def __init__(self, clock: IReactorTime, groups: ControlGroups, image: Path) -> None:
        self._groups = groups
        self._image = image
        self._device = ""
        self._before = groups.forks()
        self._held = 0
        self._bypassing: Deferred[None] | None = None
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock
        self._loop.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Watch no more; it is held back no more, since ending takes time, too."""
        self._loop.stop()
        if self._held:
            self._groups.hold_back(False)
        if self._bypassing is not None:
            # Only when the thread is done with it, whose limits would outlive the build.
            self._bypassing.addCallback(lambda _: forget_limits(self._device))

    def _look(self) -> None:
        now = self._groups.forks()
        wild = max(now.running - self._before.running, now.refused - self._before.refused) > MANY
        held = CALM if wild else max(0, self._held - 1)
        if bool(held) != bool(self._held):
            self._groups.hold_back(bool(held))
        self._held, self._before = held, now
        if self._bypassing is None:
            self._look_at_disk()

    def _look_at_disk(self) -> None:
        self._device = self._device or device_of(self._image) or ""
        if self._device and written(self._device) > MUCH:
            self._bypassing = deferToThread(bypass_cache, self._device).addErrback(_cannot)


def _cannot(failure: object) -> None:
    """Some file systems have no such writes: they go on as before."""
    _log.debug("a build's disk keeps the cache: {failure}", failure=failure)
