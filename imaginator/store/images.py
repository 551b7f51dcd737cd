"""The embedded image store: images in the catalogue, objects in files.

::

    STATE/
      catalogue.sqlite
      objects/ab/cdef…
      layers/ID/tree

Order: objects whole and synced, then the layer, then one transaction that makes the image visible. An image that is
deleted or has expired disappears at once; its row stays until the next collection, or longer where somebody holds it.
Of a stream's latest image the name stays even then, without anything else, so that no other image gets it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from imaginator.model.errors import NotFound, StoreCorrupt
from imaginator.model.image import Image, decode_image, encode_image
from imaginator.model.names import image_name, stream_of
from imaginator.model.tree import Node, NodeReader, decode_node
from imaginator.store.catalogue import Catalogue
from imaginator.store.holds import Held, Holds
from imaginator.store.interface import Hold, ImageStore, ImageSummary, Note, Wanted, silent
from imaginator.store.merkle import computed_files
from imaginator.store.objects import Objects
from imaginator.store.workers import Workers

CACHED_NODES = 4096
"""Decoded nodes that are remembered; an image of 7,000 files has about 700."""

_IMAGE = "record, expires_at, confirmed_at"
_VISIBLE = "gone_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"


def _now() -> datetime:
    return datetime.now(UTC)


class EmbeddedStore(ImageStore):
    """Images of this machine; ``now`` is the clock that names and expires them."""

    def __init__(
        self, catalogue: Catalogue, objects: Objects, workers: Workers, now: Callable[[], datetime] = _now
    ) -> None:
        self.holds = Holds()
        self._catalogue = catalogue
        self._objects = objects
        self._workers = workers
        self._now = now
        self._nodes = NodeCache(catalogue)

    async def find_latest(self, wanted: Wanted) -> Image | None:
        """The latest matching image in catalogue order, expired ones left out; None where there is none."""
        query, values = _latest_query(wanted, self._now())
        row = await self._catalogue.read(lambda connection: connection.execute(query, values).fetchone())
        return _image(*row) if row else None

    async def get(self, name: str) -> Image:
        """The image called ``name``; raises `NotFound`."""
        return await self._catalogue.read(lambda connection: _find(connection, name, self._now())[1])

    async def list(self, prefix: str = "") -> Sequence[ImageSummary]:
        """The images whose name is below ``prefix`` (a stream, or parts of one), by name."""
        return await self._catalogue.read(lambda connection: _summaries(connection, prefix, self._now()))

    @property
    def version(self) -> int:
        """Another one whenever an image was added, changed or removed."""
        return self._catalogue.commits

    async def streams(self) -> frozenset[str]:
        """The streams that have an image, expired ones left out."""
        return await self._catalogue.read(lambda connection: _streams(connection, self._now()))

    async def missing(self, digests: Iterable[bytes]) -> frozenset[bytes]:
        """Those of these objects that the store does not hold."""
        return await self._workers.run(self._objects.missing, frozenset(digests))

    async def add(
        self, draft: Image, nodes: Mapping[bytes, bytes], layers: Sequence[str], note: Note = silent
    ) -> Image:
        """Add an image under its final name, in one transaction; raises `StoreCorrupt` for what is missing.

        Once that is under way it is carried through, whoever is cancelled.
        """
        return await self._insert(
            draft, nodes, layers, lambda connection: next_name(connection, draft.name, self._now())
        )

    async def bring(self, image: Image, nodes: Mapping[bytes, bytes], layers: Sequence[str]) -> Image:
        """Add an image of another store under the name that it has there; one that expired here makes room for it.

        Raises what `add` does, and ``sqlite3.IntegrityError`` where there is an image of this name.
        """
        return await self._insert(image, nodes, layers, lambda connection: _freed(connection, image.name, self._now()))

    async def _insert(
        self,
        draft: Image,
        nodes: Mapping[bytes, bytes],
        layers: Sequence[str],
        name: Callable[[sqlite3.Connection], str],
    ) -> Image:
        children = await self._workers.run(self._check, nodes)

        def insert(connection: sqlite3.Connection) -> Image:
            _put_nodes(connection, nodes)
            _check_nodes(connection, children | {draft.root.node, draft.reach} - {b""})
            image = replace(draft, name=name(connection))
            _insert(connection, image, layers)
            return image

        with self.holds.opened() as held:
            held.keep_content(nodes)
            return await self._catalogue.write_through(insert)

    @contextmanager
    def hold(self) -> Iterator[Hold]:
        """A new hold, which ends when the context is left."""
        with self.holds.opened() as held:
            yield _Hold(held, self._catalogue)

    async def set_expiry(self, name: str, expires_at: datetime | None) -> None:
        """Change when an image expires; None pins it. Raises `NotFound`."""

        def change(connection: sqlite3.Connection) -> None:
            query = f"UPDATE images SET expires_at = ? WHERE name = ? AND {_VISIBLE}"
            values = _seconds(expires_at), name, self._now().timestamp()
            if not connection.execute(query, values).rowcount:
                raise _no_image(name)

        await self._catalogue.write(change)

    async def extend(self, names: Sequence[str], until: datetime, confirmed_at: datetime | None = None) -> None:
        """Let images live until then, unless they live longer anyway; ``confirmed_at`` is when they were up to date."""

        def change(connection: sqlite3.Connection) -> None:
            # The greater of NULL, never, and anything is NULL.
            changes = "expires_at = max(expires_at, ?), confirmed_at = coalesce(?, confirmed_at)"
            values = _seconds(until), _seconds(confirmed_at)
            query = f"UPDATE images SET {changes} WHERE name = ? AND {_VISIBLE}"
            connection.executemany(query, [(*values, name, self._now().timestamp()) for name in names])

        await self._catalogue.write(change)

    async def delete(self, name: str) -> None:
        """Remove an image from the catalogue; what only it needed is collected later. Raises `NotFound`."""

        def mark(connection: sqlite3.Connection) -> None:
            row, _ = _find(connection, name, self._now())
            connection.execute("UPDATE images SET gone_at = ? WHERE id = ?", (self._now().timestamp(), row))

        await self._catalogue.write(mark)

    async def computed(self, image: Image) -> dict[bytes, bytes]:
        """The source address of each computed file of an image, by path."""
        if image.computed == ():
            return {}
        return await self._workers.run(computed_files, image.root, self._nodes)

    def nodes(self) -> NodeReader:
        """A reader of nodes for worker threads; all threads share its memory."""
        return self._nodes

    def open_object(self, digest: bytes) -> int:
        """A descriptor to read an object with, which the caller closes; for worker threads. Raises ``OSError``."""
        return self._objects.open(digest)

    @property
    def objects(self) -> Path:
        """The directory that new objects are collected into before `add`."""
        return self._objects.directory

    def _check(self, nodes: Mapping[bytes, bytes]) -> frozenset[bytes]:
        """Check that the objects of ``nodes`` are here; their child nodes that are not among them."""
        entries = [entry for data in nodes.values() for entry in decode_node(data).entries]
        if missing := self._objects.missing(entry.inode.object for entry in entries):
            raise StoreCorrupt(f"{len(missing)} objects are missing, the first is {min(missing).hex()}")
        return frozenset(entry.node for entry in entries) - nodes.keys() - {b""}


class _Hold(Hold):
    """A hold on this store's images and content."""

    def __init__(self, held: Held, catalogue: Catalogue) -> None:
        self._held = held
        self._catalogue = catalogue

    async def image(self, image: Image) -> None:
        """Keep an image whole, even when it expires or is deleted; raises `NotFound` where that came first."""
        self._held.keep_image(image.name)
        if not await self._catalogue.read(lambda connection: _is_there(connection, image.name)):
            raise NotFound(f"no such image any more: {image.name}")

    def content(self, ids: Iterable[bytes]) -> None:
        """Keep objects, those that are there from now on."""
        self._held.keep_content(ids)


