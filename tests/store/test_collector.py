"""Collection: what no image needs goes at once, and nothing that a build or a reader needs, whatever comes between."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from imaginator.model.errors import NotFound, StoreCorrupt
from imaginator.model.image import Image
from imaginator.model.tree import Entry, Inode, Kind
from imaginator.store.collector import Collector
from imaginator.store.holds import Round
from imaginator.store.layers import Layers
from imaginator.store.marking import Marks, reachable
from imaginator.store.merkle import Rules
from imaginator.store.tar import tar_blocks
from tests.build.test_pack import Packer
from tests.store.test_verification import verified
from tests.support.real_reactor import reactor
from tests.support.store_parts import START, Forest, StoreParts, draft, never, running_store

DIRECTORY = Inode(Kind.DIRECTORY, 0o755)


class Yard:
    """A store, its layers, and its collector."""

    def __init__(self, parts: StoreParts, layers: Layers) -> None:
        self.parts = parts
        self.store = parts.store
        self.layers = layers
        self.collector = Collector(
            parts.catalogue, parts.objects.directory, layers, parts.store.holds, parts.workers, lambda: parts.now
        )

    def plant(self, *contents: bytes) -> tuple[Entry, dict[bytes, bytes]]:
        """A tree with a directory for each content, whose objects are kept, and its nodes."""
        forest = Forest()
        tree = {b"/": DIRECTORY}
        for content in contents:
            tree |= {b"/" + content: DIRECTORY, b"/" + content + b"/f": self.parts.put(content)}
        return forest.plant(tree), forest.nodes

    async def image(self, *contents: bytes, layers: Iterable[str] = (), **fields: object) -> Image:
        """An image with these contents."""
        root, nodes = self.plant(*contents)
        return await self.store.add(draft("s", root, **fields), nodes, list(layers))

    def objects(self) -> set[bytes]:
        """The contents of all objects."""
        return {file.read_bytes() for file in self.parts.objects.directory.glob("*/*")}

    async def nodes(self) -> set[bytes]:
        """The ids of all nodes."""
        return await self.parts.catalogue.read(lambda rows: {node for (node,) in rows.execute("SELECT id FROM nodes")})

    async def layer(self) -> str:
        """A layer that no image has got yet."""
        (self.parts.directory / "tree").mkdir()
        async with self.layers.adopted(self.parts.directory / "tree", 0) as layer:
            return layer

    async def unowned(self) -> list[object]:
        """Objects, nodes and layers that no image needs; and those that are needed and not there."""
        rows = await self.parts.catalogue.read(
            lambda found: found.execute("SELECT root FROM images WHERE gone_at IS NULL").fetchall()
        )
        named = await self.parts.catalogue.read(lambda found: found.execute("SELECT layer FROM layers").fetchall())
        nodes, objects = reachable([root for (root,) in rows], self.store.nodes())
        files = {bytes.fromhex(file.parent.name + file.name) for file in self.parts.objects.directory.glob("*/*")}
        layers = {place.name for place in (self.parts.directory / "layers").iterdir()}
        return [*(nodes ^ await self.nodes()), *((objects - {b""}) ^ files), *(layers ^ {name for (name,) in named})]


@asynccontextmanager
async def yard(folder: Path) -> AsyncIterator[Yard]:
    """A yard that is open for one test."""
    async with running_store(folder) as parts:
        layers = Layers(folder / "layers", parts.catalogue, parts.store.nodes(), parts.workers, never)
        yield Yard(parts, layers)


@pytest_twisted.ensureDeferred
async def test_what_only_a_gone_image_needed_goes_with_the_next_round(tmp_path: Path) -> None:
    """Of a deleted image and of one that has expired: objects, nodes and layers; what others share stays."""
    async with yard(tmp_path) as here:
        shared, own, late = [await here.layer() for _ in range(3)]
        await here.image(b"shared", b"kept", layers=[shared])
        deleted = await here.image(b"shared", b"gone", layers=[shared, own])
        await here.image(b"late", layers=[late], expires_at=START + timedelta(hours=1))
        await here.collector.run()
        assert {b"shared", b"kept", b"gone", b"late"} == here.objects()
        await here.store.delete(deleted.name)
        here.parts.later(hours=1)
        await here.collector.run()

        assert {b"shared", b"kept"} == here.objects()
        assert {shared} == {place.name for place in (tmp_path / "layers").iterdir()}
        assert [] == await here.unowned()


@pytest_twisted.ensureDeferred
async def test_what_a_killed_build_left_goes_with_the_first_round(tmp_path: Path) -> None:
    """Objects and layers without an image, however young."""
    async with yard(tmp_path) as here:
        here.plant(b"left")
        await here.layer()
        await here.image(b"kept")
        await here.collector.run()

        assert {b"kept"} == here.objects()
        assert [] == await here.unowned()


@pytest_twisted.ensureDeferred
async def test_files_that_are_no_objects_are_left_alone(tmp_path: Path) -> None:
    """Whoever put them among the objects; they keep no round from its work."""
    async with yard(tmp_path) as here:
        here.plant(b"left")
        [left] = here.parts.objects.directory.glob("*/*")
        for stray in (left.parent / "notes", left.parent.parent / "notes", left.parent.parent / "zz"):
            stray.write_bytes(b"stray")
        await here.collector.run()

        assert [b"stray"] * 3 == [path.read_bytes() for path in left.parent.parent.rglob("*") if path.is_file()]


@pytest.mark.parametrize("end", ["deleted", "expired"])
@pytest_twisted.ensureDeferred
async def test_an_image_that_is_held_stays_whole(tmp_path: Path, end: str) -> None:
    """Nobody finds it any more, but who stands on it can read it and finds its layers, until the hold is closed."""
    async with yard(tmp_path) as here:
        layer = await here.layer()
        image = await here.image(b"text", layers=[layer], expires_at=START + timedelta(hours=1))
        with here.store.hold() as hold:
            await hold.image(image)
            if end == "deleted":
                await here.store.delete(image.name)
            here.parts.later(hours=1)
            await here.collector.run()
            with pytest.raises(NotFound):
                await here.store.get(image.name)
            assert ({b"text"}, (layer,)) == (here.objects(), (await here.layers.lowers(image))[0])
        await here.collector.run()

        assert set() == here.objects() == await here.nodes()
        assert [] == await here.unowned()


@pytest_twisted.ensureDeferred
async def test_an_image_that_went_before_it_was_held(tmp_path: Path) -> None:
    """Whoever found it a moment ago is told in a sentence."""
    async with yard(tmp_path) as here:
        image = await here.image(b"text")
        await here.store.delete(image.name)
        with here.store.hold() as hold, pytest.raises(NotFound, match=f"no such image any more: {image.name}"):
            await hold.image(image)


@pytest_twisted.ensureDeferred
async def test_content_is_held_until_its_image_is_added(tmp_path: Path) -> None:
    """Objects that nobody needs yet; where the build fails instead they go."""
    async with yard(tmp_path) as here:
        for added in (True, False):
            root, nodes = here.plant(b"new", b"text")
            with here.store.hold() as hold:
                hold.content([here.parts.put(content).object for content in (b"new", b"text")])
                await here.collector.run()
                assert {b"new", b"text"} == here.objects()
                if added:
                    image = await here.store.add(draft("s", root), nodes, [])
            await here.collector.run()
            assert ({b"new", b"text"} if added else set()) == here.objects()
            await here.store.delete(image.name) if added else None
            await here.collector.run()


@pytest_twisted.ensureDeferred
async def test_an_image_that_is_added_during_a_round_keeps_what_it_shares_with_a_gone_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round had found that nobody needs it, before the image came, and its hold was closed."""
    async with yard(tmp_path) as here:
        gone = await here.image(b"text", b"other")
        await here.store.delete(gone.name)
        sweep = here.collector._sweep_nodes

        async def add_and_sweep(this: Round, marks: Marks) -> None:
            root, nodes = here.plant(b"text")
            with here.store.hold() as hold:
                hold.content([here.parts.put(b"text").object])
                await here.store.add(draft("t", root), nodes, [])
            await sweep(this, marks)

        monkeypatch.setattr(here.collector, "_sweep_nodes", add_and_sweep)
        await here.collector.run()

        assert {b"text"} == here.objects()
        assert [] == await here.unowned()


