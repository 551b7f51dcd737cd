"""Verification of a real store with real damage: what is told, what is repaired, and what the next check finds."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.model.image import Image
from imaginator.model.tree import walk
from imaginator.store.findings import Report
from imaginator.store.layers import image_layers
from imaginator.store.merkle import Rules
from imaginator.store.verification import Verification
from imaginator.store.workbench import Workbench
from tests.build.test_pack import Packer
from tests.support.real_reactor import reactor
from tests.support.store_parts import StoreParts, running_store

BASE = """
    mkdir etc usr usr/deep; echo base > etc/base; echo deep > usr/deep/file; echo group > usr/a; ln usr/a usr/b
    : > empty; ln -s etc/base link; mkfifo pipe; echo copied > usr/copied; echo address > etc/resolv
"""
CHILD = "echo child > etc/child; echo changed >> usr/b; rm -r usr/deep; mkdir usr/deep; echo new > usr/deep/new"


class House:
    """A store with an image and one that was built upon it."""

    def __init__(self, parts: StoreParts, packer: Packer, base: Image, child: Image) -> None:
        self.parts = parts
        self.packer = packer
        self.base = base
        self.child = child
        self.report = Report(print, lambda what, done, total: None)

    async def verify(self) -> list[str]:
        """The findings of one check."""
        lines, self.report = await verified(self.parts)
        return lines

    async def layer(self, image: Image) -> str:
        """The image's own layer."""
        ids = await self.parts.catalogue.read(lambda connection: image_layers(connection, image.name))
        return ids[-1]

    async def tree(self, image: Image) -> Path:
        """The directory of the image's own layer."""
        return self.packer.layers.path(await self.layer(image))

    async def object(self, image: Image, path: bytes) -> Path:
        """The file of the object of a path."""
        described = await self.packer.described(image)
        return self.parts.objects.path(described[path].object)

    async def node(self, image: Image, path: bytes) -> bytes:
        """The id of the node of a directory."""
        nodes = self.parts.store.nodes()
        return await self.parts.workers.run(lambda: dict(walk(image.root, nodes))[path].node)

    async def is_whole(self) -> bool:
        """Whether another check, after builds over both images, finds nothing but layers that nobody needs now."""
        for image in (self.base, self.child):
            await self.packer.layers.lowers(image)
        found = await self.verify()
        assert all(line.startswith("leftover: layers/") for line in found), found
        return [] == await self.verify() and "all is well" in self.report.summary()


async def verified(parts: StoreParts) -> tuple[list[str], Report]:
    """The findings of one check of a store."""
    lines: list[str] = []
    report = Report(lines.append, lambda what, done, total: None)
    scratch = parts.directory / "builds" / "verify"
    scratch.mkdir(parents=True)
    bench = Workbench(parts.directory, scratch, parts.catalogue, parts.workers, reactor, report)
    try:
        await Verification(bench, parts.objects, parts.store.nodes()).run()
    finally:
        shutil.rmtree(scratch)
    return lines, report


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[House]:
    """A house that is open for one test."""
    async with running_store(folder) as parts:
        packer = Packer(parts)
        base, _ = await packer.build(None, BASE, Rules(computed={b"/etc/resolv": b"metadata:"}))
        child, _ = await packer.build(base, CHILD, Rules(computed={b"/etc/resolv": b"metadata:"}))
        shutil.rmtree(folder / "builds", ignore_errors=True)
        yield House(parts, packer, base, child)


def flip(path: Path) -> None:
    """Change one bit of a file, and neither its size nor its times."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest_twisted.ensureDeferred
async def test_a_whole_store(tmp_path: Path) -> None:
    """Nothing is told but what was looked at; a layer's file is read once, whatever stands on it."""
    async with opened(tmp_path) as house:
        assert await house.is_whole()

        sizes = [path.stat().st_size for path in tmp_path.glob("objects/*/*")]
        expected = (2, len(sizes), 2)
        assert expected == (house.report.images, house.report.objects, house.report.layers)
        assert 2 * sum(sizes) == house.report.bytes
        assert not house.report.damaged


def cut(path: Path) -> None:
    """Keep two bytes of a file."""
    os.truncate(path, 2)


def make_unreadable(path: Path) -> None:
    """Put a directory where a file was, which cannot be read even by root."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, make_unreadable])
@pytest_twisted.ensureDeferred
async def test_an_object_comes_back_from_a_layer(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Whatever happened to it, and although the image's layers are two."""
    async with opened(tmp_path) as house:
        path = await house.object(house.child, b"/usr/copied")
        damage(path)
        lines = await house.verify()

        assert 1 == len(lines)
        assert lines[0].startswith(f"repaired: object {path.parent.name}{path.name} (")
        assert b"copied\n" == path.read_bytes()
        assert await house.is_whole()


