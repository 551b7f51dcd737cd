"""What a build sees of the host: bind mounts of the main configuration, and its stream's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from msgspec.structs import replace

from imaginator.model.errors import BuildFailed
from imaginator.model.mounts import StreamCache
from imaginator.sandbox.kernel.mounts import mount, unmount
from tests.support.house import House, Record

FILL = """for age in 3 2 1
do
    busybox dd if=/dev/zero of=/cache/$age bs=1M count=1
    touch -d 2020-01-0$age /cache/$age
done
"""
"""Three files of a megabyte, the one called 1 the oldest."""


def configured(house: House, **fields: Any) -> House:
    """The same with other settings."""
    return house._replace(settings=replace(house.settings, **fields))


def with_cache(house: House, size_limit: str = "1G") -> House:
    """The same with caches of streams."""
    cache = StreamCache(str(house.directory / "caches"), "/cache", size_limit)
    return configured(house, cache=cache)


def cached(house: House, stream: str = "test,over") -> list[str]:
    """The names in a stream's cache."""
    return sorted(os.listdir(house.directory / "caches" / stream / "files"))


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host with another file system below it."""
    directory = tmp_path / "shared"
    (directory / "below").mkdir(parents=True)
    (directory / "file").write_text("of the host")
    mount(b"tmpfs", os.fsencode(directory / "below"), b"tmpfs")
    (directory / "below/file").write_text("below")
    yield directory
    unmount(os.fsencode(directory / "below"))


@pytest_twisted.ensureDeferred
async def test_bind_mounts(house: House, shared: Path) -> None:
    """Steps 2 to 9 see them at the same path, read-only with what is mounted below; nothing stays in the image."""
    writable = shared.with_name("writable")
    writable.mkdir()
    await house.bootstrap()
    house = configured(house, bind_mounts=(str(shared),), bind_mounts_writable=(str(writable),))
    script = f"""#!/bin/sh -e
cat {shared}/file {shared}/below/file > /etc/seen
! touch {shared}/file {shared}/below/new
! touch {shared}/below/file
echo written > {writable}/file
"""
    gone = f"#!/bin/sh\ntest ! -e {shared}\n"

    image = await house.build({"scripts/1": script, "post-cleanup-scripts/1": gone, "tests/1": gone})

    assert b"of the hostbelow" == house.content(image, b"/etc/seen")
    assert ["file"] == os.listdir(shared / "below")
    assert "written\n" == (writable / "file").read_text()
    assert [] == [path for path in house.tree(image) if path.endswith((b"/shared", b"/writable"))]


@pytest_twisted.ensureDeferred
async def test_mount_points(house: House) -> None:
    """One that the image has stays with what is in it; one that was missing is not in the image."""
    await house.bootstrap()
    house = configured(house, bind_mounts=("/usr/share", "/srv"))

    image = await house.build({"scripts/1": "test ! -e /usr/share/linked && test -d /srv\n"})

    assert b"/usr/share/linked" in house.tree(image)
    assert b"/srv" not in house.tree(image)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing", "bind mount .*/missing: the host has no such directory"),
        ("state/objects", "bind mount .*/state/objects: it shows the state directory"),
        ("", "it shows the state directory"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_directory_that_cannot_be_shared(house: House, name: str, sentence: str) -> None:
    """The build says so before it fetches anything."""
    path = str(house.directory / name).rstrip("/")
    monitor = Record()
    with pytest.raises(BuildFailed, match=sentence):
        await configured(house, bind_mounts=(path,)).build({}, monitor)

    assert [] == monitor.stages


@pytest_twisted.ensureDeferred
async def test_bootstraps_see_nothing_of_it(house: House) -> None:
    """Neither a cache nor bind mounts, not even those that could not be."""
    house = configured(with_cache(house), bind_mounts=("/no/such/directory",))

    image = await house.bootstrap()

    assert b"/cache" not in house.tree(image)
    assert not (house.directory / "caches").exists()


@pytest_twisted.ensureDeferred
async def test_each_stream_has_a_cache_of_its_own(house: House) -> None:
    """A later build of the stream finds what it left, another stream does not; no image holds anything of it."""
    await house.bootstrap()
    house = with_cache(house)
    await house.build({"scripts/1": "echo kept > /cache/file\n"})

    await house.build({"scripts/1": "test ! -e /cache/file && echo other > /cache/other\n"}, stream="test/other")
    image = await house.build({"scripts/1": "cat /cache/file > /etc/found\n"})

    assert b"kept\n" == house.content(image, b"/etc/found")
    assert (["file"], ["other"]) == (cached(house), cached(house, "test,other"))
    assert b"/cache" not in house.tree(image)
    assert 0o700 == (house.directory / "caches/test,over").stat().st_mode & 0o7777


@pytest_twisted.ensureDeferred
async def test_the_oldest_files_go_after_a_good_build(house: House) -> None:
    """A failed build removes nothing."""
    await house.bootstrap()
    house = with_cache(house, "2500K")

    with pytest.raises(BuildFailed):
        await house.build({"scripts/1": FILL + "exit 1\n"})
    failed = cached(house)
    await house.build({"scripts/1": "true\n"})

    assert ["1", "2", "3"] == failed
    assert ["2", "3"] == cached(house)


@pytest_twisted.ensureDeferred
async def test_links_of_a_cache_are_never_followed(house: House) -> None:
    """What a build links to on the host is neither counted nor removed; the links go, as old files do."""
    outside = house.directory / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(bytes(3 << 20))
    os.utime(outside / "file", (1, 1))
    await house.bootstrap()
    house = with_cache(house, "4K")
    links = f"ln -s {outside} /cache/a; ln -s {outside}/file /cache/b; mkdir /cache/c; ln -s / /cache/c/d\n"

    await house.build({"scripts/1": f"{links}touch -d 2040-01-01 /cache/e\n"})

    assert (outside / "file").exists()
    assert ["c", "e"] == cached(house)


@pytest_twisted.ensureDeferred
async def test_a_cache_that_is_too_deep_to_be_looked_at(house: House) -> None:
    """It is emptied, and the log says so; the build is good."""
    await house.bootstrap()
    house = with_cache(house)
    name = "d" * 200
    monitor = Record()
    script = f"cd /cache\nn=0; while test $n -lt 30; do mkdir {name}; cd {name}; n=$((n+1)); done\n"

    await house.build({"scripts/1": script}, monitor)

    assert b"too deep" in monitor.data
    assert not (house.directory / "caches/test,over/files").exists()
