"""Layers: trees on the disk that builds mount, bottom first.

::

    layers/
      ID/         made when the layer is adopted, so that its own time tells the age
        tree/     what overlayfs sees

A layer is a cache of what objects and metadata say. It appears by rename, synced, and is never changed. An image whose
layers are not all here gets one flat layer, restored from objects; one restore runs at a time.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, DeferredLock

from imaginator.model.errors import StoreCorrupt
from imaginator.model.image import Image
from imaginator.model.tree import Inode, NodeReader, walk
from imaginator.sandbox.syscalls import sync_file_system
from imaginator.store.catalogue import Catalogue
from imaginator.store.workers import Workers

Entries = Sequence[tuple[bytes, Inode]]
Restore = Callable[[Entries, Path], Awaitable[Path]]
"""Makes a plain tree of an image's inodes within a directory that it may make, and returns the tree's own."""


class Layers:
    """The layers below ``directory``; ``restore`` makes the tree of one that is missing."""

    def __init__(
        self, directory: Path, catalogue: Catalogue, nodes: NodeReader, workers: Workers, restore: Restore
    ) -> None:
        self._directory = directory
        self._catalogue = catalogue
        self._nodes = nodes
        self._workers = workers
        self._restore = restore
        self._restoring = DeferredLock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def lowers(self, image: Image) -> tuple[tuple[str, ...], tuple[Path, ...]]:
        """The ids of an image's layers, bottom first, and their directories, topmost first."""
        ids = await self._present(image)
        if not ids:
            await self._restoring.acquire()
            try:
                ids = await self._present(image) or await self._rebuilt(image)
            finally:
                self._restoring.release()
        return ids, tuple(self.path(layer) for layer in reversed(ids))

    def path(self, layer: str) -> Path:
        """The tree of a layer."""
        return self._directory / layer / "tree"

    def adopt(self, upper: Path) -> Deferred[str]:
        """Make ``upper`` a layer by moving it here, safe on the disk; the layer's id."""
        return self._workers.run(self._adopt, upper)

    async def _present(self, image: Image) -> tuple[str, ...]:
        """The image's layers if they are all here, else nothing."""
        ids = await self._catalogue.read(lambda connection: image_layers(connection, image.name))
        whole = await self._workers.run(lambda: all(self.path(layer).is_dir() for layer in ids))
        return ids if whole else ()

    async def _rebuilt(self, image: Image) -> tuple[str, ...]:
        entries = await self._workers.run(self._entries, image)
        workspace = self._directory / f"restore-{secrets.token_hex(6)}"
        try:
            layer = await self.adopt(await self._restore(entries, workspace))
        finally:
            await self._workers.run(shutil.rmtree, workspace, ignore_errors=True)
        await self._catalogue.write(lambda connection: _set_layer(connection, image.name, layer))
        return (layer,)

    def _entries(self, image: Image) -> Entries:
        return [(path, entry.inode) for path, entry in walk(image.root, self._nodes)]

    def _adopt(self, upper: Path) -> str:
        layer = secrets.token_hex(12)
        place = self._directory / layer
        place.mkdir(mode=0o700)
        upper.rename(place / "tree")
        _sync(place)
        return layer


def image_layers(connection: sqlite3.Connection, image: str) -> tuple[str, ...]:
    """The ids of an image's layers, bottom first."""
    query = "SELECT layer FROM layers JOIN images ON image = images.id WHERE name = ? ORDER BY place"
    return tuple(layer for (layer,) in connection.execute(query, (image,)))


def _set_layer(connection: sqlite3.Connection, image: str, layer: str) -> None:
    row = connection.execute("SELECT id FROM images WHERE name = ?", (image,)).fetchone()
    if row is None:
        raise StoreCorrupt(f"image {image} was collected while a layer was made for it")
    connection.execute("DELETE FROM layers WHERE image = ?", row)
    connection.execute("INSERT INTO layers VALUES (?, 0, ?)", (*row, layer))


def _sync(directory: Path) -> None:
    """Write the directory's file system to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file_system(descriptor)
    finally:
        os.close(descriptor)
