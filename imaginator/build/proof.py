"""Proof of a build: what it packed equals a full scan of its tree, and what a build over it will see.

Packing computes an image from what overlayfs says that changed, and makes the upper a layer by touching it up; both are
there to be cheap. With ``--verify-builds`` every build does it the long way as well, and fails where the two differ.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from imaginator.model.errors import StoreCorrupt
from imaginator.model.tree import Entry, Inode, Kind, NodeReader, decode_node, walk
from imaginator.sandbox.tree import Tree
from imaginator.store.difference import Difference, differences
from imaginator.store.merkle import Merged, Rules, merge, paths_to_collect
from imaginator.store.workers import Workers

SHOWN = 5
"""Differences that a failure names."""


class Prover:
    """Compares packed trees with what is read of them, by means of threads, the store's nodes and its objects."""

    def __init__(self, workers: Workers, nodes: NodeReader, objects: Path) -> None:
        self._workers = workers
        self._nodes = nodes
        self._objects = objects

    async def check_tree(self, tree: Tree, merged: Merged, rules: Rules) -> None:
        """Raise `StoreCorrupt` unless ``merged`` is what ``rules`` make of the whole tree."""
        whole = await self._whole(tree, rules)
        await self._workers.run(self._compare, whole, merged, "the tree that was built")

    async def check_layers(self, tree: Tree, merged: Merged) -> None:
        """Raise `StoreCorrupt` unless ``tree``, a build over the new layers, shows ``merged``."""
        computed = await self._workers.run(self._computed, merged)
        whole = await self._whole(tree, Rules(computed=computed))
        await self._workers.run(self._compare, whole, merged, "its layers")

    async def _whole(self, tree: Tree, rules: Rules) -> Merged:
        """The image that a full scan of ``tree`` gives."""
        changes = await tree.survey()
        contents = await tree.collect(await self._workers.run(paths_to_collect, changes, rules), self._objects)
        return await self._workers.run(merge, None, changes, contents, rules, self._nodes)

    def _computed(self, merged: Merged) -> dict[bytes, bytes]:
        inodes = ((path, entry.inode) for path, entry in walk(merged.root, self._reader(merged)))
        return {path: inode.target for path, inode in inodes if inode.kind is Kind.COMPUTED}

    def _compare(self, whole: Merged, merged: Merged, what: str) -> None:
        read = self._reader(merged, whole)
        if found := list(islice(differences(merged.root, whole.root, read), SHOWN)):
            raise StoreCorrupt(f"verification: the image differs from {what}: {'; '.join(map(_described, found))}")
        for name in ("links", "computed", "figures"):
            ours, theirs = getattr(merged, name), getattr(whole, name)
            if ours != theirs:
                raise StoreCorrupt(f"verification: the image's {name} differ from {what}: {ours}, found {theirs}")

    def _reader(self, *trees: Merged) -> NodeReader:
        """Reads the nodes of trees that are not in the store yet."""
        fresh = {node: data for tree in trees for node, data in tree.nodes.items()}
        return lambda node: decode_node(fresh[node]) if node in fresh else self._nodes(node)


def _described(difference: Difference) -> str:
    path = difference.path.decode(errors="backslashreplace")
    return f"{path}: {_inode(difference.before)}, found {_inode(difference.after)}"


def _inode(entry: Entry | None) -> Inode | str:
    return entry.inode if entry else "nothing"
