"""The cache of downloaded packages: what goes first, and what may happen meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest_twisted
from twisted.internet.defer import gatherResults

from imaginator.sandbox.offering import SMALLEST
from imaginator.store.packages import Packages
from tests.support.store_parts import running_store


def fill(place: Path, name: str, used: int, size: int = SMALLEST) -> Path:
    """A file that was used at a time."""
    path = place / name
    path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


def names(directory: Path) -> list[str]:
    """What all packager types hold."""
    return sorted(path.name for path in directory.glob("*/*"))


@pytest_twisted.ensureDeferred
async def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    """The limit is for all packager types together."""
    async with running_store(tmp_path) as parts:
        packages = Packages(tmp_path / "packages", 4 * SMALLEST, parts.workers)
        deb, rpm = packages.place("deb"), packages.place("rpm")
        for place, name, used in ((deb, "c", 3), (rpm, "a", 1), (deb, "b", 2), (rpm, "e", 5)):
            fill(place, name, used)
        fill(deb, "d", 4, 2 * SMALLEST)
        await packages.trim()

    assert ["c", "d", "e"] == names(tmp_path / "packages")


@pytest_twisted.ensureDeferred
async def test_tiny_files_count_too(tmp_path: Path) -> None:
    """A build cannot fill the cache with more files than later builds can look at."""
    async with running_store(tmp_path) as parts:
        packages = Packages(tmp_path / "packages", 3 * SMALLEST, parts.workers)
        place = packages.place("deb")
        for number in range(9):
            fill(place, str(number), number, 1)
        await packages.trim()

    assert ["6", "7", "8"] == names(tmp_path / "packages")


@pytest_twisted.ensureDeferred
async def test_several_trim_at_once(tmp_path: Path) -> None:
    """Builds that end together remove no more than one would."""
    async with running_store(tmp_path) as parts:
        packages = Packages(tmp_path / "packages", 100 * SMALLEST, parts.workers)
        place = packages.place("deb")
        for number in range(300):
            fill(place, f"{number:03}", number)
        await gatherResults([packages.trim() for _ in range(8)])

    assert [f"{number:03}" for number in range(200, 300)] == names(tmp_path / "packages")


@pytest_twisted.ensureDeferred
async def test_what_does_not_belong_there_stays(tmp_path: Path) -> None:
    """A file among the packager types and a directory among packages stop nothing."""
    async with running_store(tmp_path) as parts:
        packages = Packages(tmp_path / "packages", SMALLEST, parts.workers)
        place = packages.place("deb")
        (tmp_path / "packages" / "stray").touch()
        (place / "directory").mkdir()
        for number in range(3):
            fill(place, str(number), number)
        await packages.trim()

    assert ["2", "directory"] == names(tmp_path / "packages")


@pytest_twisted.ensureDeferred
async def test_without_a_limit_there_is_no_cache(tmp_path: Path) -> None:
    """What an earlier daemon kept goes."""
    async with running_store(tmp_path) as parts:
        packages = Packages(tmp_path / "packages", 0, parts.workers)
        fill(packages.place("deb"), "a", 1)
        await packages.trim()

    assert [] == names(tmp_path / "packages")


@pytest_twisted.ensureDeferred
async def test_the_name_of_a_packager_type_is_no_path(tmp_path: Path) -> None:
    """Whatever a type is called, its directory lies in the cache's."""
    async with running_store(tmp_path) as parts:
        packages = Packages(tmp_path / "packages", 1, parts.workers)
        places = [packages.place(name) for name in ("..", ".", "a/b", "/etc", "deb", "ünï\n", "%2E%2E")]

    assert {tmp_path / "packages"} == {place.parent.resolve() for place in places}
    assert len(places) == len({place.resolve() for place in places})
