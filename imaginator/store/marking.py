"""What images need: the nodes and objects that are reached from their roots."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import NamedTuple

from imaginator.model.tree import Node, NodeReader

REMEMBERED = 100_000
"""Nodes that a collector remembers; they take some 40 MB, and are those of about a hundred different systems."""


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


class Needs(NamedTuple):
    """What one node needs: other nodes, and objects by their keys."""

    nodes: tuple[bytes, ...]
    objects: array[int]


class Memory:
    """What nodes need, which never changes, remembered from one round to the next; ``read`` finds a new one."""

    def __init__(self, read: NodeReader) -> None:
        self._read = read
        self._known: dict[bytes, Needs] = {}

    def __call__(self, node: bytes) -> Needs:
        """What a node needs; raises `StoreCorrupt` where it is not kept."""
        known = self._known.get(node)
        if known is None:
            known = _needs(self._read(node))
            if len(self._known) < REMEMBERED:
                self._known[node] = known
        return known

    def forget(self, nodes: Iterable[bytes]) -> None:
        """Forget nodes that are needed no more."""
        for node in nodes:
            self._known.pop(node, None)


class Marks:
    """What is `reachable` in little memory and in steps, for a collector.

    Of an object eight bytes are kept, its key, among those of its directory. Two objects that share them are taken for
    one: then both stay.
    """

    def __init__(self, roots: Iterable[bytes], needs: Callable[[bytes], Needs]) -> None:
        self.nodes: set[bytes] = set()
        self._needs = needs
        self._pending = list(roots)
        self._objects = [array("Q") for _ in range(256)]

    def step(self, count: int) -> bool:
        """Look at ``count`` nodes at most; false when none is left. Raises `StoreCorrupt` for one that is missing."""
        for _ in range(count):
            if not self._pending:
                return False
            node = self._pending.pop()
            if node and node not in self.nodes:
                self.nodes.add(node)
                needed = self._needs(node)
                self._pending += needed.nodes
                for key in needed.objects:
                    self._objects[key >> 56].append(key)
        return True

    def objects(self, first: int) -> frozenset[int]:
        """The keys of the objects whose digests begin with the byte ``first``."""
        return frozenset(self._objects[first])


def key_of(digest: bytes) -> int:
    """What is kept of a digest."""
    return int.from_bytes(digest[:8], "big")


def _needs(node: Node) -> Needs:
    objects = [key_of(entry.inode.object) for entry in node.entries if entry.inode.object]
    return Needs(tuple(entry.node for entry in node.entries if entry.node), array("Q", objects))
