"""The disk's reserve: while less than that is free, new builds wait, and what can be spared goes.

Builds that run go on. None is refused or fails for it: they start when there is room again.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from imaginator.model.durations import format_size

BETWEEN_RELIEFS = 60.0
"""Seconds until it is tried again to make room, where that did not help."""

Relief = Callable[[int], Awaitable[object]]
"""Makes room for some bytes, as far as it can."""

_log = Logger()


class Room(NamedTuple):
    """What is free on a disk, as ``df`` has it, and how large the disk is, in bytes."""

    free: int
    total: int


def room_on(place: Path) -> Room:
    """How much room there is on the file system of ``place``."""
    found = os.statvfs(place)
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


class Reserve:
    """The reserve on the disk of ``place``; ``wanted`` gives its bytes, of so many.

    ``reliefs`` are called when there is too little, one after the other until there is enough; ``go_on`` is called
    when builds waited for room, and there is some again.
    """

    def __init__(
        self, clock: IReactorTime, place: Path, wanted: Callable[[int], int], reliefs: Sequence[Relief]
    ) -> None:
        self._clock = clock
        self._place = place
        self._wanted = wanted
        self._reliefs = reliefs
        self._short = False
        self._waiting = False
        self._next_relief = 0.0
        self.go_on: Callable[[], None] = lambda: None

    def obstacle(self) -> str:
        """Why no new build may start now, in a sentence; empty where there is room."""
        room = room_on(self._place)
        wanted = self._wanted(room.total)
        short = room.free < wanted
        reason = f"{_part(room.free, room)} free on {self._place}, the reserve is {_part(wanted, room)}"
        if short != self._short:
            self._short = short
            self._next_relief = 0.0
            _log.warn("new builds {do}: {reason}", do="wait" if short else "go on", reason=reason)
        self._waiting = self._waiting or short
        return reason if short else ""

    async def look(self) -> None:
        """Make room where there is too little; let builds go on where there is enough again."""
        if self.obstacle() and self._clock.seconds() >= self._next_relief:
            await self._relieve()
            self._next_relief = self._clock.seconds() + BETWEEN_RELIEFS
        if self._waiting and not self.obstacle():
            self._waiting = False
            self.go_on()

    async def _relieve(self) -> None:
        for relief in self._reliefs:
            room = room_on(self._place)
            missing = self._wanted(room.total) - room.free
            if missing <= 0:
                return
            try:
                await relief(missing)
            except CancelledError:
                raise
            except Exception:  # a full disk may be why; the next one may help all the same
                _log.failure("making room on {place}", place=self._place)


def _part(count: int, room: Room) -> str:
    return f"{format_size(count)} ({100 * count / max(room.total, 1):.1f} %)"
