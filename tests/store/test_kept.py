"""Kept trees: how many there are, which go first, and what a start makes of what it finds."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_twisted

from imaginator.model.errors import NotFound, Refused
from imaginator.sandbox.limits import Limits
from imaginator.store.kept import MOST, Kept, KeptTree
from imaginator.store.layers import Layers
from tests.support.real_reactor import reactor
from tests.support.store_parts import never, running_store

MEBIBYTE = 1 << 20


class Trees:
    """The kept trees below ``folder``, over layers of which ``layer`` is one."""

    def __init__(self, folder: Path, layers: Layers) -> None:
        self.folder = folder
        self.layers = layers
        self.kept = self.again()
        self.layer = ""

    def again(self) -> Kept:
        """The same for the daemon's next start."""
        return Kept(self.folder / "kept", self.layers, reactor)

    def tree(self, number: int, until: datetime | None = None, **fields: Any) -> KeptTree:
        """What is known of a tree, for an hour."""
        known: dict[str, Any] = {
            "build_id": f"BUILD-{number:02}",
            "stream_name": "web",
            "until": until or self.kept.now() + timedelta(hours=1),
            "layers": (self.layer,) if self.layer else (),
            "environment": {"A": "1"},
            "network": True,
            "limits": Limits(),
        }
        return KeptTree(**{**known, **fields})

    async def keep(self, number: int, until: datetime | None = None, size: int = 0) -> KeptTree:
        """Keep a tree with a file of this size, and one that says its number."""
        tree = self.tree(number, until)
        workspace = self.folder / "workspace"
        (workspace / "upper").mkdir(parents=True)
        (workspace / "upper/number").write_text(str(number))
        (workspace / "upper/large").write_bytes(bytes(size))
        await self.kept.keep(tree, workspace)
        return tree

    @property
    def names(self) -> list[str]:
        """What there is on the disk."""
        return sorted(path.name for path in (self.folder / "kept").iterdir())


@asynccontextmanager
async def trees_in(folder: Path) -> AsyncIterator[Trees]:
    """No trees yet."""
    async with running_store(folder) as parts:
        layers = Layers(folder / "layers", parts.catalogue, parts.store.nodes(), parts.workers, never)
        trees = Trees(folder, layers)
        (folder / "tree").mkdir()
        async with layers.adopted(folder / "tree") as trees.layer:
            pass
        yield trees


async def close(_reason: str) -> None:
    """End a use."""


@pytest_twisted.ensureDeferred
async def test_there_are_at_most_ten(tmp_path: Path) -> None:
    """For one more the oldest goes that nobody uses; where all are used it is not kept, unless the disk needs room."""
    async with trees_in(tmp_path) as trees:
        told: list[tuple[str, bool]] = []

        async def tell(reason: str) -> None:
            told.append((reason, "BUILD-00" in trees.names))

        for number in range(MOST):
            await trees.keep(number)
        trees.kept.lend("BUILD-00", tell)
        await trees.keep(MOST)
        after_one_more = trees.names
        for name in after_one_more[1:]:
            trees.kept.lend(name, close)
        with pytest.raises(OSError, match=f"somebody works in each of the {MOST} that there may be"):
            await trees.keep(MOST + 1)
        while_all_are_used = trees.names
        await trees.kept.trim()

        assert ["BUILD-00", *(f"BUILD-{number:02}" for number in range(2, MOST + 1))] == after_one_more
        assert after_one_more == while_all_are_used
        assert after_one_more[1:] == trees.names
        assert [("the tree is removed: its place is needed", True)] == told


