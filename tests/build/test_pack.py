"""Packing in the real sandbox: layers, merged, equal the image restored from objects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest_twisted

from imaginator.build.pack import Packed, Packing, pack
from imaginator.model.image import Image
from imaginator.model.tree import Inode, walk
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from imaginator.store.layers import Layers
from imaginator.store.merkle import Rules
from imaginator.store.restoring import Restorer
from tests.support.real_reactor import reactor
from tests.support.store_parts import StoreParts, draft, running_store


class Packer:
    """Builds by writing into trees, and packs them."""

    def __init__(self, parts: StoreParts) -> None:
        self.parts = parts
        restorer = Restorer(reactor, parts.objects.directory)
        self.layers = Layers(parts.directory / "layers", parts.catalogue, parts.store.nodes(), parts.workers, restorer)
        self.packing = Packing(parts.workers, parts.store.nodes(), parts.objects.directory)

    async def build(self, source: Image | None, script: str, rules: Rules) -> tuple[Image, Packed]:
        """An image of what ``script`` (sh, in the tree's directory of the host) makes over ``source``."""
        ids, lowers = await self.layers.lowers(source) if source else ((), ())
        workspace = Workspace(self.parts.directory / f"build{len(list(self.parts.directory.iterdir()))}", lowers)
        sandbox = await Sandbox.open(reactor, workspace, Profile.BOOTSTRAP, Limits(0, 0))
        try:
            child = sandbox.run(["sh", "-ec", script], {"PATH": os.environ["PATH"]}, network=False, output=print)
            assert (await child.wait()).ok
            packed = await pack(self.packing, sandbox.tree, source, rules)
        finally:
            await sandbox.close()
        layer = await self.layers.adopt(workspace.upper)
        made = draft("s", packed.merged.root, links=packed.merged.links, figures=packed.figures)
        return await self.parts.store.add(made, packed.merged.nodes, [*ids, layer]), packed

    async def mounted(self, image: Image) -> dict[bytes, Inode]:
        """The tree that a build over ``image`` would see, objects included."""
        _, lowers = await self.layers.lowers(image)
        directory = self.parts.directory / f"look{len(list(self.parts.directory.iterdir()))}"
        sandbox = await Sandbox.open(reactor, Workspace(directory, lowers), Profile.MANIFEST, Limits(0, 0))
        try:
            found = await sandbox.tree.survey()
        finally:
            await sandbox.close()
        return {change.path: change.inode for change in found if change.inode is not None}

    async def described(self, image: Image) -> dict[bytes, Inode]:
        """The tree as its nodes say."""
        nodes = self.parts.store.nodes()
        return await self.parts.workers.run(lambda: {path: entry.inode for path, entry in walk(image.root, nodes)})


def seen(tree: dict[bytes, Inode]) -> dict[bytes, tuple[object, ...]]:
    """What of each inode can be seen in a mounted tree; the root is the new upper's own directory."""
    return {
        path: (i.kind, i.mode, i.uid, i.gid, i.mtime, i.size, i.target, i.device)
        for path, i in tree.items()
        if path != b"/"
    }


@pytest_twisted.ensureDeferred
async def test_layers_equal_the_image(tmp_path: Path) -> None:
    """Deletions, filters, links and modes: a build over the image sees what its metadata say, restored or not."""
    async with running_store(tmp_path) as parts:
        packer = Packer(parts)
        first = "mkdir d tmp; echo a > d/a; ln d/a d/b; ln d/a c; echo f > f; echo x > tmp/x; mkdir doc; echo y > doc/y"
        base, _ = await packer.build(None, first, Rules())
        second = "rm d/a; echo more >> c; chmod 600 f; mkdir e; echo new > e/n; rm -r d; mkdir d; echo z > d/z"
        rules = Rules(left_out=lambda path: path.startswith(b"/doc"))
        image, packed = await packer.build(base, second, rules)

        described = await packer.described(image)
        assert {b"/", b"/tmp", b"/c", b"/d", b"/d/z", b"/e", b"/e/n", b"/f"} == described.keys()
        assert seen(described) == seen(await packer.mounted(image))
        assert (3, 1) == (packed.figures.objects_new, packed.figures.objects_known)
        for layer in (tmp_path / "layers").iterdir():
            layer.rename(tmp_path / f"lost-{layer.name}")
        assert seen(described) == seen(await packer.mounted(image))