@pytest_twisted.ensureDeferred
async def test_a_round_that_was_cancelled_removes_nothing_more(tmp_path: Path) -> None:
    """A thread that is still at it finds that the round is over."""
    async with yard(tmp_path) as here:
        with here.store.holds.round() as this:
            pass
        this.remove(b"digest", lambda: pytest.fail("removed"))

        assert {b"node"} == this.spared([b"node"])


@pytest_twisted.ensureDeferred
async def test_names_of_collected_images_are_not_given_again(tmp_path: Path) -> None:
    """The latest of a stream keeps its name, and nothing else, until there is a later one."""
    async with yard(tmp_path) as here:
        names = []
        for _ in range(3):
            image = await here.image(b"text", tags={"key": "value"})
            names.append(image.name)
            await here.store.delete(image.name)
            await here.collector.run()
        rows = await here.parts.catalogue.read(
            lambda found: found.execute("SELECT name, record, key FROM images LEFT JOIN tags ON image = id").fetchall()
        )

        assert names == sorted(set(names))
        assert [(names[-1], b"", None)] == rows


@pytest_twisted.ensureDeferred
async def test_a_round_without_news_looks_at_nothing(tmp_path: Path) -> None:
    """Where no image went and no hold was closed since the last round, not even what lies around is found."""
    async with yard(tmp_path) as here:
        await here.image(b"text")
        await here.collector.run()
        here.plant(b"left")
        await here.collector.run()
        assert {b"text", b"left"} == here.objects()
        with here.store.hold():
            pass
        await here.collector.run()

        assert {b"text"} == here.objects()


