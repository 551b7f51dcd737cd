"""Layers: adopted, found, and restored where they are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from imaginator.model.image import Image
from imaginator.model.tree import Inode, Kind
from imaginator.store.layers import DEEPEST, Entries, Layers
from tests.support.store_parts import Forest, StoreParts, draft, never, running_store


@pytest_twisted.ensureDeferred
async def test_missing_layers_are_restored_once_for_all_who_ask(tmp_path: Path) -> None:
    """Two builds that ask at once get the same flat layer; the one that asks later finds it."""
    restored: list[Entries] = []

    async def restore(entries: Entries, directory: Path) -> tuple[Path, int]:
        restored.append(entries)
        directory.mkdir()
        (directory / "upper").mkdir()
        return directory / "upper", 0

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
    async with running_store(tmp_path) as parts:
        layers = Layers(tmp_path / "layers", parts.catalogue, parts.store.nodes(), parts.workers, never)
        ids = []
        for name in ("bottom", "top"):
            (tmp_path / name).mkdir()
            async with layers.adopted(tmp_path / name) as layer:
                ids.append(layer)
        forest = Forest()
        root = forest.plant({b"/": Inode(Kind.DIRECTORY, 0o755)})
        image = await parts.store.add(draft("s", root), forest.nodes, ids)

        assert (tuple(ids), (layers.path(ids[1]), layers.path(ids[0]))) == await layers.lowers(image)


class Shelves:
    """Layers with a limit, whose restores are counted; images of one empty directory."""

    def __init__(self, parts: StoreParts, limit: int) -> None:
        self.parts = parts
        self.restored = 0
        directory = parts.directory / "layers"
        self.layers = Layers(directory, parts.catalogue, parts.store.nodes(), parts.workers, self.restore, limit)

    async def restore(self, entries: Entries, directory: Path) -> tuple[Path, int]:
        """An empty tree, said to be of 100 bytes."""
        self.restored += 1
        (directory / "upper").mkdir(parents=True)
        return directory / "upper", 100

    async def adopt(self, size: int) -> str:
        """A layer of some bytes."""
        (self.parts.directory / "fresh").mkdir()
        async with self.layers.adopted(self.parts.directory / "fresh", size) as layer:
            return layer

    async def image(self, *layers: str) -> Image:
        """An image with these layers."""
        forest = Forest()
        root = forest.plant({b"/": Inode(Kind.DIRECTORY, 0o755)})
        return await self.parts.store.add(draft("s", root), forest.nodes, layers)

    def age(self, layer: str, seconds: int) -> None:
        """Let a layer have been used some seconds ago."""
        time = self.layers.path(layer).stat().st_mtime - seconds
        os.utime(self.layers.path(layer).parent, (time, time))

    def present(self) -> set[str]:
        """The layers on the disk."""
        return {path.name for path in (self.parts.directory / "layers").iterdir()}


@pytest_twisted.ensureDeferred
async def test_layers_used_longest_ago_go_first(tmp_path: Path) -> None:
    """Past the limit, but not what a build stands on; what is needed again is restored."""
    async with running_store(tmp_path) as parts:
        shelves = Shelves(parts, 250)
        old, older = await shelves.adopt(100), await shelves.adopt(100)
        shelves.age(old, 10)
        shelves.age(older, 20)
        image = await shelves.image(older)
        async with shelves.layers.lent(image) as (ids, paths):
            shelves.age(older, 20)
            newest = await shelves.adopt(100)
            assert (older,) == ids
            assert {older, newest} == shelves.present()
            assert paths[0].is_dir()
        shelves.age(older, 20)
        await shelves.adopt(100)
        assert older not in shelves.present()

        async with shelves.layers.lent(image) as (ids, paths):
            assert (older,) != ids
            assert paths[0].is_dir()
        assert 1 == shelves.restored


@pytest_twisted.ensureDeferred
async def test_room_is_made_whatever_the_limit(tmp_path: Path) -> None:
    """As many bytes as are wanted, by the layers used longest ago that no build stands on."""
    async with running_store(tmp_path) as parts:
        shelves = Shelves(parts, 0)
        layers = [await shelves.adopt(100) for _ in range(4)]
        for number, layer in enumerate(layers):
            shelves.age(layer, 40 - number)
        image = await shelves.image(layers[0])
        async with shelves.layers.lent(image):
            shelves.age(layers[0], 50)
            await shelves.layers.trim(150)
            assert {layers[0], layers[3]} == shelves.present()
        await shelves.layers.trim(1 << 60)

        assert set() == shelves.present()


@pytest_twisted.ensureDeferred
async def test_without_a_limit_all_stay(tmp_path: Path) -> None:
    """Whatever their size."""
    async with running_store(tmp_path) as parts:
        shelves = Shelves(parts, 0)
        layers = {await shelves.adopt(1 << 60) for _ in range(3)}

        assert layers == shelves.present()


@pytest_twisted.ensureDeferred
async def test_a_chain_that_is_too_long_becomes_one_layer(tmp_path: Path) -> None:
    """The image gets a flat layer, once; one at the limit keeps its chain."""
    async with running_store(tmp_path) as parts:
        shelves = Shelves(parts, 0)
        layers = [await shelves.adopt(1) for _ in range(DEEPEST + 1)]
        long, just = await shelves.image(*layers), await shelves.image(*layers[1:])
        flat, _ = await shelves.layers.lowers(long)

        assert 1 == len(flat)
        assert (flat, 1) == ((await shelves.layers.lowers(long))[0], shelves.restored)
        assert tuple(layers[1:]) == (await shelves.layers.lowers(just))[0]


@pytest_twisted.ensureDeferred
async def test_leftovers_are_told(tmp_path: Path) -> None:
    """Trees that were on their way to become layers or to be removed, but no layer."""
    async with running_store(tmp_path) as parts:
        shelves = Shelves(parts, 0)
        await shelves.adopt(1)
        for name in ("restore-abc", ".gone-abc"):
            (tmp_path / "layers" / name).mkdir()

        assert {"restore-abc", ".gone-abc"} == {path.name for path in shelves.layers.leftovers()}


@pytest_twisted.ensureDeferred
async def test_a_layer_too_deep_to_be_walked_is_out_of_the_way(tmp_path: Path) -> None:
    """It is no layer any more when it was collected; what is left of it is removed at the next start."""
    async with running_store(tmp_path) as parts:
        shelves = Shelves(parts, 0)
        (tmp_path / "fresh").mkdir()
        deepen = "i=0; while [ $i -lt 1500 ]; do mkdir d; cd -P d; i=$((i + 1)); done"
        subprocess.run(["sh", "-ec", deepen], cwd=tmp_path / "fresh", check=True)
        try:
            async with shelves.layers.adopted(tmp_path / "fresh", 0) as layer:
                pass
            await shelves.layers.collect()
            left = [path.name for path in shelves.layers.leftovers()]
        finally:
            subprocess.run(["rm", "-rf", tmp_path / "fresh", tmp_path / "layers"], check=True)

        assert [f".gone-{layer}"] == left


@pytest_twisted.ensureDeferred
async def test_set_id_files_of_a_layer_are_out_of_reach() -> None:
    """Another user of the host cannot run one, even where the state directory lets everybody in."""
    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        state.chmod(0o755)
        async with running_store(state) as parts:
            shelves = Shelves(parts, 0)
            (state / "fresh").mkdir()
            shutil.copy("/bin/busybox", state / "fresh/su")
            (state / "fresh/su").chmod(0o4755)
            async with shelves.layers.adopted(state / "fresh", 0) as layer:
                program = shelves.layers.path(layer) / "su"

        for user, reached in ((0, True), (65534, False)):
            look = ["setpriv", f"--reuid={user}", "--clear-groups", "test", "-x", str(program)]
            assert reached == (subprocess.run(look, check=False).returncode == 0)
