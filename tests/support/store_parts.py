"""A whole embedded store in a temporary directory, and trees made by hand."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imaginator.model.image import Image
from imaginator.model.tree import Entry, Inode, Kind, Node, decode_node, encode_node
from imaginator.store.catalogue import Catalogue
from imaginator.store.images import EmbeddedStore
from imaginator.store.layers import Entries
from imaginator.store.objects import Objects
from imaginator.store.workers import Workers
from tests.support.real_reactor import reactor

START = datetime(2026, 11, 22, 23, 38, 5, tzinfo=UTC)


class StoreParts:
    """The store below ``directory`` with its parts; `now` is its clock."""

    def __init__(self, directory: Path) -> None:
        self.now = START
        self.directory = directory
        self.catalogue = Catalogue(directory / "catalogue.sqlite", reactor)
        self.workers = Workers(2, reactor)
        self.objects = Objects(directory / "objects")
        self.store = EmbeddedStore(self.catalogue, self.objects, self.workers, lambda: self.now)

    def later(self, **delta: float) -> None:
        """Let the clock go on."""
        self.now += timedelta(**delta)

    def put(self, content: bytes) -> Inode:
        """Keep an object; a file that has it."""
        digest = hashlib.sha512(content).digest()
        path = self.objects.path(digest)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return Inode(Kind.REGULAR, 0o644, size=len(content), object=digest)


@asynccontextmanager
async def running_store(directory: Path) -> AsyncIterator[StoreParts]:
    """A store whose threads run."""
    parts = StoreParts(directory)
    parts.catalogue.startService()
    parts.workers.startService()
    try:
        yield parts
    finally:
        parts.workers.stopService()
        parts.catalogue.stopService()


async def never(entries: Entries, directory: Path) -> tuple[Path, int]:
    """Restores no layer, where none is missing."""
    raise AssertionError(entries, directory)


class Forest:
    """Nodes in memory; as a `NodeReader` it counts what is read."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, bytes] = {}
        self.read: list[bytes] = []

    def __call__(self, node: bytes) -> Node:
        """The node of this id."""
        self.read.append(node)
        return decode_node(self.nodes[node])

    def plant(self, tree: Mapping[bytes, Inode]) -> Entry:
        """The root of a tree given as inodes by path, ``/`` included."""
        return self._entry(b"/", b"", tree)

    def _entry(self, path: bytes, name: bytes, tree: Mapping[bytes, Inode]) -> Entry:
        inode = tree[path]
        if inode.kind is not Kind.DIRECTORY:
            return Entry(name, inode)
        below = path.rstrip(b"/") + b"/"
        names = sorted(
            p[len(below) :] for p in tree if p != b"/" and p.startswith(below) and b"/" not in p[len(below) :]
        )
        node, data = encode_node(Node(tuple(self._entry(below + child, child, tree) for child in names)))
        self.nodes[node] = data
        return Entry(name, inode, node)


def draft(stream: str, root: Entry, **fields: object) -> Image:
    """An image that is not named yet."""
    return Image(name=stream, root=root, created_at=START, **fields)  # type: ignore[arg-type]
