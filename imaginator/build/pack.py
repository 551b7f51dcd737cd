"""Packing: what a build changed becomes objects, nodes, and a layer that equals the image.

The sandbox's helper walks, hashes and mends the tree; the merge runs in a worker thread. The reactor's thread only
passes lists along (`imaginator.store.workers` says how the threads give way to it).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred

from imaginator.build.proof import Prover
from imaginator.model.changes import Change, Content
from imaginator.model.image import Figures, Image
from imaginator.model.tree import NodeReader
from imaginator.sandbox.tree import Tree
from imaginator.store.interface import Hold
from imaginator.store.merkle import (
    Base,
    Merged,
    Rules,
    computed_files,
    groups_to_look_up,
    merge,
    paths_to_collect,
    paths_with_older_time,
)
from imaginator.store.workers import Workers


class Packing(NamedTuple):
    """The means of a packing: threads, the reader of the store's nodes, the directory of its objects, who proves it
    (None: nobody), and what keeps objects from being collected (None: nothing collects them).
    """

    workers: Workers
    nodes: NodeReader
    objects: Path
    prover: Prover | None = None
    hold: Hold | None = None


class Packed(NamedTuple):
    """The image's tree, what was counted, objects included, and the bytes that its layer takes on the disk."""

    merged: Merged
    figures: Figures
    layer_size: int


async def pack(packing: Packing, tree: Tree, source: Image | None, rules: Rules) -> Packed:
    """Pack a finished tree over ``source`` (None: a bootstrap); afterwards its upper can be adopted as a layer.

    Raises `BuildFailed` where the image cannot be as ``rules`` want it.
    """
    run = packing.workers.run
    base = await run(base_of, source, packing.nodes) if source else None
    changes = await _changes(packing, tree, base, rules)
    contents = await tree.gather(await run(paths_to_collect, changes, rules), packing.objects)
    if packing.hold is not None:
        await run(_keep, packing.hold, contents)
    # Meanwhile the disk works.
    publishing = ensureDeferred(_publish(tree, contents, packing.objects))
    try:
        merged = await run(merge, base, changes, contents, rules, packing.nodes)
    finally:
        await publishing
    if packing.prover is not None:
        await packing.prover.check_tree(tree, merged, rules)
    size = await tree.finish(merged.touches)
    return Packed(merged, await run(_counted, merged.figures, contents), size)


def _keep(hold: Hold, contents: Sequence[Content]) -> None:
    hold.content({content.digest for content in contents})


async def _publish(tree: Tree, contents: Sequence[Content], objects: Path) -> None:
    """Make objects of what was gathered; what was collected after it was found, and before it was held, once more."""
    if lost := set(await tree.publish()):
        await tree.collect([content.path for content in contents if content.digest in lost], objects)


async def _changes(packing: Packing, tree: Tree, base: Base | None, rules: Rules) -> list[Change]:
    """What the upper says, and the paths that have to be looked at because of it or of the previous image's times."""
    changes = await tree.scan()
    if base is None:
        return changes
    if older := await packing.workers.run(paths_with_older_time, base, rules, packing.nodes):
        known = await packing.workers.run(lambda: {change.path for change in changes})
        lent = await tree.lookup([path for path in older if path not in known])
        changes += [change for change in lent if change.inode is not None]
    groups = await packing.workers.run(groups_to_look_up, base, changes, rules)
    return changes + (await tree.lookup([path for group in groups for path in group]) if groups else [])


def base_of(image: Image, read: NodeReader) -> Base:
    """What a merge knows of an image; one that does not list its computed files is walked for them."""
    computed = computed_files(image.root, read) if image.computed is None else image.computed
    return Base(image.root, image.links, image.figures, frozenset(computed))


def _counted(figures: Figures, contents: Sequence[Content]) -> Figures:
    new = sum(content.new for content in contents)
    return replace(figures, objects_new=new, objects_known=len(contents) - new)
