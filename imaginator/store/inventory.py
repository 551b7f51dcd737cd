"""What a store should hold, as its catalogue says: for a check that trusts neither rows nor files."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from imaginator.model.image import Image, decode_image
from imaginator.model.tree import Entry, Inode, Node, NodeReader, decode_node, walk
from imaginator.store.marking import reachable


class Stored(NamedTuple):
    """An image's row: its name, its record (None where that cannot be trusted), and its layers, bottom first."""

    name: str
    image: Image | None
    layers: tuple[str, ...]


def integrity(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with its file; nothing when it is whole."""
    try:
        found = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(10)")]
        found += [f"a row of {row[0]} refers to nothing" for row in connection.execute("PRAGMA foreign_key_check")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [line for line in found if line != "ok"]


def stored_images(connection: sqlite3.Connection) -> list[Stored]:
    """Every image, in the order of the catalogue, but for those that are gone: what they need may be collected."""
    layers: dict[int, list[str]] = {}
    for image, layer in connection.execute("SELECT image, layer FROM layers ORDER BY image, place"):
        layers.setdefault(image, []).append(layer)
    rows = connection.execute("SELECT id, name, root, record FROM images WHERE gone_at IS NULL ORDER BY id")
    return [Stored(name, _trusted(name, root, record), tuple(layers.get(id, ()))) for id, name, root, record in rows]


def _trusted(name: str, root: bytes, record: bytes) -> Image | None:
    try:
        image = decode_image(record)
    except msgspec.DecodeError:
        return None
    return image if (image.name, image.reach) == (name, root) else None


def node_states(connection: sqlite3.Connection) -> tuple[set[bytes], set[bytes]]:
    """The ids of the nodes that are what their ids say, and of those that are not."""
    intact: set[bytes] = set()
    spoilt: set[bytes] = set()
    for node, data in connection.execute("SELECT id, data FROM nodes"):
        (intact if _is_intact(node, data) else spoilt).add(node)
    return intact, spoilt


def _is_intact(node: bytes, data: bytes) -> bool:
    try:
        decode_node(data)
    except msgspec.DecodeError:
        return False
    return hashlib.sha256(data).digest() == node


def delete_nodes(connection: sqlite3.Connection, nodes: Iterable[bytes]) -> None:
    """Delete rows: a damaged node would be taken for a whole one by the next build that makes the same directory."""
    connection.executemany("DELETE FROM nodes WHERE id = ?", [(node,) for node in nodes])


def put_nodes(connection: sqlite3.Connection, nodes: Mapping[bytes, bytes]) -> None:
    """Write nodes over whatever is there."""
    connection.executemany("INSERT OR REPLACE INTO nodes VALUES (?, ?)", nodes.items())


class Inventory:
    """The images, the nodes that can be read, and what both need; for worker threads, since it reads.

    ``broken`` are the nodes that an image needs and that are not ``intact``; ``objects`` what the others name.
    """

    def __init__(self, images: list[Stored], intact: set[bytes], read: NodeReader) -> None:
        self.images = images
        self.intact = intact
        self._read_node = read
        self.broken: set[bytes] = set()
        self.nodes: set[bytes] = set()
        self.objects: set[bytes] = set()
        self.reach()

    def reach(self) -> None:
        """Find again what the images need."""
        roots = [stored.image.reach for stored in self.images if stored.image]
        self.nodes, objects = reachable(roots, self._read)
        self.objects = objects - {b""}
        self.broken = self.nodes - self.intact

    def tree(self, image: Image) -> dict[bytes, Inode]:
        """Every path of an image; what is below a broken node is not among them."""
        return {path: entry.inode for path, entry in self._walk(image)}

    def breaks(self, image: Image) -> list[tuple[bytes, bytes]]:
        """The directories of an image whose nodes are broken, with the nodes' ids."""
        if not self.broken:
            return []
        return [(path, entry.node) for path, entry in self._walk(image) if entry.node in self.broken]

    def _walk(self, image: Image) -> Iterator[tuple[bytes, Entry]]:
        return walk(image.root, self._read)

    def _read(self, node: bytes) -> Node:
        return self._read_node(node) if node in self.intact else Node()
