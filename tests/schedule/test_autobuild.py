"""Automatic rebuilds: sources first, built where something has changed, and else the latest image lives on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from imaginator.build.job import SourceWish
from imaginator.model.build import BuildRequest
from imaginator.model.errors import BuildFailed, ConfigurationError, Refused
from imaginator.model.pauses import Disabled
from imaginator.schedule.autobuild import AutoBuild, AutoBuildParts
from imaginator.schedule.freshness import Judgement, Round, Settled
from imaginator.store.interface import ImageStore, Wanted
from tests.support.building import HOUR, Building, add_image, building


class Judge:
    """Says of each stream what a test wants; ``sources`` are what streams build on."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self.reasons: dict[str, str | Exception] = {}
        self.sources: dict[str, str] = {}
        self.asked: list[str] = []

    def round(self) -> Round:
        """A new round."""
        return Round(cast(Any, None))

    async def judge(self, request: BuildRequest, _: Round, settled: Settled) -> Judgement:
        """Wait for the source, then answer."""
        name = request.stream_name
        if name in self.sources:
            await settled(SourceWish(self.sources[name], "", {}, {}))
        self.asked.append(name)
        reason = self.reasons.get(name, "")
        if isinstance(reason, Exception):
            raise reason
        latest = await self._store.find_latest(Wanted(name))
        return Judgement(reason, latest.name if latest else "")


async def automation(
    system: Building, bootstraps: Sequence[str] = (), listed: Sequence[str] = ("web",)
) -> tuple[AutoBuild, Judge]:
    """An hourly rebuild of these, and its judge."""
    system.files.write_main(dict.fromkeys(bootstraps, "deb"), {"deb": {}}, ImageStreamsToAutoRebuild=list(listed))
    await system.configuration.reload()
    judge = Judge(system.store)
    parts = AutoBuildParts(system.builder, system.configuration, cast(Any, judge), system.pauses, HOUR, system.clock)
    return AutoBuild(parts), judge


def begin(rebuild: AutoBuild) -> Deferred[None]:
    """One cycle."""
    return Deferred.fromCoroutine(rebuild.run())


async def fail(system: Building, name: str) -> None:
    """Let a build fail, should there be one."""
    try:
        await system.engine.begun(name)
    except CancelledError:
        return
    system.engine.fail(name, BuildFailed("no mirror"))


def words(rebuild: AutoBuild) -> dict[str, str]:
    """What the last cycle made of each stream."""
    return {name: verdict.words for name, verdict in rebuild.verdicts.items()}


@pytest_twisted.ensureDeferred
async def test_sources_come_before_what_is_over_them(tmp_path: Path) -> None:
    """What is not listed is left alone unless it is a source; images live for twice the interval."""
    async with building(tmp_path) as system:
        rebuild, judge = await automation(system, ["boot"])
        judge.sources.update(web="base", base="boot")
        judge.reasons.update(web="new", boot="new")
        running = begin(rebuild)
        await system.engine.begun("boot")
        asked_meanwhile = list(judge.asked)
        system.engine.finish("boot")
        await system.engine.begun("web")
        system.engine.finish("web")
        await running

        assert (["boot"], ["boot", "base", "web"]) == (asked_meanwhile, judge.asked)
        assert [("boot", 2 * HOUR), ("web", 2 * HOUR)] == [
            (job.stream_name, job.expires_in) for job in system.engine.jobs
        ]
        assert {"boot": "built: new", "web": "built: new", "base": "extended: nothing has changed"} == words(rebuild)


@pytest_twisted.ensureDeferred
async def test_what_has_not_changed_is_extended(tmp_path: Path) -> None:
    """It lives for twice the interval from now, unless longer anyway, and is known to be up to date."""
    async with building(tmp_path) as system:
        begun = system.now()
        image = await add_image(system.store, "web", begun - timedelta(hours=5))
        rebuild, _ = await automation(system)
        for before in (begun + timedelta(hours=1), begun + timedelta(hours=9), None):
            await system.store.set_expiry(image.name, before)
            await begin(rebuild)
            found = await system.store.get(image.name)
            expected = before and max(before, begun + timedelta(hours=2))

            assert (expected is None) == (found.expires_at is None)
            if expected and found.expires_at:
                assert expected <= found.expires_at < expected + timedelta(minutes=1)
            assert found.current_at >= begun
        assert [] == system.engine.jobs


@pytest_twisted.ensureDeferred
async def test_an_image_lives_on_where_its_successor_fails(tmp_path: Path) -> None:
    """Its expiry becomes twice the interval from now; it is not known to be up to date."""
    async with building(tmp_path) as system:
        begun = system.now()
        image = await add_image(system.store, "web", begun, expires_at=begun + timedelta(hours=1))
        rebuild, judge = await automation(system)
        judge.reasons["web"] = "new"
        running = begin(rebuild)
        await system.engine.begun("web")
        system.engine.fail("web", BuildFailed("no mirror"))
        await running
        found = await system.store.get(image.name)

        assert found.expires_at is not None
        assert begun + timedelta(hours=2) <= found.expires_at
        assert found.confirmed_at is None
        assert {"web": "failed: no mirror"} == words(rebuild)


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_seen_is_built(tmp_path: Path) -> None:
    """So that its log tells everybody what is wrong with it; the reason says so."""
    async with building(tmp_path) as system:
        rebuild, judge = await automation(system)
        judge.reasons["web"] = ConfigurationError("manifest", "expected a string")
        running = begin(rebuild)
        await system.engine.begun("web")
        system.engine.finish("web")
        await running

        (record,) = system.builder.status().good
        assert "what goes into an image cannot be seen: manifest: expected a string" == record.reason
        log = await (await system.builder.log(record.build_id)).read(0, 1000)
        assert log.startswith(b"built automatically: what goes into an image cannot be seen")