class NodeCache:
    """A `NodeReader` that remembers the nodes read last."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._nodes: dict[bytes, Node] = {}

    def __call__(self, node: bytes) -> Node:
        """The node of this id, for worker threads; raises `StoreCorrupt` where it is not kept."""
        with self._lock:
            known = self._nodes.get(node)
        if known is None:
            known = self._catalogue.read_now(lambda connection: read_node(connection, node))
            self._remember(node, known)
        return known

    def _remember(self, node: bytes, value: Node) -> None:
        with self._lock:
            self._nodes[node] = value
            if len(self._nodes) > CACHED_NODES:
                del self._nodes[next(iter(self._nodes))]


def read_node(connection: sqlite3.Connection, node: bytes) -> Node:
    """The node of this id; raises `StoreCorrupt` where it is not kept."""
    row = connection.execute("SELECT data FROM nodes WHERE id = ?", (node,)).fetchone()
    if row is None:
        raise StoreCorrupt(f"node {node.hex()} is missing from the catalogue")
    return decode_node(row[0])


def _latest_query(wanted: Wanted, now: datetime) -> tuple[str, list[object]]:
    query, values = f"SELECT {_IMAGE} FROM images WHERE stream = ? AND {_VISIBLE}", [wanted.stream, now.timestamp()]
    if wanted.lasting:
        query += " AND expires_at IS NULL"
    if wanted.commit:
        query += " AND (commit_id = ? OR branch = ?)"
        values += [wanted.commit, wanted.commit]
    for key, allowed in wanted.tags.items():
        marks = ", ".join("?" * len(allowed))
        query += f" AND EXISTS (SELECT 1 FROM tags WHERE image = images.id AND key = ? AND value IN ({marks}))"
        values += [key, *allowed]
    return f"{query} ORDER BY id DESC LIMIT 1", values


def _find(connection: sqlite3.Connection, name: str, now: datetime) -> tuple[int, Image]:
    query = f"SELECT id, {_IMAGE} FROM images WHERE name = ? AND {_VISIBLE}"
    row = connection.execute(query, (name, now.timestamp())).fetchone()
    if row is None:
        raise _no_image(name)
    return row[0], _image(*row[1:])


def _no_image(name: str) -> NotFound:
    return NotFound(f"no such image: {name}")


def _image(record: bytes, expires_at: float | None, confirmed_at: float | None) -> Image:
    """An image, from the columns `_IMAGE`."""
    image = decode_image(record)
    return replace(image, expires_at=_time(expires_at), confirmed_at=_time(confirmed_at) or image.confirmed_at)


def _is_there(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the collector has not taken an image yet, even if its time is over."""
    query = "SELECT 1 FROM images WHERE name = ? AND gone_at IS NULL"
    return connection.execute(query, (name,)).fetchone() is not None


