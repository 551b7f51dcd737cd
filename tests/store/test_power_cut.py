"""The power is cut, at any step: no object, image or layer is ever there without being whole."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater

from imaginator.model.errors import BuildFailed
from imaginator.sandbox.ground import Ground
from imaginator.sandbox.holder import Holder
from imaginator.sandbox.kernel import calls
from imaginator.sandbox.sandbox import Workspace
from imaginator.store.merkle import Rules
from tests.build.test_pack import Packer
from tests.support.power import Disk, new_disk
from tests.support.real_reactor import reactor
from tests.support.sandboxes import opened
from tests.support.store_parts import running_store
from tests.support.wholeness import faults, image_names, object_faults

BASE = "mkdir d e; echo a > d/a; ln d/a d/b; ln -s a d/c; head -c 20000 /dev/urandom > e/f; touch e/empty"
CHANGES = "rm d/a; echo more >> d/b; head -c 20000 /dev/urandom > e/g; chmod 600 e/f; mkdir h; echo a > h/a"

MANY = 130
"""More new objects than are synced one by one."""

FILES = 24
"""Files of a tree that takes a while to hash."""


class Killed(BaseException):
    """Ends what a test lets go no further."""


@pytest.fixture(params=[True, False], ids=["journal", "no-journal"])
def disk(request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A disk of the test's own."""
    with new_disk(request.param) as disk:
        yield disk


@contextmanager
def before_each_step(action: Callable[[], None]) -> Iterator[None]:
    """Do something before each rename and sync of this process: between those, nothing lasting happens."""

    def after_action(step: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **options: Any) -> Any:
            action()
            return step(*arguments, **options)

        return stepped

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "rename"), (os, "fsync"), (calls.libc, "syncfs")):
            patch.setattr(owner, name, after_action(getattr(owner, name)))
        yield


