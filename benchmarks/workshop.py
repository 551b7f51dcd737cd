"""A store without a daemon, for figures about packing, layers and differences."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from imaginator.build.pack import Packing, pack
from imaginator.model.image import Image
from imaginator.model.tree import Entry, Inode, Kind
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from imaginator.service.options import Options
from imaginator.store.catalogue import Catalogue
from imaginator.store.images import EmbeddedStore
from imaginator.store.layers import Layers
from imaginator.store.merkle import Rules
from imaginator.store.objects import Objects
from imaginator.store.restoring import Restorer
from imaginator.store.workers import Workers
from tests.support.base_tree import base_tar, unpack_command

NO_FLAGS_FILES = os.devnull
NO_TREE = Entry(b"", Inode(Kind.DIRECTORY, 0o755))


class Workshop:
    """The store below ``folder``, and layers."""

    def __init__(self, reactor: Any, folder: Path) -> None:
        self.folder = folder
        self._reactor = reactor
        folder.mkdir()
        self.workers = Workers(4, reactor)
        self.catalogue = Catalogue(folder / "catalogue.sqlite", reactor)
        self.store = EmbeddedStore(self.catalogue, Objects(folder / "objects"), self.workers)
        restorer = Restorer(reactor, self.store.objects)
        self.layers = Layers(folder / "layers", self.catalogue, self.store.nodes(), self.workers, restorer)

    @classmethod
    @asynccontextmanager
    async def opened(cls, reactor: Any, folder: Path) -> AsyncIterator[Self]:
        """A workshop whose threads run until the context is left."""
        workshop = cls(reactor, folder)
        services = (workshop.catalogue, workshop.workers)
        for service in services:
            service.startService()
        try:
            yield workshop
        finally:
            for service in reversed(services):
                service.stopService()

    def workspace(self, tree: Path) -> Workspace:
        """A new workspace whose upper is a copy of a tree."""
        workspace = Workspace(self.folder / f"build{len(os.listdir(self.folder))}")
        workspace.directory.mkdir()
        subprocess.run(["cp", "-a", tree, workspace.upper], check=True)
        return workspace

    async def pack(self, workspace: Workspace) -> Image:
        """Make an image of what is in a workspace."""
        sandbox = await Sandbox.open(self._reactor, workspace, Profile.MANIFEST, Limits())
        try:
            packing = Packing(self.workers, self.store.nodes(), self.store.objects)
            packed = await pack(packing, sandbox.tree, None, Rules())
        finally:
            await sandbox.close()
        draft = Image(name="bench", root=packed.merged.root, created_at=datetime.now(UTC), links=packed.merged.links)
        async with self.layers.adopted(workspace.upper, packed.layer_size) as layer:
            return await self.store.add(draft, packed.merged.nodes, [layer])


def run(work: Callable[[Any], Awaitable[None]]) -> None:
    """Run the reactor until ``work``, which is given it, has ended."""
    with contextlib.suppress(SystemExit):
        react(lambda reactor: Deferred.fromCoroutine(work(reactor)))  # type: ignore[arg-type]


def default_limits() -> Limits:
    """What a build may take by the daemon's own flags."""
    options = Options()
    options.parseOptions(["--flags-directory", NO_FLAGS_FILES])
    return Limits(*(options[f"build-{name.replace('_', '-')}"] for name in Limits._fields))


def debian_with_archives(folder: Path) -> Path:
    """A minimal Debian and as many bytes again in a hundred large files: 324 MB."""
    tar, tree = base_tar(folder), folder / "tree"
    tree.mkdir()
    subprocess.run([word.replace("$dir", str(tree)) for word in unpack_command(tar)], check=True)
    archives = tree / "var/cache/apt/archives"
    for number in range(100):
        (archives / f"{number}.deb").write_bytes(os.urandom(1_600_000))
    return tree


def copied(tree: Path, copy: Path) -> None:
    """A yardstick: copy a tree."""
    subprocess.run(["cp", "-a", tree, copy], check=True)


def removed(*folders: Path) -> None:
    """Make room again."""
    for folder in folders:
        shutil.rmtree(folder)
