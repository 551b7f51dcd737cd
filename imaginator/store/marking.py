"""What images need: the nodes and objects that are reached from their roots."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from struct import Struct

from imaginator.model.tree import Node, NodeReader

_KEY = Struct(">xQ")


def nodes_beneath(roots: Iterable[bytes], read: NodeReader, seen: set[bytes]) -> Iterator[Node]:
    """Every node from ``roots`` down that is not ``seen`` yet, once; their ids go into ``seen``."""
    pending = list(roots)
    while pending:
        node = pending.pop()
        if node and node not in seen:
            seen.add(node)
            found = read(node)
            yield found
            pending.extend([entry.node for entry in found.entries if entry.node])


def reachable(roots: Iterable[bytes], read: NodeReader) -> tuple[set[bytes], set[bytes]]:
    """The ids of the nodes beneath ``roots``, themselves included, and the digests of the objects in them."""
    nodes: set[bytes] = set()
    objects = {entry.inode.object for node in nodes_beneath(roots, read, nodes) for entry in node.entries}
    return nodes, objects


class Marks:
    """The same in little memory and in steps, for a collector.

    Of an object eight bytes of its digest are kept, by its first byte, which names its directory. Two objects that
    share nine bytes are taken for one: then both stay.
    """

    def __init__(self, roots: Iterable[bytes], read: NodeReader) -> None:
        self.nodes: set[bytes] = set()
        self._objects = [array("Q") for _ in range(256)]
        self._ahead = nodes_beneath(roots, read, self.nodes)

    def step(self, count: int) -> bool:
        """Look at ``count`` nodes more; false when there are no more. Raises `StoreCorrupt` for one that is missing."""
        found = 0
        for node in islice(self._ahead, count):
            found += 1
            for entry in node.entries:
                if digest := entry.inode.object:
                    self._objects[digest[0]].append(key_of(digest))
        return found == count

    def objects(self, first: int) -> frozenset[int]:
        """The keys of the objects whose digests begin with the byte ``first``."""
        return frozenset(self._objects[first])


def key_of(digest: bytes) -> int:
    """What `Marks` keeps of a digest, beside its first byte."""
    key: int = _KEY.unpack_from(digest)[0]
    return key
