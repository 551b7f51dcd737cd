"""Layers: trees on the disk that builds mount, bottom first; `shelf` draws where they lie.

A layer is a cache of what objects and metadata say. It appears by rename, synced, and is never changed. An image whose
layers are not all here, or are too many, gets one flat layer, restored from objects; one restore runs at a time. Past
the limit of the cache, the layers that were used longest ago go.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from itertools import islice
from pathlib import Path

from twisted.internet.defer import DeferredLock

from imaginator.model.errors import StoreCorrupt
from imaginator.model.image import Image
from imaginator.model.tree import Inode, NodeReader, walk
from imaginator.sandbox.collecting import FEW, sync_all
from imaginator.store.catalogue import Catalogue
from imaginator.store.shelf import PARTIAL, Shelf
from imaginator.store.workers import Workers

DEEPEST = 20
"""Layers of an image; each look-up in a directory goes through all of them, and mount(2) takes about 130."""

Entries = Sequence[tuple[bytes, Inode]]
Restore = Callable[[Entries, Path], Awaitable[tuple[Path, int]]]
"""Makes a plain tree of an image's inodes within a directory that it may make; the tree's own, and its size."""


class Layers:
    """The layers below ``directory``, of at most ``limit`` bytes (0: no limit) beside those in use.

    ``restore`` makes the tree of one that is missing.
    """

    def __init__(
        self,
        directory: Path,
        catalogue: Catalogue,
        nodes: NodeReader,
        workers: Workers,
        restore: Restore,
        limit: int = 0,
    ) -> None:
        self._directory = directory
        self._catalogue = catalogue
        self._nodes = nodes
        self._workers = workers
        self._restore = restore
        self._restoring = DeferredLock()
        self._shelf = Shelf(directory, limit)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    @asynccontextmanager
    async def lent(self, image: Image) -> AsyncIterator[tuple[tuple[str, ...], tuple[Path, ...]]]:
        """What `lowers` gives, kept on the disk until the context is left."""
        while True:
            ids, paths = await self.lowers(image)
            with self._shelf.in_use(ids):
                if await self._workers.run(self._shelf.has, ids):
                    yield ids, paths
                    return

    def pinned(self, layers: Sequence[str]) -> AbstractContextManager[None]:
        """Keep layers on the disk until the context is left, whatever becomes of their images."""
        return self._shelf.in_use(layers)

    async def have(self, layers: Sequence[str]) -> bool:
        """Whether all of these are on the disk."""
        return not layers or await self._workers.run(self._shelf.has, layers)

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
        return self._shelf.path(layer)

    @asynccontextmanager
    async def adopted(self, upper: Path, size: int | None = None) -> AsyncIterator[str]:
        """Make ``upper`` a layer by moving it here, safe on the disk, and make room for it; the layer's id.

        ``size`` is in bytes, None where nobody knows. An image has to get the layer before the context is left.
        """
        layer = secrets.token_hex(12)
        with self._shelf.in_use([layer]):
            await self._workers.run(self._adopt, layer, upper, size)
            await self.trim()
            yield layer

    def leftovers(self) -> list[Path]:
        """What a killed daemon left, to be removed before builds begin."""
        return self._shelf.leftovers()

    async def trim(self, bytes_more: int = 0) -> None:
        """Remove the layers that were used longest ago, where there is too much of them or ``bytes_more`` is needed."""
        await self._remove(await self._workers.run(self._shelf.take_excess, bytes_more))

    async def collect(self) -> None:
        """Remove the layers that no image has."""
        unused = await self._workers.run(self._shelf.unused)
        # Asked of the writer, after which no image that is being added gets a layer that was unused before.
        needed = await self._catalogue.write(_needed)
        await self._remove(await self._workers.run(self._shelf.take, unused - needed))

    async def _remove(self, places: Iterable[Path]) -> None:
        for gone in places:
            with contextlib.suppress(RecursionError):  # directories a thousand deep go at the next start
                await self._workers.run(shutil.rmtree, gone, ignore_errors=True)

    async def _present(self, image: Image) -> tuple[str, ...]:
        """The image's layers if they are all here and not too many, else nothing."""
        ids = await self._catalogue.read(lambda connection: image_layers(connection, image.name))
        whole = len(ids) <= DEEPEST and await self._workers.run(self._shelf.has, ids)
        return ids if whole else ()

    async def _rebuilt(self, image: Image) -> tuple[str, ...]:
        entries = await self._workers.run(self._entries, image)
        workspace = self._directory / f"{PARTIAL}{secrets.token_hex(6)}"
        try:
            async with self.adopted(*await self._restore(entries, workspace)) as layer:
                await self._catalogue.write(lambda connection: _set_layer(connection, image.name, layer))
        finally:
            await self._workers.run(shutil.rmtree, workspace, ignore_errors=True)
        return (layer,)

    def _entries(self, image: Image) -> Entries:
        return [(path, entry.inode) for path, entry in walk(image.root, self._nodes)]

    def _adopt(self, layer: str, upper: Path, size: int | None) -> None:
        self._shelf.add(layer, upper, _size(upper) if size is None else size)
        _sync(self._directory / layer)


def image_layers(connection: sqlite3.Connection, image: str) -> tuple[str, ...]:
    """The ids of an image's layers, bottom first."""
    query = "SELECT layer FROM layers JOIN images ON image = images.id WHERE name = ? ORDER BY place"
    return tuple(layer for (layer,) in connection.execute(query, (image,)))


def _needed(connection: sqlite3.Connection) -> set[str]:
    return {layer for (layer,) in connection.execute("SELECT DISTINCT layer FROM layers")}


def _set_layer(connection: sqlite3.Connection, image: str, layer: str) -> None:
    query = "SELECT id FROM images WHERE name = ? AND length(record) > 0"  # else nothing is left but the name
    row = connection.execute(query, (image,)).fetchone()
    if row is None:
        raise StoreCorrupt(f"image {image} was collected while a layer was made for it")
    connection.execute("DELETE FROM layers WHERE image = ?", row)
    connection.execute("INSERT INTO layers VALUES (?, 0, ?)", (*row, layer))


def _inodes(place: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(place) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _inodes(entry.path)


def _size(tree: Path) -> int:
    """The bytes that a tree takes on the disk; a file of several names counts under each."""
    return sum(entry.stat(follow_symlinks=False).st_blocks for entry in _inodes(os.fspath(tree))) * 512


def _sync(layer: Path) -> None:
    """Write a new layer to the disk, with its name."""
    own = islice(_syncable(os.fspath(layer)), FEW + 1)
    paths = [*own, os.fspath(layer), os.fspath(layer.parent)]
    sync_all([os.fsencode(path) for path in paths], os.fsencode(layer))


def _syncable(place: str) -> Iterator[str]:
    """The paths of what can be opened to be synced: the rest is in its directory."""
    for entry in _inodes(place):
        if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
            yield entry.path
