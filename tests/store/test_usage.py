"""What the store held over time."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from pytest_twisted import ensureDeferred

from imaginator.store.usage import FRESH, StoreUsage, Usage
from tests.support.store_parts import START, StoreParts, running_store


def usage_of(parts: StoreParts) -> StoreUsage:
    """The samples of a store."""
    return StoreUsage(parts.catalogue, parts.objects.directory, parts.workers, lambda: parts.now)


async def objects_of(usage: StoreUsage) -> int:
    """How many objects a sample finds."""
    await usage.sample()
    assert usage.latest
    return usage.latest.objects


@ensureDeferred
async def test_a_sample(tmp_path: Path) -> None:
    """It tells of objects and the disk, and the next daemon knows it."""
    async with running_store(tmp_path) as parts:
        parts.put(b"12345")
        parts.put(b"678")
        usage = usage_of(parts)
        await usage.sample()
    async with running_store(tmp_path) as parts:
        (sample,) = await usage_of(parts).since(START)

    assert sample == usage.latest
    assert (START, 0, 2, 8) == sample[:4]
    assert 0 < sample.free < sample.size


@ensureDeferred
async def test_now(tmp_path: Path) -> None:
    """How it is now is measured where the last sample is old, and not kept."""
    async with running_store(tmp_path) as parts:
        usage = usage_of(parts)
        first = await usage.current()
        parts.put(b"x")
        assert first == await usage.current()
        parts.later(seconds=FRESH)
        later = await usage.current()

        assert (0, 1) == (first.objects, later.objects)
        assert [] == await usage.since(START)


@ensureDeferred
async def test_objects_come_and_go(tmp_path: Path) -> None:
    """Each sample has those that are there, be they in directories old or new; what is not changed is not read."""
    found = []
    async with running_store(tmp_path) as parts:
        usage = usage_of(parts)
        for count in range(40):
            parts.put(b"%d" % count)
            found.append(await objects_of(usage))
        for directory in parts.objects.directory.iterdir():
            os.utime(directory, (1, 1))
        await usage.sample()  # from now on their times tell
        inode = parts.put(b"more")
        path = parts.objects.path(inode.object)
        more = await objects_of(usage)
        os.utime(path.parent, (2, 2))
        path.unlink()
        fewer = await objects_of(usage)

    assert list(range(1, 41)) == found
    assert (41, 40) == (more, fewer)


@ensureDeferred
async def test_samples_are_thinned(tmp_path: Path) -> None:
    """A year of samples is all of the last two days, one an hour of two months, one a day of the rest."""
    async with running_store(tmp_path) as parts:
        usage = usage_of(parts)
        for count, step in ((300, {"days": 1}), (24 * 80, {"hours": 1}), (3 * 144, {"minutes": 10})):
            for _ in range(count):
                await usage.keep(Usage(parts.now, 1, 2, 3, 4, 5))
                parts.later(**step)
        samples = await usage.since(START)
        ages = [parts.now - sample.at for sample in samples]

    assert 2 * 144 <= sum(age <= timedelta(days=2) for age in ages) <= 2 * 144 + 1
    assert 58 * 24 <= sum(timedelta(days=2) < age <= timedelta(days=60) for age in ages) <= 58 * 24 + 2
    assert 320 <= sum(age > timedelta(days=60) for age in ages) <= 326
    assert START == samples[0].at


@ensureDeferred
async def test_many_at_once(tmp_path: Path) -> None:
    """A daemon that starts again and again leaves no more than others."""
    async with running_store(tmp_path) as parts:
        usage = usage_of(parts)
        for _ in range(100):
            await usage.keep(Usage(parts.now, 1, 2, 3, 4, 5))
            parts.later(seconds=3)
        samples = await usage.since(START)

    assert len(samples) <= 2
