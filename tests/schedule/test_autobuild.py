"""Automatic rebuilds: sources first, and the latest image lives on where its successor fails."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from imaginator.model.errors import BuildFailed
from imaginator.schedule.autobuild import AutoBuild
from imaginator.store.interface import Wanted
from tests.support.schedule_parts import HOUR, Schedule, running_schedule
from tests.support.store_parts import START


def cycle(schedule: Schedule) -> Deferred[None]:
    """Begin one cycle of an hourly rebuild."""
    return Deferred.fromCoroutine(AutoBuild(schedule.builder, schedule.configuration, HOUR).run())


@pytest_twisted.ensureDeferred
async def test_bootstraps_come_before_what_is_listed(tmp_path: Path) -> None:
    """Streams that are not listed are left alone; images live for twice the interval."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure("one", "two", streams={"app": {}, "rare": {}}, ImageStreamsToAutoRebuild=["app"])
        await schedule.make_builder()
        running = cycle(schedule)
        await schedule.engine.busy("one", "two")
        expiry = schedule.engine.jobs["one"].expires_in
        schedule.engine.finish("two")
        schedule.engine.finish("one")
        await schedule.engine.busy("app")
        schedule.engine.finish("app")
        await running

        assert 2 * HOUR == expiry
        assert ["one", "two", "app"] == schedule.engine.started


@pytest_twisted.ensureDeferred
async def test_an_image_lives_on_where_its_successor_fails(tmp_path: Path) -> None:
    """Its expiry becomes twice the interval from now, unless it is later already or never."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure("one")
        builder = await schedule.make_builder()
        expiries = []
        record = await schedule.submit("one")
        await schedule.engine.busy("one")
        schedule.engine.finish("one")
        name = (await builder.wait(record.build_id)).image_name
        for before in (START + timedelta(hours=1), START + timedelta(hours=9), None):
            await schedule.parts.store.set_expiry(name, before)
            running = cycle(schedule)
            await schedule.engine.busy("one")
            schedule.engine.finish("one", BuildFailed("no mirror"))
            await running
            image = await schedule.parts.store.find_latest(Wanted("one"))
            expiries.append(image.expires_at if image else START)

        assert [START + timedelta(hours=2), START + timedelta(hours=9), None] == expiries


@pytest_twisted.ensureDeferred
async def test_a_cycle_can_be_cancelled(tmp_path: Path) -> None:
    """The cycle ends with a plain cancellation; the builds it asked for go on."""
    async with running_schedule(tmp_path) as schedule:
        schedule.configure("one", "two")
        await schedule.make_builder()
        running = cycle(schedule)
        await schedule.engine.busy("one", "two")
        running.cancel()
        failures: list[type] = []
        await running.addErrback(lambda failure: failures.append(failure.type))

        assert [CancelledError] == failures
        assert {"one", "two"} == set(schedule.engine.jobs)
