"""What the store holds, and what is free beside it, as time goes by: sampled into the catalogue, thinned with age.

Objects are counted by their directories: one that has not changed since it was counted is not read again. Of samples
those within the last two days are kept as they come, later one an hour, after two months one a day, for five years:
some four thousand rows at most.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

from imaginator.store.catalogue import Catalogue
from imaginator.store.workers import Workers

INTERVAL = 600.0
"""Seconds between two samples."""

_DAY = 86400.0
_TIERS = ((0.0, INTERVAL / 2), (2 * _DAY, 3600.0), (60 * _DAY, _DAY))
"""From which age on, in seconds, one sample is kept of how many seconds. Half an interval: timers are not exact."""

_LONGEST = 5 * 366 * _DAY
FRESH = 30.0
"""Seconds that a sample serves those who ask how it is now."""

DIRECTORIES = 8
"""Directories of objects that are looked at in one step, so that other work is not held up."""

_SETTLED = 2.0
"""Seconds after which a directory's time tells of every change: the kernel's clock for files has coarse ticks."""


class Usage(NamedTuple):
    """One sample: when, how many images and objects, the bytes of these, and of the disk: free ones, and all."""

    at: datetime
    images: int
    objects: int
    object_bytes: int
    free: int
    size: int


class Counted(NamedTuple):
    """Objects of a directory, as they were when it had this time; 0 where that may still stay the same."""

    changed: int
    objects: int
    size: int


class StoreUsage:
    """Samples the store whose ``objects`` lie in a directory; ``latest`` is the last one taken, if any."""

    def __init__(self, catalogue: Catalogue, objects: Path, workers: Workers, now: Callable[[], datetime]) -> None:
        self._catalogue = catalogue
        self._objects = objects
        self._workers = workers
        self._now = now
        self._known: dict[str, Counted] = {}
        self.latest: Usage | None = None

    async def sample(self) -> None:
        """Take a sample, and keep it."""
        await self.keep(await self._measured())

    async def current(self) -> Usage:
        """How it is now, give or take `FRESH` seconds."""
        latest = self.latest
        if latest is None or not timedelta() <= self._now() - latest.at < timedelta(seconds=FRESH):
            latest = await self._measured()
        return latest

    async def _measured(self) -> Usage:
        at = self._now()
        objects, size = await self._count()
        images = await self._catalogue.read(partial(_images, now=at.timestamp()))
        disk = os.statvfs(self._objects)
        sample = Usage(at, images, objects, size, disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
        self.latest = sample
        return sample

    async def keep(self, sample: Usage) -> None:
        """Write a sample down, and forget those that are too many by its time."""
        await self._catalogue.write(partial(_keep, sample=sample))

    async def since(self, moment: datetime) -> Sequence[Usage]:
        """The samples from a moment on, oldest first."""
        return await self._catalogue.read(partial(_since, moment=moment.timestamp()))

    async def _count(self) -> tuple[int, int]:
        """How many objects there are, and their bytes."""
        counted: list[Counted] = []
        for start in range(0, 256, DIRECTORIES):
            counted += await self._workers.run(self._count_some, range(start, start + DIRECTORIES))
        return sum(one.objects for one in counted), sum(one.size for one in counted)

    def _count_some(self, places: Iterable[int]) -> list[Counted]:
        return [self._count_in(f"{place:02x}") for place in places]

    def _count_in(self, name: str) -> Counted:
        try:
            changed = os.stat(self._objects / name).st_mtime_ns
        except FileNotFoundError:
            return Counted(0, 0, 0)
        known = self._known.get(name)
        if known is not None and known.changed == changed:
            return known
        settled = abs(time.time() - changed / 1e9) > _SETTLED
        sizes = _sizes(self._objects / name)
        self._known[name] = counted = Counted(changed if settled else 0, len(sizes), sum(sizes))
        return counted


def _sizes(directory: Path) -> list[int]:
    found = []
    with os.scandir(directory) as files:
        for file in files:
            try:
                found.append(file.stat(follow_symlinks=False).st_size)
            except FileNotFoundError:
                continue  # collected meanwhile
    return found


def _images(connection: sqlite3.Connection, now: float) -> int:
    query = "SELECT count(*) FROM images WHERE gone_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"
    (count,) = connection.execute(query, (now,)).fetchone()
    return int(count)


def _keep(connection: sqlite3.Connection, sample: Usage) -> None:
    now = sample.at.timestamp()
    connection.execute("INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?, ?)", (now, *sample[1:]))
    connection.execute("DELETE FROM usage WHERE at < ?", (now - _LONGEST,))
    for age, seconds in _TIERS:
        first = "SELECT min(at) FROM usage GROUP BY CAST(at / ? AS INTEGER)"
        connection.execute(f"DELETE FROM usage WHERE at <= ? AND at NOT IN ({first})", (now - age, seconds))


def _since(connection: sqlite3.Connection, moment: float) -> Sequence[Usage]:
    rows = connection.execute("SELECT * FROM usage WHERE at >= ? ORDER BY at", (moment,))
    return [Usage(datetime.fromtimestamp(at, UTC), *numbers) for at, *numbers in rows]