@pytest_twisted.ensureDeferred
async def test_trouble_of_many_streams(tmp_path: Path) -> None:
    """One build tells of it; the others are extended, and told to have failed."""
    async with building(tmp_path) as system:
        rebuild, judge = await automation(system, [], ["db", "web"])
        judge.reasons.update(dict.fromkeys(("db", "web"), BuildFailed("no such host")))
        running = begin(rebuild)
        await system.engine.begun("db")
        system.engine.fail("db", BuildFailed("no such host"))
        await running

        assert ["db"] == [job.stream_name for job in system.engine.jobs]
        assert dict.fromkeys(("db", "web"), "failed: no such host") == words(rebuild)


@pytest_twisted.ensureDeferred
async def test_trouble_that_is_only_the_looks(tmp_path: Path) -> None:
    """Where the first build is good, all the others are built as well."""
    async with building(tmp_path) as system:
        rebuild, judge = await automation(system, [], ["db", "web"])
        judge.reasons.update(dict.fromkeys(("db", "web"), BuildFailed("no SimulateCommand")))
        running = begin(rebuild)
        for name in ("db", "web"):
            await system.engine.begun(name)
            system.engine.finish(name)
        await running

        told = "built: what goes into an image cannot be seen: no SimulateCommand"
        assert dict.fromkeys(("db", "web"), told) == words(rebuild)


@pytest_twisted.ensureDeferred
async def test_a_stream_that_keeps_failing_is_tried_less_often(tmp_path: Path) -> None:
    """The second failure in a row costs it a cycle; another reason to build ends the pause."""
    async with building(tmp_path) as system:
        rebuild, judge = await automation(system)
        tried = []
        for reason in ("new", "new", "new", "newer"):
            judge.reasons["web"] = reason
            running = begin(rebuild)
            failing = Deferred.fromCoroutine(fail(system, "web"))
            await running
            failing.cancel()
            tried.append(words(rebuild)["web"])

        assert ["failed: no mirror"] * 2 == [tried[0], tried[3]]
        assert all("failed: its build failed" in told and told.endswith("(new)") for told in tried[1:3])


@pytest_twisted.ensureDeferred
async def test_disabled_automatic_builds_extend(tmp_path: Path) -> None:
    """Nothing is looked at."""
    async with building(tmp_path) as system:
        image = await add_image(system.store, "web", system.now(), expires_at=system.now() + timedelta(hours=1))
        rebuild, judge = await automation(system)
        await system.pauses.disable(Disabled.AUTO_BUILDS, HOUR, "root")
        await begin(rebuild)
        found = await system.store.find_latest(Wanted("web"))

        assert found is not None
        assert found.expires_at is not None
        assert image.expires_at is not None
        assert found.expires_at > image.expires_at
        assert [] == judge.asked
        assert words(rebuild)["web"].startswith("extended: automatic builds are disabled until ")


@pytest_twisted.ensureDeferred
async def test_streams_that_build_on_each_other(tmp_path: Path) -> None:
    """The circle is named, and the cycle ends."""
    async with building(tmp_path) as system:
        rebuild, judge = await automation(system, [], ["web", "db", "deep"])
        judge.sources.update(web="db", db="web")
        running = begin(rebuild)
        await system.engine.begun("web")
        system.engine.finish("web")
        await running

        circle = "built: what goes into an image cannot be seen: build cycle: web -> db -> web"
        unchanged = "extended: nothing has changed"
        assert {"web": circle, "db": unchanged, "deep": unchanged} == words(rebuild)


@pytest_twisted.ensureDeferred
async def test_a_cycle_is_started_by_hand(tmp_path: Path) -> None:
    """Where one is under way it is an error, unless that is waited for; whoever waits for the end gets it."""
    async with building(tmp_path) as system:
        rebuild, judge = await automation(system)
        judge.reasons["web"] = "new"
        await rebuild.start(wait_to_start=False, wait_for_complete=False)
        await system.engine.begun("web")
        with pytest.raises(Refused, match="^auto build busy$"):
            await rebuild.start(wait_to_start=False, wait_for_complete=False)
        waiting = Deferred.fromCoroutine(rebuild.start(wait_to_start=True, wait_for_complete=True))
        system.engine.finish("web")
        judge.reasons["web"] = ""
        await waiting

        assert ["web", "web"] == judge.asked
        assert {"web": "extended: nothing has changed"} == words(rebuild)


@pytest_twisted.ensureDeferred
async def test_a_cycle_without_streams(tmp_path: Path) -> None:
    """It has ended when it has begun; the next one sees the streams that have come meanwhile."""
    async with building(tmp_path) as system:
        rebuild, judge = await automation(system, (), ())
        for wait_to_start in (False, True):
            await rebuild.start(wait_to_start, wait_for_complete=True)
        system.files.write_main({}, {"deb": {}}, ImageStreamsToAutoRebuild=["web"])
        await system.configuration.reload()
        await begin(rebuild)

        assert ["web"] == judge.asked


@pytest_twisted.ensureDeferred
async def test_stopping_ends_a_cycle(tmp_path: Path) -> None:
    """Who waits for it learns of it; the builds it asked for go on, since a cycle does not own them."""
    async with building(tmp_path) as system:
        rebuild, judge = await automation(system, ["one", "two"], [])
        judge.reasons.update(one="new", two="new")
        rebuild.startService()
        running = begin(rebuild)
        await system.engine.begun("one", "two")
        await rebuild.stopService()
        with pytest.raises(CancelledError):
            await running

        assert {"one", "two"} == system.engine.working