@pytest_twisted.ensureDeferred
async def test_one_user_at_a_time(tmp_path: Path) -> None:
    """Who comes second is refused; whoever has it is told when its time is over, before it goes."""
    async with trees_in(tmp_path) as trees:
        seen: list[tuple[str, list[str]]] = []

        async def tell(reason: str) -> None:
            seen.append((reason, trees.names))

        tree = await trees.keep(1, trees.kept.now() + timedelta(seconds=0.5))
        lent, workspace = trees.kept.lend(tree.build_id, tell)
        with pytest.raises(Refused, match="somebody works in the tree of build BUILD-01 already"):
            trees.kept.lend(tree.build_id, close)
        while trees.kept.until(tree.build_id):
            await trees.kept.expire()

        assert (tree, (trees.layers.path(trees.layer),)) == (lent, workspace.lowers)
        assert [("the tree is removed: its time is over", ["BUILD-01"])] == seen
        assert [] == trees.names
        with pytest.raises(NotFound, match="the tree of build BUILD-01 is not kept"):
            trees.kept.get(tree.build_id)


@pytest_twisted.ensureDeferred
async def test_a_tree_holds_its_layers(tmp_path: Path) -> None:
    """They stay while it does, in the next daemon too, and can go afterwards."""
    async with trees_in(tmp_path) as trees:
        await trees.keep(1)
        place = trees.layers.path(trees.layer)
        await trees.layers.collect()
        while_kept = place.exists()
        await trees.kept.trim()
        await trees.layers.collect()

        assert (True, False) == (while_kept, place.exists())


@pytest_twisted.ensureDeferred
async def test_a_build_that_fails_once_more(tmp_path: Path) -> None:
    """Its second tree takes the place of the first one."""
    async with trees_in(tmp_path) as trees:
        await trees.keep(1, size=5)
        (tmp_path / "kept/BUILD-01/upper/old").touch()
        await trees.keep(1)

        assert ["BUILD-01"] == trees.names
        assert not (tmp_path / "kept/BUILD-01/upper/old").exists()


@pytest_twisted.ensureDeferred
async def test_one_that_was_removed_by_hand(tmp_path: Path) -> None:
    """It is no trouble for the others, and its layers are free."""
    async with trees_in(tmp_path) as trees:
        await trees.keep(1)
        await trees.keep(2)
        subprocess.run(["rm", "-rf", str(tmp_path / "kept/BUILD-01")], check=True)
        while await trees.kept.trim():
            pass
        await trees.layers.collect()

        assert [] == trees.names
        assert not trees.layers.path(trees.layer).exists()


@pytest_twisted.ensureDeferred
async def test_what_a_start_finds(tmp_path: Path) -> None:
    """What is whole is there again; the rest, half of one, another's, one of yesterday or without its layer, goes."""
    async with trees_in(tmp_path) as trees:
        good = await trees.keep(1)
        bootstrap = msgspec.structs.replace(await trees.keep(2), layers=())
        for number in range(3, 9):
            await trees.keep(number)
        kept = tmp_path / "kept"
        (kept / "BUILD-02/kept.json").write_bytes(msgspec.json.encode(bootstrap))
        (kept / "BUILD-03/kept.json").unlink()
        (kept / "BUILD-04/kept.json").write_bytes(b'{"build_id": "BUILD-04"')
        (kept / "BUILD-05/kept.json").write_bytes(msgspec.json.encode(good))
        past = trees.kept.now() - timedelta(days=1)
        (kept / "BUILD-06/kept.json").write_bytes(msgspec.json.encode(trees.tree(6, past)))
        lost = trees.tree(7, layers=(trees.layer, "lost"))
        (kept / "BUILD-07/kept.json").write_bytes(msgspec.json.encode(lost))
        (kept / "BUILD-08").rename(kept / ".gone-BUILD-08")
        (kept / "file").touch()
        again = trees.again()
        await again.load()

        assert ["BUILD-01", "BUILD-02"] == trees.names
        assert (good, bootstrap) == (again.get("BUILD-01"), again.get("BUILD-02"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few mebibytes."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest_twisted.ensureDeferred
async def test_room_is_made(small_disk: Path) -> None:
    """As many of the oldest go as it takes, and no more; nothing is there to go at last."""
    async with trees_in(small_disk) as trees:
        for number in range(4):
            await trees.keep(number, size=2 * MEBIBYTE)
        await trees.kept.make_room(3 * MEBIBYTE)
        left = trees.names
        await trees.kept.make_room(64 * MEBIBYTE)

        assert ["BUILD-02", "BUILD-03"] == left
        assert [] == trees.names
