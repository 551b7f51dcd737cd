"""The collector: expired images go, then what no image needs any more.

Mark and sweep in small steps, each a short transaction, some nodes, or a few directories of objects, so that builds
and the reactor never wait long. What is held (`holds`) stays; everything else that no image needs goes at once,
whatever its age, so that after ``kill -9`` the first round removes all that the builds had left. A round begins with a
write to the catalogue, hence after all images that were about to be added when holds before it were closed. Where
nothing has gone since the last round, and no hold was closed, there is nothing to do.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from twisted.internet.defer import DeferredLock

from imaginator.store.catalogue import Catalogue
from imaginator.store.holds import Holds, Round
from imaginator.store.images import read_node
from imaginator.store.layers import Layers
from imaginator.store.marking import Marks, Memory, key_of
from imaginator.store.workers import Workers

IMAGES = 20
"""Images whose rows go in one transaction; a large one's record has some hundred kilobytes."""

MARKED = 500
"""Nodes that are looked at in one step."""

SWEPT = 500
"""Nodes that are deleted in one transaction, at most."""

LISTED = 5000
"""Nodes that are read of in one step."""

DIRECTORIES = 8
"""Directories of objects that are looked at in one step."""


GONE = ".gone"
"""The name of an object that is being removed, in the directory of all objects."""


def _now() -> datetime:
    return datetime.now(UTC)


class Collector:
    """Collects from ``catalogue``, the directory ``objects`` and ``layers``, but for what ``holds`` keep."""

    def __init__(
        self,
        catalogue: Catalogue,
        objects: Path,
        layers: Layers,
        holds: Holds,
        workers: Workers,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._catalogue = catalogue
        self._objects = objects
        self._layers = layers
        self._holds = holds
        self._workers = workers
        self._now = now
        self._memory = Memory(lambda node: catalogue.read_now(lambda found: read_node(found, node)))
        self._one = DeferredLock()
        self._closed_before: int | None = None

    async def run(self) -> None:
        """One round, after the one that may be under way."""
        await self._one.acquire()
        try:
            with self._holds.round() as this:
                await self._round(this)
        finally:
            self._one.release()

    async def _round(self, this: Round) -> None:
        closed = self._holds.closed
        if not await self._retire() and closed == self._closed_before:
            return
        self._closed_before = None
        marks = await self._mark()
        await self._sweep_nodes(this, marks)
        await self._sweep_objects(this, marks)
        await self._layers.collect()
        self._closed_before = closed

    async def _retire(self) -> bool:
        """Forget what has expired or was deleted, and nobody holds; whether there was any."""
        now = self._now().timestamp()
        expired = await self._catalogue.write(lambda connection: _expire(connection, now))
        gone = await self._catalogue.read(_gone)
        held = self._holds.images()
        rows = [row for row, name in gone if name not in held]
        for start in range(0, len(rows), IMAGES):
            await self._catalogue.write(partial(_forget, rows=rows[start : start + IMAGES]))
        return bool(expired or rows)

    async def _mark(self) -> Marks:
        rows = await self._catalogue.read(_roots)
        held = self._holds.images()  # asked after the catalogue, since an image is held first and then looked for
        roots = {root for name, gone, root in rows if not gone or name in held}
        marks = Marks(roots, self._memory)
        while await self._workers.run(marks.step, MARKED):
            pass
        return marks

    async def _sweep_nodes(self, this: Round, marks: Marks) -> None:
        last = b""
        while some := await self._catalogue.read(partial(_nodes_after, node=last)):
            last = some[-1]
            dead = [node for node in some if node not in marks.nodes]
            self._memory.forget(dead)
            for start in range(0, len(dead), SWEPT):
                await self._catalogue.write(partial(_delete_nodes, this=this, nodes=dead[start : start + SWEPT]))

    async def _sweep_objects(self, this: Round, marks: Marks) -> None:
        directories = await self._workers.run(_directories, self._objects)
        for start in range(0, len(directories), DIRECTORIES):
            await self._workers.run(_sweep, directories[start : start + DIRECTORIES], this, marks)


def _expire(connection: sqlite3.Connection, now: float) -> int:
    """Mark what has expired; how many images that are."""
    query = "UPDATE images SET gone_at = ? WHERE gone_at IS NULL AND expires_at <= ?"
    return connection.execute(query, (now, now)).rowcount


def _gone(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    """The images that are gone, but for those of which nothing but the name is left, the latest of their streams."""
    query = "SELECT id, name FROM images WHERE gone_at IS NOT NULL AND (length(record) > 0 OR id < (SELECT max(id)"
    return connection.execute(f"{query} FROM images AS later WHERE later.stream = images.stream))").fetchall()


def _forget(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Delete images that are gone; of the latest of a stream the name is left, so that no other one gets it."""
    some = [(row,) for row in rows]
    for table in ("tags", "layers"):
        connection.executemany(f"DELETE FROM {table} WHERE image = ?", some)
    latest = "SELECT max(id) FROM images AS other WHERE other.stream = images.stream"
    connection.executemany(f"DELETE FROM images WHERE id = ? AND id < ({latest})", some)
    connection.executemany("UPDATE images SET record = x'' WHERE id = ?", some)


def _roots(connection: sqlite3.Connection) -> list[tuple[str, bool, bytes]]:
    """Name, whether it is gone, and root of every image."""
    return connection.execute("SELECT name, gone_at IS NOT NULL, root FROM images").fetchall()


def _nodes_after(connection: sqlite3.Connection, node: bytes) -> list[bytes]:
    rows = connection.execute("SELECT id FROM nodes WHERE id > ? ORDER BY id LIMIT ?", (node, LISTED))
    return [found for (found,) in rows]


def _delete_nodes(connection: sqlite3.Connection, this: Round, nodes: Sequence[bytes]) -> None:
    """Delete nodes but those that a new image has brought along since they were found unused."""
    spared = this.spared(nodes)
    connection.executemany("DELETE FROM nodes WHERE id = ?", [(node,) for node in nodes if node not in spared])


def _directories(directory: Path) -> list[Path]:
    return sorted(directory.glob("[0-9a-f][0-9a-f]"))


def _sweep(directories: Iterable[Path], this: Round, marks: Marks) -> None:
    """Remove the objects in some directories that are not marked; what somebody else put there is left alone."""
    for directory in directories:
        grave = directory.parent / GONE
        needed = marks.objects(int(directory.name, 16))
        with os.scandir(directory) as files:
            for file in files:
                digest = _digest(directory.name + file.name)
                if digest and key_of(digest) not in needed:
                    _remove(file.path, grave, digest, this)


def _remove(path: str, grave: Path, digest: bytes, this: Round) -> None:
    """Remove an object, first by its name: freeing the blocks of a large one takes long."""
    if this.remove(digest, partial(os.rename, path, grave)):
        grave.unlink()


def _digest(name: str) -> bytes:
    """The digest that an object's file is named by; empty for another file."""
    try:
        return bytes.fromhex(name)
    except ValueError:
        return b""
