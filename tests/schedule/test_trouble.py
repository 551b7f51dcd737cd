"""A disk that takes nothing more: what is asked for is refused, an end is told when it is on disk, and all goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from imaginator.model.build import BuildRecord, State
from imaginator.model.errors import BuildFailed, StoreUnwritable
from imaginator.schedule import runner
from imaginator.schedule.trouble import Trouble
from tests.support.building import ROOT, Building, building
from tests.support.real_reactor import reactor
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.store_parts import running_store

FULL = "catalogue.sqlite cannot be written: database or disk is full"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 8 MB."""
    with small_disk(tmp_path, "disk", 8) as disk:
        yield disk


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not taken is written again soon."""
    monkeypatch.setattr(runner, "BETWEEN_WRITES", 0.01)


async def refused(system: Building) -> None:
    """Return when the catalogue has refused a write."""
    while not system.trouble.sentence():
        await deferLater(reactor, 0.01)


@asynccontextmanager
async def at_work(folder: Path) -> AsyncIterator[tuple[Building, str]]:
    """A builder with a build that is at work, and its id."""
    async with building(folder) as system:
        build = await system.submit()
        await system.engine.begun("web")
        yield system, build


@pytest_twisted.ensureDeferred
async def test_an_end_is_told_once_there_is_room_for_it(disk: SmallDisk) -> None:
    """Until then the build runs, for all who ask, and no other starts; then its failure is as it was."""
    async with at_work(disk.root) as (system, build):
        waiting = ensureDeferred(system.builder.wait(build))
        queued = await system.submit("db")
        await system.builder.cancel(queued, ROOT)
        disk.fill()
        system.engine.fail("web", BuildFailed("it has failed"))
        await refused(system)
        meanwhile = await system.builder.get(build), waiting.called, system.builder.status()
        disk.empty()
        ended: BuildRecord = await waiting

        assert (State.RUNNING, False) == (meanwhile[0].state, meanwhile[1])
        assert meanwhile[2].trouble.endswith(FULL)
        assert meanwhile[2].trouble == meanwhile[2].obstacle
        assert (State.FAILED, "it has failed") == (ended.state, ended.failure and ended.failure.message)
        assert ended == await system.history.get(build)
        assert "" == system.builder.status().trouble


@pytest_twisted.ensureDeferred
async def test_a_request_that_cannot_be_written_down(disk: SmallDisk) -> None:
    """It is refused with the reason and leaves nothing; what was queued stays so, though it was to be cancelled."""
    async with building(disk.root) as system:
        system.obstacle = "nothing is to start yet"
        queued = await system.submit("web")
        disk.fill()
        with pytest.raises(StoreUnwritable, match=FULL):
            await system.submit("db")
        with pytest.raises(StoreUnwritable, match=FULL):
            await system.builder.cancel(queued, ROOT)
        left = [record.build_id for record in system.builder.status().queued]
        disk.empty()
        cancelled = await system.builder.cancel(queued, ROOT)

        assert [queued] == left
        assert State.CANCELLED is cancelled.state


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_stops_meanwhile(disk: SmallDisk) -> None:
    """It does not wait for room: the next one finds the build as running, and runs it again."""
    async with at_work(disk.root) as (system, build):
        disk.fill()
        system.engine.fail("web", BuildFailed("it has failed"))
        await refused(system)
    disk.empty()
    async with building(disk.root) as system:
        await system.engine.begun("web")
        system.engine.finish("web")
        ended = await system.builder.wait(build)

        assert (State.SUCCEEDED, 2) == (ended.state, ended.attempt)


@pytest_twisted.ensureDeferred
async def test_builds_go_on_when_the_trouble_is_over(disk: SmallDisk) -> None:
    """Each look tries what failed before, and says that builds may go on once it works."""
    async with running_store(disk.root) as parts:
        trouble = Trouble(disk.root, parts.catalogue)
        went_on: list[str] = []
        trouble.go_on = lambda: went_on.append(trouble.sentence())
        await parts.catalogue.probe()
        disk.fill()
        with pytest.raises(StoreUnwritable):
            await parts.catalogue.probe()
        await trouble.look()
        meanwhile = trouble.sentence(), list(went_on)
        disk.empty()
        await trouble.look()

        assert meanwhile[0].endswith(FULL)
        assert ([], [""]) == (meanwhile[1], went_on)


@pytest_twisted.ensureDeferred
async def test_a_directory_that_is_read_only(disk: SmallDisk) -> None:
    """It is told at once, though nothing was to be written; a catalogue that is opened meanwhile does not stay so."""
    async with running_store(disk.root) as parts:
        trouble = Trouble(disk.root, parts.catalogue)
        disk.remount("ro")
        meanwhile = trouble.sentence()
        with pytest.raises(StoreUnwritable):
            await parts.catalogue.probe()
        disk.remount("rw")
        await trouble.look()

        assert f"{disk.root} cannot be written: Read-only file system" == meanwhile
        assert "" == trouble.sentence()
