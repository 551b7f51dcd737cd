"""The collector: expired images go, then what no image needs any more.

Mark and sweep in small steps, each a short transaction or a directory of objects, so that builds never wait long.
What running builds use is safe by age: an image that is gone stays a root for `GRACE`, and nothing younger than that
is swept; a build's maximum duration has to be shorter.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

from imaginator.model.tree import NodeReader
from imaginator.store.catalogue import Catalogue
from imaginator.store.images import read_node
from imaginator.store.workers import Workers

GRACE = 2 * 86400.0
"""Seconds."""

STEP = 500
"""Nodes in one transaction of the sweep."""


def _now() -> datetime:
    return datetime.now(UTC)


class Collector:
    """Collects from ``catalogue`` and the directories ``objects`` and ``layers``."""

    def __init__(
        self,
        catalogue: Catalogue,
        objects: Path,
        layers: Path,
        workers: Workers,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._catalogue = catalogue
        self._objects = objects
        self._layers = layers
        self._workers = workers
        self._now = now

    async def run(self) -> None:
        """One round; what an image brought along meanwhile is young and survives it."""
        now = self._now().timestamp()
        await self._catalogue.write(lambda connection: _retire(connection, now))
        nodes, objects = await self._workers.run(self._mark)
        await self._sweep_nodes(nodes, now - GRACE)
        for directory in await self._workers.run(_directories, self._objects):
            await self._workers.run(_sweep_objects, directory, objects, now - GRACE)
        await self._sweep_layers(now - GRACE)

    def _mark(self) -> tuple[set[bytes], set[bytes]]:
        roots = self._catalogue.read_now(_roots)
        return reachable(roots, lambda node: self._catalogue.read_now(lambda found: read_node(found, node)))

    async def _sweep_nodes(self, needed: set[bytes], before: float) -> None:
        dead = iter(await self._catalogue.read(lambda connection: _old_nodes(connection, before)) - needed)
        while some := list(islice(dead, STEP)):
            await self._catalogue.write(partial(_delete_nodes, nodes=some, before=before))

    async def _sweep_layers(self, before: float) -> None:
        needed = await self._catalogue.read(_needed_layers)
        for directory in await self._workers.run(_directories, self._layers):
            if directory.name not in needed:
                await self._workers.run(_remove_old, directory, before)


def reachable(roots: Iterable[bytes], read: NodeReader) -> tuple[set[bytes], set[bytes]]:
    """The ids of the nodes beneath ``roots``, themselves included, and the digests of the objects in them."""
    nodes: set[bytes] = set()
    objects: set[bytes] = set()
    pending = list(roots)
    while pending:
        node = pending.pop()
        if node and node not in nodes:
            nodes.add(node)
            for entry in read(node).entries:
                objects.add(entry.inode.object)
                pending.append(entry.node)
    return nodes, objects


def _retire(connection: sqlite3.Connection, now: float) -> None:
    """Mark what has expired, and forget what is gone for long."""
    connection.execute("UPDATE images SET gone_at = ? WHERE gone_at IS NULL AND expires_at <= ?", (now, now))
    connection.execute("DELETE FROM images WHERE gone_at <= ?", (now - GRACE,))


def _roots(connection: sqlite3.Connection) -> list[bytes]:
    return [root for (root,) in connection.execute("SELECT DISTINCT root FROM images")]


def _old_nodes(connection: sqlite3.Connection, before: float) -> set[bytes]:
    return {node for (node,) in connection.execute("SELECT id FROM nodes WHERE used_at < ?", (before,))}


def _delete_nodes(connection: sqlite3.Connection, nodes: Iterable[bytes], before: float) -> None:
    """Delete ``nodes`` but those that a new image has brought along since they were found unused."""
    query = "DELETE FROM nodes WHERE id = ? AND used_at < ?"
    connection.executemany(query, [(node, before) for node in nodes])


def _needed_layers(connection: sqlite3.Connection) -> set[str]:
    return {layer for (layer,) in connection.execute("SELECT layer FROM layers")}


def _directories(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_dir())


def _sweep_objects(directory: Path, needed: set[bytes], before: float) -> None:
    with os.scandir(directory) as files:
        for file in files:
            try:
                digest = bytes.fromhex(directory.name + file.name)
            except ValueError:
                continue  # a temporary file, on its way to become an object
            if digest not in needed and file.stat().st_mtime < before:
                os.unlink(file.path)


def _remove_old(directory: Path, before: float) -> None:
    if directory.stat().st_mtime < before:
        shutil.rmtree(directory, ignore_errors=True)
