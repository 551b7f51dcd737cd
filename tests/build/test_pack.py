"""Packing in the real sandbox: layers, merged, equal the image restored from objects."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.build.pack import Packed, Packing, pack
from imaginator.build.proof import Prover
from imaginator.model.errors import StoreCorrupt
from imaginator.model.image import Image
from imaginator.model.tree import Inode, walk
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from imaginator.store.interface import Hold
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
        means = parts.workers, parts.store.nodes(), parts.objects.directory
        self.prover = Prover(*means)
        self.packing = Packing(*means, self.prover)

    async def build(self, source: Image | None, script: str, rules: Rules) -> tuple[Image, Packed]:
        """An image of what ``script`` (sh, in the tree's directory of the host) makes over ``source``."""
        with self.parts.store.hold() as hold:
            if source is not None:
                await hold.image(source)
            return await self._build(source, script, rules, hold)

    async def _build(self, source: Image | None, script: str, rules: Rules, hold: Hold) -> tuple[Image, Packed]:
        ids, lowers = await self.layers.lowers(source) if source else ((), ())
        workspace = Workspace(self.parts.directory / f"build{len(list(self.parts.directory.iterdir()))}", lowers)
        sandbox = await Sandbox.open(reactor, workspace, Profile.BOOTSTRAP, Limits(0, 0))
        try:
            child = sandbox.run(["sh", "-ec", script], {"PATH": os.environ["PATH"]}, network=False, output=print)
            assert (await child.wait()).ok
            packed = await pack(self.packing._replace(hold=hold), sandbox.tree, source, rules)
        finally:
            await sandbox.close()
        await self.prove(workspace, packed)
        made = draft("s", packed.merged.root, links=packed.merged.links, figures=packed.figures)
        async with self.layers.adopted(workspace.upper) as layer:
            return await self.parts.store.add(made, packed.merged.nodes, [*ids, layer]), packed

    async def prove(self, built: Workspace, packed: Packed) -> None:
        """Let a build over the finished upper tell whether it shows the image."""
        workspace = Workspace(
            built.directory / f"proof{len(os.listdir(built.directory))}", (built.upper, *built.lowers)
        )
        sandbox = await Sandbox.open(reactor, workspace, Profile.MANIFEST, Limits(0, 0))
        try:
            await self.prover.check_layers(sandbox.tree, packed.merged)
        finally:
            await sandbox.close()

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
        path: (i.kind, i.mode, i.uid, i.gid, i.mtime, i.size, i.target, i.device, i.attributes)
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


@pytest_twisted.ensureDeferred
async def test_unchanged_files_get_the_previous_image_s_times(tmp_path: Path) -> None:
    """A rebuilt source has newer files; the image keeps the times that its stream had, and so does its layer."""
    async with running_store(tmp_path) as parts:
        packer = Packer(parts)
        files = "mkdir d; echo a > d/a; ln d/a b; echo c > c; mkfifo p; ln -s c l; touch -hd @{0} d/a c p l d ."
        old, _ = await packer.build(None, files.format(1000), Rules())
        rebuilt, _ = await packer.build(None, f"{files.format(2000)}; touch d/new", Rules())
        rules = Rules(previous=old.root, keep_new_time=lambda path: path == b"/c")
        image, _ = await packer.build(rebuilt, "echo e > e", rules)

        times = {path: inode.mtime // 10**9 for path, inode in (await packer.described(image)).items()}
        assert (1000, 1000, 1000) == (times[b"/d/a"], times[b"/b"], times[b"/p"])
        assert (2000, 2000) == (times[b"/c"], times[b"/l"])
        assert seen(await packer.described(image)) == seen(await packer.mounted(image))


@pytest_twisted.ensureDeferred
async def test_a_wrong_image_does_not_pass(tmp_path: Path) -> None:
    """A layer that was touched after packing, and an image that is not what was built, are told path by path."""
    async with running_store(tmp_path) as parts:
        packer = Packer(parts)
        base, _ = await packer.build(None, "echo a > a; echo b > b", Rules())
        _, lowers = await packer.layers.lowers(base)
        workspace = Workspace(tmp_path / "wrong", lowers)
        sandbox = await Sandbox.open(reactor, workspace, Profile.BOOTSTRAP, Limits(0, 0))
        try:
            await sandbox.tree.write(b"/a", b"other")
            packed = await pack(packer.packing, sandbox.tree, base, Rules())
        finally:
            await sandbox.close()
        await packer.prove(workspace, packed)

        (workspace.upper / "a").write_text("wrong")
        with pytest.raises(StoreCorrupt, match=r"differs from its layers: /a: .*, found "):
            await packer.prove(workspace, packed)

        sandbox = await Sandbox.open(reactor, Workspace(tmp_path / "again", lowers), Profile.BOOTSTRAP, Limits(0, 0))
        try:
            with pytest.raises(StoreCorrupt, match=r"differs from the tree that was built: /a: .*"):
                await packer.prover.check_tree(sandbox.tree, packed.merged, Rules())
        finally:
            await sandbox.close()


def default_acl(directory: str) -> str:
    """A command that lets what is made in a directory inherit an access control list (acl(5))."""
    entries = ((1, 7, -1), (2, 5, 1000), (4, 5, -1), (0x10, 5, -1), (0x20, 0, -1))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    program = f'import os; os.setxattr("{directory}", "system.posix_acl_default", bytes.fromhex("{acl.hex()}"))'
    return f"{sys.executable} -c '{program}'"


@pytest_twisted.ensureDeferred
async def test_nothing_is_inherited_where_layers_are_made(tmp_path: Path) -> None:
    """Files of a directory with a default ACL have none of their own, in a layer that is completed or restored."""
    async with running_store(tmp_path) as parts:
        packer = Packer(parts)
        script = "mkdir d d/e; echo a > d/a; ln d/a b; echo c > d/e/c; mkfifo d/p; touch -d @1000 d/a; "
        old, _ = await packer.build(None, script, Rules())
        base, _ = await packer.build(None, script.replace("1000", "2000") + default_acl("d"), Rules())
        image, _ = await packer.build(base, "echo new > f", Rules(previous=old.root))

        described = await packer.described(image)
        assert [b"/d"] == [path for path, inode in described.items() if inode.attributes]
        assert 1000 == described[b"/b"].mtime // 10**9
        for layer in (tmp_path / "layers").iterdir():
            layer.rename(tmp_path / f"lost-{layer.name}")
        assert seen(described) == seen(await packer.mounted(image))


@pytest_twisted.ensureDeferred
async def test_a_file_changed_under_a_name_that_is_gone(tmp_path: Path) -> None:
    """The other names have the change, in image and layer, although the upper holds no name of the file any more."""
    async with running_store(tmp_path) as parts:
        packer = Packer(parts)
        script = "mkdir d tmp; echo a > d/a; ln d/a b; echo c > d/c; ln d/c e; ln d/c f; mkfifo p; ln p d/p"
        base, _ = await packer.build(None, script, Rules())
        change = (
            "chmod 4700 b; rm b; mv e tmp/e; echo more >> tmp/e; chown 7 tmp/e; mkfifo q; ln d/p r; chmod 0 r; rm p r"
        )
        image, _ = await packer.build(base, change, Rules(left_out=lambda path: path == b"/q"))

        described = await packer.described(image)
        assert (0o4700, 7, 0) == (described[b"/d/a"].mode, described[b"/f"].uid, described[b"/d/p"].mode)
        assert (7, b"/d/c", b"/d/c") == (described[b"/f"].size, described[b"/f"].link, described[b"/d/c"].link)
        assert seen(described) == seen(await packer.mounted(image))
