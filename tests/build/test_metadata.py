"""What an image says of itself: what its manifest says, and what it has of its source image only if asked to."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted

from imaginator.build.metadata import times_filter
from imaginator.model.errors import BuildFailed
from imaginator.model.image import Image, Owners, Trigger
from imaginator.model.manifest import Manifest, ManifestFile
from imaginator.model.settings import Settings
from imaginator.model.tree import Inode, Kind
from tests.support.house import House

OVER = '{"SourceImage": "test/source"}'


def computed(house: House, image: Image) -> dict[bytes, bytes]:
    """The computed files of an image, with their addresses."""
    return {path: inode.target for path, inode in house.tree(image).items() if inode.kind is Kind.COMPUTED}


async def built_source(house: House) -> Image:
    """An image that has something of everything."""
    await house.bootstrap()
    return await house.build(
        {
            "files/etc/a": "a",
            "files/etc/b": "b",
            "scripts/1": "chmod 640 /etc/a; busybox chown 3:4 /etc/a\n",
            "filter": "/b\n/a\n",
            "triggers": '[{"MatchLines": ["/s", "/r"], "Service": "one", "SortName": "1", "DoReboot": true}]',
            "computed-files": "/etc/a host:1\n/etc/b host:1\n",
            "owners.json": '{"Users": ["ann"]}',
            "tags.json": '{"colour": "blue"}',
        },
        stream="test/source",
    )


@pytest_twisted.ensureDeferred
async def test_nothing_is_inherited_without_being_asked_for(house: House) -> None:
    """No file: no filter, trigger, computed file, owner or tag; an empty filter is another thing than none."""
    source = await built_source(house)
    image = await house.build({"manifest": OVER})
    empty = await house.build({"manifest": OVER, "filter": "", "triggers": "[]", "computed-files.json": "[]"})

    assert (("/b", "/a"), Owners(("ann",)), {"colour": "blue"}) == (source.filter, source.owners, source.tags)
    assert (None, None, Owners(), {}, {}) == (
        image.filter, image.triggers, image.owners, image.tags, computed(house, image)
    )  # fmt: skip
    assert ((), (), {}) == (empty.filter, empty.triggers, computed(house, empty))
    assert empty == await house.store.get(empty.name)


@pytest_twisted.ensureDeferred
async def test_add_files_merge_with_the_source_image(house: House) -> None:
    """Even empty ones inherit; owners and tags are never inherited."""
    source = await built_source(house)
    image = await house.build({"manifest": OVER, "filter.add": "", "triggers.add": "[]", "computed-files.add": ""})
    more = await house.build(
        {
            "manifest": OVER,
            "files/etc/c": "c",
            "filter.add": "/c\n/a\n",
            "triggers.add": '[{"MatchLines": ["/t"], "Service": "one", "SortName": "2", "HighImpact": true}]',
            "computed-files.add": "/etc/nobody reads:this\n",
            "computed-files.add.json": json.dumps(
                [{"Filename": f"/etc/{name}", "Source": f"host:{at}"} for at, name in enumerate("bcc")]
            ),
        },
        stream="test/more",
    )

    sparse = await house.build({"filter.add": ""}, stream="test/sparse")

    assert () == sparse.filter
    trigger = Trigger(("/r", "/s"), "one", "1", do_reboot=True)
    assert ("/a", "/b") == image.filter
    assert (trigger,) == image.triggers
    assert {b"/etc/a": b"host:1", b"/etc/b": b"host:1"} == computed(house, source) == computed(house, image)
    assert (Owners(), {}) == (image.owners, image.tags)
    assert ("/a", "/b", "/c") == more.filter
    assert (Trigger(("/r", "/s", "/t"), "one", "1", do_reboot=True, high_impact=True),) == more.triggers
    assert {b"/etc/a": b"host:1", b"/etc/b": b"host:0", b"/etc/c": b"host:2"} == computed(house, more)


@pytest_twisted.ensureDeferred
async def test_a_computed_file_of_the_source_image_is_an_empty_file(house: House) -> None:
    """With its mode and owner, during a build and in its layer; what is not listed again stays an ordinary one."""
    await built_source(house)
    show = {"scripts/1": "stat -c '%a %u %g %s' /etc/a > /etc/seen\n"}
    image = await house.build({"manifest": OVER, **show})
    again = await house.build({"manifest": '{"SourceImage": "test/over"}', **show}, stream="test/again")

    plain = Inode(Kind.REGULAR, 0o640, 3, 4, house.tree(image)[b"/etc/a"].mtime)
    assert plain == house.tree(image)[b"/etc/a"] == house.tree(again)[b"/etc/a"]
    assert b"640 3 4 0\n" == house.content(image, b"/etc/seen") == house.content(again, b"/etc/seen")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("rm /etc/b", "found none there"),
        ("rm /etc/b; mkdir /etc/b", "found a directory"),
        ("rm /etc/b; ln -s a /etc/b", "found a symbolic link"),
        ("ln /etc/b /etc/a", "found one of several links, /etc/a is the first"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_computed_file_is_a_regular_file_with_one_link(house: House, script: str, found: str) -> None:
    """What else is there when the build ends is told, with its path; nothing is stored."""
    await house.bootstrap()

    with pytest.raises(BuildFailed, match=f"^computed file /etc/b: .*{found}"):
        await house.build({"files/etc/b": "b", "scripts/1": f"{script}\n", "computed-files": "/etc/b host:1\n"})

    assert [] == list(await house.store.list("test"))


@pytest_twisted.ensureDeferred
async def test_a_computed_file_that_the_filter_leaves_out(house: House) -> None:
    """It is told that the filter does, before anything is stored."""
    await house.bootstrap()
    manifest = '{"SourceImage": "small", "FilterLines": ["/etc/d$"]}'

    with pytest.raises(BuildFailed, match="computed file /etc/d/b: .* its filter leaves it out"):
        await house.build({"manifest": manifest, "files/etc/d/b": "b", "computed-files": "/etc/d/b host:1\n"})

    assert [] == list(await house.store.list("test"))


@pytest_twisted.ensureDeferred
async def test_commands_see_what_the_filter_leaves_out(house: House) -> None:
    """Package list, clean-up and tests see all; image and layer, hence the next build, have what is left."""
    await house.bootstrap()
    lines = ["/etc/release$", "/usr/share$", "/tests(/.*)?$"]
    image = await house.build(
        {
            "manifest": json.dumps({"SourceImage": "small", "FilterLines": lines}),
            "tests/1": "#!/bin/sh\ntest -s /etc/release && test -s /usr/share/linked\n",
        },
        stream="test/source",
    )
    over = await house.build(
        {
            "manifest": OVER,
            "post-scripts-files/etc/release": "other 2\n",
            "scripts/1": "! test -e /usr/share && ! test -e /etc/release\n",
        }
    )

    assert ["small"] == [package.name for package in image.packages]
    assert ["other"] == [package.name for package in over.packages]
    assert {b"/usr/share", b"/usr/share/linked", b"/etc/release", b"/tests"}.isdisjoint(house.tree(image))
    assert image.filter is None


@pytest_twisted.ensureDeferred
async def test_times_of_the_previous_image(house: House) -> None:
    """A file made again, the same but for its time, keeps the time it had, unless a line of the filter names it."""
    manifest: dict[str, Any] = {"SourceImage": "small", "MtimesCopyAddFilterLines": ["/etc/new$"]}
    files = {"scripts/1": "for name in old new other; do echo $name > /etc/$name; done; mkfifo /etc/fifo\n"}
    files["scripts/1"] = files["scripts/1"].replace("mkfifo", "busybox mkfifo")
    await house.bootstrap()
    first = await house.build({"manifest": json.dumps(manifest), **files})
    more = {"scripts/2": "echo more > /etc/other\n"}
    second = await house.build({"manifest": json.dumps(manifest), **files, **more})

    names = (b"/etc/old", b"/etc/fifo", b"/etc/new", b"/etc/other")
    kept = [house.tree(first)[name].mtime == house.tree(second)[name].mtime for name in names]
    assert [True, True, False, False] == kept


@pytest.mark.parametrize(
    ("lines", "added", "expected"),
    [
        (None, (), (True, False, False)),
        (None, ("/added",), (True, False, True)),
        (("/own",), (), (False, True, False)),
        ((), ("/added",), (False, False, True)),
    ],
)
def test_whose_new_times_are_kept(
    lines: tuple[str, ...] | None, added: tuple[str, ...], expected: tuple[bool, ...]
) -> None:
    """The manifest replaces the common lines, even by none, or adds to them."""
    file = ManifestFile(source_image="s", mtimes_copy_filter_lines=lines, mtimes_copy_add_filter_lines=added)
    matches = times_filter(Settings(mtimes_copy_filter_lines=("/common",)), Manifest(file=file)).matches

    assert expected == tuple(map(matches, (b"/common", b"/own", b"/added")))