def _summaries(connection: sqlite3.Connection, prefix: str, now: datetime) -> Sequence[ImageSummary]:
    return tuple(_each_summary(connection, prefix.rstrip("/"), now))


def _each_summary(connection: sqlite3.Connection, prefix: str, now: datetime) -> Iterator[ImageSummary]:
    query, values = f"SELECT {_IMAGE} FROM images WHERE {_VISIBLE}", [now.timestamp()]
    below: list[object] = [f"{prefix}/", f"{prefix}0"] if prefix else []  # "0" is the character after "/"
    if below:
        query += " AND name >= ? AND name < ?"
    for row in connection.execute(f"{query} ORDER BY name", [*values, *below]):
        image = _image(*row)
        yield ImageSummary(image.name, image.created_at, image.expires_at, image.figures)


def _streams(connection: sqlite3.Connection, now: datetime) -> frozenset[str]:
    query = f"SELECT DISTINCT stream FROM images WHERE {_VISIBLE}"
    return frozenset(stream for (stream,) in connection.execute(query, (now.timestamp(),)))


def _put_nodes(connection: sqlite3.Connection, nodes: Mapping[bytes, bytes]) -> None:
    connection.executemany("INSERT INTO nodes VALUES (?, ?) ON CONFLICT (id) DO NOTHING", nodes.items())


def _check_nodes(connection: sqlite3.Connection, wanted: Iterable[bytes]) -> None:
    for node in wanted:
        if connection.execute("SELECT 1 FROM nodes WHERE id = ?", (node,)).fetchone() is None:
            raise StoreCorrupt(f"node {node.hex()} is missing from the catalogue")


def next_name(connection: sqlite3.Connection, stream: str, now: datetime) -> str:
    """A name that no image of the stream has or lately had."""
    query = "SELECT name FROM images WHERE stream = ? ORDER BY id DESC LIMIT 1"
    row = connection.execute(query, (stream,)).fetchone()
    return image_name(stream, now, row[0] if row else None)


def _freed(connection: sqlite3.Connection, name: str, now: datetime) -> str:
    """``name``, which no image has any more that is deleted or has expired."""
    gone = f"SELECT id FROM images WHERE name = ? AND NOT ({_VISIBLE})"
    for row in connection.execute(gone, (name, now.timestamp())).fetchall():
        for table, column in (("tags", "image"), ("layers", "image"), ("images", "id")):
            connection.execute(f"DELETE FROM {table} WHERE {column} = ?", row)
    return name


def _insert(connection: sqlite3.Connection, image: Image, layers: Sequence[str]) -> None:
    origin = image.origin
    row = connection.execute(
        "INSERT INTO images (name, stream, commit_id, branch, expires_at, root, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            image.name,
            stream_of(image.name),
            origin.git_commit_id,
            origin.git_branch,
            _seconds(image.expires_at),
            image.reach,
            encode_image(image),
        ),
    ).lastrowid
    connection.executemany("INSERT INTO tags VALUES (?, ?, ?)", [(row, *tag) for tag in image.tags.items()])
    rows = [(row, place, layer) for place, layer in enumerate(layers)]
    connection.executemany("INSERT INTO layers VALUES (?, ?, ?)", rows)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
