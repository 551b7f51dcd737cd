"""Automatic rebuilds: sources first, and the latest image lives on where its successor fails."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from imaginator.model.errors import BuildFailed
from imaginator.schedule.autobuild import AutoBuild
from imaginator.store.interface import Wanted
from tests.support.building import HOUR, Building, add_image, building


async def cycle(system: Building, *bootstraps: str) -> Deferred[None]:
    """Begin one cycle of an hourly rebuild of these and of ``web``."""
    system.files.write_main(dict.fromkeys(bootstraps, "deb"), {"deb": {}}, ImageStreamsToAutoRebuild=["web"])
    await system.configuration.reload()
    return Deferred.fromCoroutine(AutoBuild(system.builder, system.configuration, HOUR).run())


@pytest_twisted.ensureDeferred
async def test_bootstraps_come_before_what_is_listed(tmp_path: Path) -> None:
    """Streams that are not listed are left alone; images live for twice the interval."""
    async with building(tmp_path) as system:
        running = await cycle(system, "one", "two")
        await system.engine.begun("one", "two")
        system.engine.finish("two")
        system.engine.finish("one")
        await system.engine.begun("web")
        system.engine.finish("web")
        await running

        assert {("one", 2 * HOUR), ("two", 2 * HOUR)} == {
            (job.stream_name, job.expires_in) for job in system.engine.jobs[:2]
        }
        assert ["web"] == [job.stream_name for job in system.engine.jobs[2:]]


@pytest_twisted.ensureDeferred
async def test_an_image_lives_on_where_its_successor_fails(tmp_path: Path) -> None:
    """Its expiry becomes twice the interval from now, unless it is later already or never."""
    async with building(tmp_path) as system:
        begin = system.now()
        image = await add_image(system.store, "web", begin)
        later = begin + timedelta(hours=9)
        expiries = []
        for before in (begin + timedelta(hours=1), later, None):
            await system.store.set_expiry(image.name, before)
            running = await cycle(system)
            await system.engine.begun("web")
            system.engine.fail("web", BuildFailed("no mirror"))
            await running
            found = await system.store.find_latest(Wanted("web"))
            expiries.append(found.expires_at if found else begin)

        assert expiries[0] is not None
        assert begin + timedelta(hours=2) <= expiries[0] < later
        assert [later, None] == expiries[1:]


@pytest_twisted.ensureDeferred
async def test_a_cycle_can_be_cancelled(tmp_path: Path) -> None:
    """The cycle ends with a plain cancellation; the builds it asked for go on."""
    async with building(tmp_path) as system:
        running = await cycle(system, "one", "two")
        await system.engine.begun("one", "two")
        running.cancel()
        with pytest.raises(CancelledError):
            await running

        assert {"one", "two"} == system.engine.working