@contextmanager
def no_syncing() -> Iterator[None]:
    """Every sync of this process does nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(calls.libc, "syncfs", lambda _: 0)
        yield


def on_powers_of_two(action: Callable[[], None]) -> Callable[[], None]:
    """``action``, done the first, second, fourth, eighth… time only."""
    times = itertools.count(1)

    def sometimes() -> None:
        number = next(times)
        if number & (number - 1) == 0:
            action()

    return sometimes


def contents(seed: int, count: int) -> list[bytes]:
    """The contents of files: from one byte to several blocks."""
    source = random.Random(seed)
    return [source.randbytes(source.choice([64, 4096, 5000, 20000])) for _ in range(count)]


def collect(workspace: Path, files: Sequence[bytes], objects: Path) -> None:
    """Make objects of files as a holder does, in this process, where a test can tell its steps."""
    upper = workspace / "upper"
    upper.mkdir(parents=True)
    for number, content in enumerate(files):
        (upper / str(number)).write_bytes(content)
    holder = Holder(Ground(os.fsencode(workspace), [], (0, 0)), [], None)
    try:
        paths = [b"/%d" % number for number in range(len(files))]
        assert len(files) == len(list(holder.gather(paths, os.fsencode(objects))))
        holder.publish()
    finally:
        holder.finish(((), (), (), ()))


def absent(files: Sequence[bytes], objects: Path) -> list[str]:
    """The names of those contents that are no objects."""
    names = (hashlib.sha512(content).hexdigest() for content in files)
    return [name for name in names if not (objects / name[:2] / name[2:]).exists()]


@pytest.mark.parametrize("count", [3, MANY])
def test_an_object_is_whole_at_every_step_of_collecting(
    disk: Disk, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power is cut before each rename and sync, with names and sizes on the disk early: no object is short."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    def cut() -> None:
        disk.write_back()
        disk.cut()

    with before_each_step(on_powers_of_two(cut) if count == MANY else cut):
        collect(disk.root / "build", contents(1, count), disk.root / "objects")
    disk.cut()

    assert len(disk.cuts) > 2
    for cut_off in disk.cuts:
        with disk.opened(cut_off) as root:
            assert [] == object_faults(root / "objects")


@pytest.mark.parametrize("count", [3, MANY])
def test_collected_objects_are_on_the_disk(disk: Disk, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power is cut when collecting has ended."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    files = contents(2, count)
    collect(disk.root / "build", files, disk.root / "objects")
    disk.cut()

    with disk.opened(disk.cuts[0]) as root:
        assert ([], []) == (object_faults(root / "objects"), absent(files, root / "objects"))


def test_known_objects_are_on_the_disk(disk: Disk) -> None:
    """A build is killed at a step of collecting, each in turn; another one wants the same content, and tells true."""
    for seed in itertools.count():
        files = contents(seed, 3)
        steps = iter(range(seed))
        finished = False

        def kill(steps: Iterator[int] = steps) -> None:
            if next(steps, None) is None:
                raise Killed

        try:
            with before_each_step(kill):
                collect(disk.root / f"killed{seed}", files, disk.root / "objects")
            finished = True
        except Killed:
            pass
        collect(disk.root / f"build{seed}", files, disk.root / "objects")
        disk.cut()
        if finished:
            break

    for seed, cut in enumerate(disk.cuts):
        with disk.opened(cut) as root:
            found = (seed, object_faults(root / "objects"), absent(contents(seed, 3), root / "objects"))
            assert (seed, [], []) == found


@pytest_twisted.ensureDeferred
async def test_an_image_is_whole_at_every_step_of_a_build(disk: Disk) -> None:
    """The power is cut before each step of keeping the layer and after each of the build; what was added is there."""
    names: list[str] = []
    there: list[list[str]] = []

    def cut() -> None:
        disk.write_back()
        disk.cut()
        there.append(list(names))

    async with running_store(disk.root / "state") as parts:
        packer = Packer(parts)
        with before_each_step(cut):
            base, _ = await packer.build(None, BASE, Rules())
            names.append(base.name)
            disk.cut()
            there.append(list(names))
            image, _ = await packer.build(base, CHANGES, Rules())
        names.append(image.name)
        disk.cut()
        there.append(list(names))

    assert [] in there
    for expected, cut_off in zip(there, disk.cuts, strict=True):
        with disk.opened(cut_off) as root:
            assert [] == await faults(root / "state")
            assert expected == await image_names(root / "state")


@pytest_twisted.ensureDeferred
async def test_a_build_over_what_killed_builds_left(disk: Disk, tmp_path: Path) -> None:
    """Holders are killed while they collect; a build that wants the same content is whole after a power cut."""
    state = disk.root / "state"
    async with running_store(state) as parts:
        for files_made in (1, FILES - 4):
            tree = tmp_path / f"tree{files_made}"
            fill(tree, files_made)
            await kill_collecting(tree, state / f"killed{files_made}", parts.objects.directory, files_made)
            disk.write_back()
            disk.cut()
            await Packer(parts).build(None, f"cp -r {tree}/. .", Rules())
            disk.cut()

    for number, cut in enumerate(disk.cuts):
        with disk.opened(cut) as root:
            assert [] == await faults(root / "state")
            assert (number + 1) // 2 == len(await image_names(root / "state"))


def fill(tree: Path, seed: int) -> None:
    """A directory of `FILES` files that no other seed has."""
    tree.mkdir(parents=True)
    source = random.Random(seed)
    for number in range(FILES):
        (tree / str(number)).write_bytes(source.randbytes(200_000))


async def kill_collecting(tree: Path, directory: Path, objects: Path, files_made: int) -> None:
    """Let a holder make objects of a copy of ``tree``, and kill it as soon as it has written so many files."""
    workspace = Workspace(directory)
    shutil.copytree(tree, workspace.upper)
    before = written(objects, directory)
    async with opened(workspace) as sandbox:
        paths = [b"/%d" % number for number in range(FILES)]
        collecting = ensureDeferred(sandbox.tree.collect(paths, objects))
        collecting.addErrback(lambda failure: failure.trap(BuildFailed))
        while written(objects, directory) < before + files_made:
            await deferLater(reactor, 0)
    await collecting


def written(*directories: Path) -> int:
    """How many files lie anywhere below."""
    return sum(len(files) for directory in directories for _, _, files in os.walk(directory))


def test_objects_that_were_not_synced_are_noticed(disk: Disk) -> None:
    """What these tests rest on: without any sync the same way of looking finds short objects, or none."""
    with no_syncing():
        collect(disk.root / "build", contents(3, 3), disk.root / "objects")
    disk.cut()
    disk.write_back()
    disk.cut()

    with disk.opened(disk.cuts[0]) as root:
        assert 3 == len(absent(contents(3, 3), root / "objects"))
    with disk.opened(disk.cuts[1]) as root:
        assert 3 == len(object_faults(root / "objects"))


@pytest_twisted.ensureDeferred
async def test_a_layer_that_was_not_synced_is_noticed(disk: Disk) -> None:
    """The same for layers: the catalogue's commit brings an image whose layer is empty or of empty files."""
    async with running_store(disk.root / "state") as parts:
        with no_syncing():
            image, _ = await Packer(parts).build(None, BASE, Rules())
        disk.write_back()
        disk.cut()

    with disk.opened(disk.cuts[0]) as root:
        found = await faults(root / "state")
    assert f"{image.name}: the layers differ at /d/a" in found