@pytest_twisted.ensureDeferred
async def test_a_node_that_is_missing_ends_every_round(tmp_path: Path) -> None:
    """Nothing is removed where it cannot be told what is needed; nor does the next round take it for done."""
    async with yard(tmp_path) as here:
        await here.image(b"text")
        await here.parts.catalogue.write(lambda found: found.execute("DELETE FROM nodes"))
        for _ in range(2):
            with pytest.raises(StoreCorrupt, match="is missing"):
                await here.collector.run()

        assert {b"text"} == here.objects()


@pytest_twisted.ensureDeferred
async def test_what_is_collected_while_a_build_packs_is_stored_again(tmp_path: Path) -> None:
    """Content that was known when it was hashed, and gone when the build came to hold it."""
    async with running_store(tmp_path) as parts:
        packer = Packer(parts)
        await packer.build(None, "echo same > a; echo other > b", Rules())
        objects = parts.objects.directory

        class Late:
            """A hold that comes when everything has been collected."""

            async def image(self, image: Image) -> None:
                raise AssertionError(image)

            def content(self, ids: Iterable[bytes]) -> None:
                for file in objects.glob("*/*"):
                    file.unlink()

        image, packed = await packer._build(None, "echo same > a; echo new > c", Rules(), Late())

        assert {b"same\n", b"new\n"} == {file.read_bytes() for file in objects.glob("*/*")}
        assert (1, 1) == (packed.figures.objects_new, packed.figures.objects_known)
        assert image == await parts.store.get(image.name)


BUILDERS = 3
BUILDS = 6
CONTENTS = 24
FILES = 12
STAYING = 2


@pytest_twisted.ensureDeferred
async def test_builds_and_collections_at_the_same_time(tmp_path: Path) -> None:
    """Images that share content with ones that go, made and read while the collector never rests: all stays whole."""
    async with running_store(tmp_path) as parts:
        packer = Packer(parts)
        here = Yard(parts, packer.layers)
        working = [True]

        async def collect() -> int:
            rounds = 0
            while working:
                await here.collector.run()
                rounds += 1
            return rounds

        async def build(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(BUILDS):
                source = chance.choice([None, *made])
                with contextlib.suppress(NotFound):  # another build was faster to delete it
                    image, _ = await packer.build(source, script(chance), Rules())
                    made.append(image)
                while len(made) > STAYING:
                    await parts.store.delete(made.pop(chance.randrange(len(made))).name)

        async def read() -> int:
            chance = random.Random(BUILDERS)
            archives = 0
            while working:
                with contextlib.suppress(NotFound, IndexError), parts.store.hold() as hold:
                    image = chance.choice(made)
                    await hold.image(image)
                    await parts.workers.run(lambda image: sum(map(len, tar_blocks(image, parts.store))), image)
                    archives += 1
                await deferLater(reactor, 0.01)
            return archives

        made: list[Image] = []
        others = [Deferred.fromCoroutine(work) for work in (collect(), read())]
        await gatherResults([Deferred.fromCoroutine(build(seed)) for seed in range(BUILDERS)])
        working.clear()
        rounds, archives = await gatherResults(others)
        await here.collector.run()

        assert rounds > BUILDERS * BUILDS
        assert archives > BUILDERS
        assert {image.name for image in made} == {one.name for one in await parts.store.list()}
        assert [] == await here.unowned()
        lines, report = await verified(parts)
        assert ([], True) == (lines, "all is well" in report.summary())


def script(chance: random.Random) -> str:
    """Writes files with contents that other builds have as well, or had."""
    picked = [(name, chance.randrange(CONTENTS)) for name in range(FILES)]
    return "rm -rf d; mkdir d; " + "; ".join(f"echo {content} > d/{name}-{content % 3}" for name, content in picked)
