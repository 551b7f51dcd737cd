"""The history of builds and the archive of their logs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_twisted
from msgspec.structs import replace

from imaginator.model.build import BuildRecord, BuildRequest, State
from imaginator.model.errors import NotFound
from imaginator.model.marks import Mark
from imaginator.schedule.logview import ArchivedLog
from imaginator.store.history import BuildQuery, History
from imaginator.store.logs import LONGEST_HIT, LogArchive
from tests.support.store_parts import START, running_store


def record(number: int, stream: str, **fields: object) -> BuildRecord:
    """A queued build."""
    request = BuildRequest(stream_name=stream)
    return BuildRecord(build_id=f"{number:026}", request=request, requester="me", submitted_at=START, **fields)  # type: ignore[arg-type]


@pytest_twisted.ensureDeferred
async def test_builds_are_found_by_what_is_asked(tmp_path: Path) -> None:
    """Newest first, by a prefix of the stream's parts, by state, in pages."""
    async with running_store(tmp_path) as parts:
        history = History(parts.catalogue)
        one, two, three = record(1, "a"), record(2, "a/b", state=State.FAILED), record(3, "ab")
        for build in (one, two, three):
            await history.insert(build)

        assert [two, one] == await history.list(BuildQuery(stream_name="a"))
        assert [two] == await history.list(BuildQuery(states=(State.FAILED,), since=START))
        assert [one] == await history.list(BuildQuery(after=two.build_id, limit=1))
        assert [one, three] == await history.unfinished()


@pytest_twisted.ensureDeferred
async def test_updates_are_kept(tmp_path: Path) -> None:
    """A build that is unknown can be neither updated nor got."""
    async with running_store(tmp_path) as parts:
        history = History(parts.catalogue)
        await history.insert(record(1, "a"))
        done = record(1, "a", state=State.SUCCEEDED, image_name="a/2026-11-22:23:38:05")
        await history.update(done)

        assert done == await history.get(done.build_id) == await history.of_image(done.image_name)
        with pytest.raises(NotFound):
            await history.update(record(2, "a"))


@pytest_twisted.ensureDeferred
async def test_the_oldest_logs_make_room(tmp_path: Path) -> None:
    """Past the quota the oldest entry goes, never the new one."""
    async with running_store(tmp_path) as parts:
        archive = LogArchive(tmp_path / "logs", 3000, parts.workers)
        (tmp_path / "log").write_bytes(bytes(1000))
        old = record(1, "a/b", image_name="a/b/2026-11-22:23:38:05")
        await archive.store(old, tmp_path / "log")
        for file in archive.path_of(old).parent.iterdir():
            os.utime(file, (0, 0))
        (tmp_path / "log").write_bytes(bytes(2000))
        new = replace(old, build_id=f"{2:026}", image_name="")
        await archive.store(new, tmp_path / "log", [Mark(0, 5, 0)])

        assert [Mark(0, 5, 0)] == list(ArchivedLog(archive.path_of(new)).marks)
        assert tmp_path / "logs/a/b/2026-11-22:23:38:05/buildLog" == archive.path_of(old)
        assert [False, True] == [archive.path_of(build).exists() for build in (old, new)]


@pytest_twisted.ensureDeferred
async def test_logs_are_searched(tmp_path: Path) -> None:
    """In whatever case; the first line that has the text is told, a long one in part; logs that are gone have none."""
    async with running_store(tmp_path) as parts:
        archive = LogArchive(tmp_path / "logs", 0, parts.workers)
        builds = [record(number, "a/b") for number in range(4)]
        contents = [b"one\nE: Unable to locate\nunable\n", b"x" * 5000 + b" unable " + b"y" * 5000, b"fine\n"]
        for build, content in zip(builds, contents, strict=False):
            (tmp_path / "log").write_bytes(content)
            await archive.store(build, tmp_path / "log")
        hits = await archive.search(builds, "UNABLE")

        assert [builds[0].build_id, builds[1].build_id] == list(hits)
        assert "E: Unable to locate" == hits[builds[0].build_id]
        assert "unable" in hits[builds[1].build_id]
        assert LONGEST_HIT == len(hits[builds[1].build_id])
        assert {} == await archive.search(builds, "fine\none")
