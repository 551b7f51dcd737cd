"""Layers: adopted, found, and restored where they are missing."""

from __future__ import annotations

from pathlib import Path

import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from imaginator.model.tree import Inode, Kind
from imaginator.store.layers import Entries, Layers
from tests.support.store_parts import Forest, draft, running_store


@pytest_twisted.ensureDeferred
async def test_missing_layers_are_restored_once_for_all_who_ask(tmp_path: Path) -> None:
    """Two builds that ask at once get the same flat layer; the one that asks later finds it."""
    restored: list[Entries] = []

    async def restore(entries: Entries, directory: Path) -> Path:
        restored.append(entries)
        directory.mkdir()
        (directory / "upper").mkdir()
        return directory / "upper"

    async with running_store(tmp_path) as parts:
        layers = Layers(tmp_path / "layers", parts.catalogue, parts.store.nodes(), parts.workers, restore)
        forest = Forest()
        root = forest.plant({b"/": Inode(Kind.DIRECTORY, 0o755)})
        image = await parts.store.add(draft("s", root), forest.nodes, ["lost"])
        asked = [Deferred.fromCoroutine(layers.lowers(image)) for _ in range(2)]
        one, two = await gatherResults(asked)

        assert one == two == await layers.lowers(image)
        assert [[(b"/", root.inode)]] == restored
        assert one[1][0].is_dir()


@pytest_twisted.ensureDeferred
async def test_lowers_are_topmost_first(tmp_path: Path) -> None:
    """Ids come bottom first, directories as overlayfs wants them."""

    async def never(entries: Entries, directory: Path) -> Path:
        raise AssertionError(entries, directory)

    async with running_store(tmp_path) as parts:
        layers = Layers(tmp_path / "layers", parts.catalogue, parts.store.nodes(), parts.workers, never)
        ids = []
        for name in ("bottom", "top"):
            (tmp_path / name).mkdir()
            ids.append(await layers.adopt(tmp_path / name))
        forest = Forest()
        root = forest.plant({b"/": Inode(Kind.DIRECTORY, 0o755)})
        image = await parts.store.add(draft("s", root), forest.nodes, ids)

        assert (tuple(ids), (layers.path(ids[1]), layers.path(ids[0]))) == await layers.lowers(image)