@pytest.mark.parametrize("damage", [flip, Path.unlink])
@pytest_twisted.ensureDeferred
async def test_a_lost_object(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Where the layer's file is damaged too, the object is lost, the images are named, and no wrong file stays."""
    async with opened(tmp_path) as house:
        path = await house.object(house.child, b"/usr/copied")
        damage(path)
        flip(await house.tree(house.base) / "usr/copied")
        lines = await house.verify()

        assert house.report.damaged
        assert any("damaged: object" in line and "is lost" in line for line in lines)
        for image in (house.base, house.child):
            assert any(f"image {image.name} can neither be built upon" in line for line in lines)
        assert not path.exists()
        assert await house.verify()
        assert house.report.damaged


@pytest_twisted.ensureDeferred
async def test_a_damaged_object_of_no_image(tmp_path: Path) -> None:
    """It is removed; a whole one stays, for the collector to judge."""
    async with opened(tmp_path) as house:
        damaged = house.parts.objects.path(house.parts.put(b"damaged").object)
        whole = house.parts.objects.path(house.parts.put(b"whole").object)
        flip(damaged)
        lines = await house.verify()

        assert 1 == len(lines)
        assert "needed by no image: removed" in lines[0]
        assert not damaged.exists()
        assert whole.exists()
        assert await house.is_whole()


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_read_is_not_removed(tmp_path: Path) -> None:
    """It is no proof of damage: an object stays as it is, needed or not, and is told each time."""
    async with opened(tmp_path) as house:
        needed = await house.object(house.child, b"/usr/copied")
        useless = house.parts.objects.path(house.parts.put(b"useless").object)
        for path in (needed, useless):
            make_unreadable(path)
        flip(await house.tree(house.base) / "usr/copied")
        lines = await house.verify()

        assert any("is needed by no image and cannot be read: not a regular file" in line for line in lines)
        assert any("is lost: not a regular file, and no layer has it" in line for line in lines)
        assert needed.is_dir()
        assert useless.is_dir()
        assert house.report.damaged


@pytest_twisted.ensureDeferred
async def test_an_object_that_cannot_be_written(tmp_path: Path) -> None:
    """A layer that has it stays, damaged or not, and the next check, with the way free, brings it back."""
    async with opened(tmp_path) as house:
        path = await house.object(house.child, b"/usr/copied")
        flip(await house.tree(house.base) / "etc/base")
        path.unlink()
        path.parent.rename(tmp_path / "folder")
        path.parent.touch()
        await house.verify()
        damaged = house.report.damaged
        path.parent.unlink()
        (tmp_path / "folder").rename(path.parent)
        await house.verify()

        assert (True, False) == (damaged, house.report.damaged)
        assert b"copied\n" == path.read_bytes()


@pytest_twisted.ensureDeferred
async def test_a_damaged_catalogue(tmp_path: Path) -> None:
    """Nothing else is looked at, and nothing is removed for not being named in it."""
    async with opened(tmp_path) as house:
        with closing(sqlite3.connect(tmp_path / "catalogue.sqlite")) as connection, connection:
            connection.execute("INSERT INTO layers VALUES (99, 0, 'no layer')")
        (tmp_path / "layers/unnamed/tree").mkdir(parents=True)
        lines = await house.verify()

        assert ["damaged: catalogue.sqlite: a row of layers refers to nothing; nothing else was looked at"] == lines
        assert (tmp_path / "layers/unnamed").exists()
        assert house.report.damaged


@pytest_twisted.ensureDeferred
async def test_layers_that_cannot_be_mounted(tmp_path: Path) -> None:
    """They are told and stay, since the reason may be another than damage."""
    async with opened(tmp_path) as house:
        below, above = await house.layer(house.base), await house.layer(house.child)
        change = "UPDATE layers SET layer = ? WHERE layer = ?"  # overlayfs refuses one directory twice
        await house.parts.catalogue.write(lambda connection: connection.execute(change, (below, above)))
        lines = await house.verify()

        assert lines[0].startswith(f"damaged: the layers of image {house.child.name} cannot be looked at: mount")
        assert (tmp_path / "layers" / below).exists()


def _set_attribute(tree: Path) -> None:
    os.setxattr(tree / "usr/copied", "user.more", b"1")


def _unlink_one_name(tree: Path) -> None:
    content = (tree / "usr/a").read_bytes()
    status = (tree / "usr/a").stat()
    directory = (tree / "usr").stat()
    (tree / "usr/a").unlink()
    (tree / "usr/a").write_bytes(content)
    os.chmod(tree / "usr/a", status.st_mode & 0o7777)
    os.utime(tree / "usr/a", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.utime(tree / "usr", ns=(directory.st_atime_ns, directory.st_mtime_ns))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "extra": lambda tree: (tree / "usr/extra").write_text("extra"),
    "missing": lambda tree: (tree / "usr/copied").unlink(),
    "mode": lambda tree: (tree / "usr/copied").chmod(0o600),
    "owner": lambda tree: os.chown(tree / "usr/copied", 1, -1),
    "group": lambda tree: os.chown(tree / "usr/copied", -1, 1),
    "mtime": lambda tree: os.utime(tree / "usr/copied", ns=(0, 1)),
    "directory": lambda tree: os.utime(tree / "etc", ns=(0, 1)),
    "root": lambda tree: tree.chmod(0o700),
    "attribute": _set_attribute,
    "content": lambda tree: flip(tree / "usr/copied"),
    "links": _unlink_one_name,
    "computed": lambda tree: (tree / "etc/resolv").write_text("computed"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest_twisted.ensureDeferred
async def test_a_damaged_layer(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    """It is told, removed, and made again from objects when a build needs it."""
    async with opened(tmp_path) as house:
        layer = await house.layer(house.base)
        damage(house.packer.layers.path(layer))
        lines = await house.verify()

        assert lines
        assert lines[0].startswith(f"repaired: layer {layer} was damaged")
        assert not (tmp_path / "layers" / layer).exists()
        assert not house.report.damaged
        assert await house.is_whole()


@pytest_twisted.ensureDeferred
async def test_damage_is_blamed_on_the_layer_that_shows_it(tmp_path: Path) -> None:
    """The layer beneath, which is as it was, stays."""
    async with opened(tmp_path) as house:
        above, below = await house.layer(house.child), await house.layer(house.base)
        (await house.tree(house.child) / "etc/extra").write_text("extra")
        lines = await house.verify()

        assert 1 == len(lines)
        assert lines[0].startswith(f"repaired: layer {above} ")
        assert (tmp_path / "layers" / below).exists()
        assert not (tmp_path / "layers" / above).exists()


@pytest_twisted.ensureDeferred
async def test_a_missing_layer(tmp_path: Path) -> None:
    """It is told once, whoever needs it, and is no damage: it is a cache."""
    async with opened(tmp_path) as house:
        layer = await house.layer(house.base)
        shutil.rmtree(await house.tree(house.base))
        lines = await house.verify()

        assert 1 == len(lines)
        assert lines[0].startswith(f"repaired: layer {layer} is missing")
        assert not house.report.damaged


async def _spoil(house: House, node: bytes, data: bytes | None) -> None:
    """Write other bytes into a node's row, or delete it."""
    change = "DELETE FROM nodes WHERE id = ?" if data is None else "UPDATE nodes SET data = ? WHERE id = ?"
    values = (node,) if data is None else (data, node)
    await house.parts.catalogue.write(lambda connection: connection.execute(change, values))


@pytest.mark.parametrize("data", [None, b"rubbish", bytes.fromhex("9190")], ids=["gone", "rubbish", "another"])
@pytest_twisted.ensureDeferred
async def test_a_node_comes_back_from_the_layers(tmp_path: Path, data: bytes | None) -> None:
    """What they show gives the same id, so that it is the same node; those of the directories below come along."""
    async with opened(tmp_path) as house:
        for node in [await house.node(house.child, path) for path in (b"/usr", b"/usr/deep")]:
            await _spoil(house, node, data)
        lines = await house.verify()

        assert [f"repaired: directory '/usr' of image {house.child.name} was restored from its layers"] == lines
        assert await house.is_whole()


@pytest.mark.parametrize("data", [None, b"rubbish"], ids=["gone", "rubbish"])
@pytest_twisted.ensureDeferred
async def test_a_lost_node(tmp_path: Path, data: bytes | None) -> None:
    """The directory and every image that has it are named; a row that holds something else goes."""
    async with opened(tmp_path) as house:
        node = await house.node(house.base, b"/etc")
        await _spoil(house, node, data)
        lines = await house.verify()
        count = "SELECT count(*) FROM nodes WHERE id = ?"
        rows = await house.parts.catalogue.read(lambda connection: connection.execute(count, (node,)).fetchone())

        assert 1 == len(lines)
        assert lines[0].startswith(f"damaged: directory '/etc' of image {house.base.name} is lost")
        assert (0,) == rows
        assert house.report.damaged


@pytest_twisted.ensureDeferred
async def test_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    """The image is named, and the other one is checked all the same."""
    async with opened(tmp_path) as house:
        change = "UPDATE images SET record = ? WHERE name = ?"
        values = (b"rubbish", house.base.name)
        await house.parts.catalogue.write(lambda connection: connection.execute(change, values))
        lines = await house.verify()

        assert [f"damaged: image {house.base.name} is lost: its record cannot be read"] == lines


@pytest_twisted.ensureDeferred
async def test_leftovers_of_a_killed_daemon(tmp_path: Path) -> None:
    """Workspaces, half-made objects and layers that no image got are removed, and are no damage."""
    async with opened(tmp_path) as house:
        (tmp_path / "builds/01BUILD/upper/etc").mkdir(parents=True)
        (tmp_path / "layers/restore-abc/upper").mkdir(parents=True)
        (tmp_path / "layers/0123456789/tree").mkdir(parents=True)
        for name in (".gone", ".new-123"):
            (tmp_path / "objects" / name).write_text("half")
        lines = await house.verify()

        names = ("builds/01BUILD", "layers/0123456789", "layers/restore-abc", "objects/.gone", "objects/.new-123")
        assert [f"leftover: {name} was removed" for name in names] == lines
        assert not house.report.damaged
        assert await house.is_whole()
