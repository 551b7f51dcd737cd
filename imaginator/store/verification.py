"""Verification: every node, object and layer of a state directory is looked at, told of, and repaired where it can be.

Nothing is removed but on proof: bytes that hash to something else, a layer that shows another tree. What merely cannot
be read stays. The order is that of trust: the catalogue's file, its nodes, the objects that they name, the layers; what
is damaged leaves the store when nothing can be restored from it any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imaginator.model.errors import BuildFailed
from imaginator.model.tree import NodeReader
from imaginator.store.collector import GONE
from imaginator.store.findings import Outcome
from imaginator.store.inventory import (
    Inventory,
    Stored,
    delete_nodes,
    integrity,
    node_states,
    put_nodes,
    stored_images,
)
from imaginator.store.layer_check import LayerCheck
from imaginator.store.object_check import ObjectCheck
from imaginator.store.objects import Objects
from imaginator.store.regrowing import files_below, regrown
from imaginator.store.workbench import Workbench


class Verification:
    """One check of the store on ``bench``; ``nodes`` reads its nodes."""

    def __init__(self, bench: Workbench, objects: Objects, nodes: NodeReader) -> None:
        self._bench = bench
        self._report = bench.report
        self._objects = objects
        self._nodes = nodes

    async def run(self) -> None:
        """Check and repair everything; the report has the findings."""
        problems = await self._bench.catalogue.read(integrity)
        if problems:
            # What a damaged catalogue does not name may be needed all the same.
            self._report.add(Outcome.DAMAGED, f"catalogue.sqlite: {problems[0]}; nothing else was looked at")
            return
        inventory = await self._check_nodes()
        objects = ObjectCheck(self._bench, inventory, self._objects)
        layers = LayerCheck(self._bench, inventory)
        await objects.check()
        await layers.check()
        await objects.restore()
        if objects.unwritten:
            self._report.add(Outcome.DAMAGED, "damaged layers stay for another check: they may have what is lost")
        else:
            layers.remove()
        self._remove_leftovers(inventory.images)

    async def _check_nodes(self) -> Inventory:
        images = await self._bench.catalogue.read(stored_images)
        for stored in images:
            if stored.image is None:
                self._report.add(Outcome.DAMAGED, f"image {stored.name} is lost: its record cannot be read")
        intact, spoilt = await self._bench.catalogue.read(node_states)
        inventory = await self._bench.workers.run(Inventory, images, intact, self._nodes)
        self._report.images, self._report.nodes = len(images), len(intact) + len(spoilt)
        for stored in images:
            await self._restore_nodes(inventory, stored)
        await self._tell_broken(inventory, spoilt)
        return inventory

    async def _restore_nodes(self, inventory: Inventory, stored: Stored) -> None:
        """Make broken nodes of an image again from its layers, where these still show the same."""
        breaks = await self._bench.workers.run(inventory.breaks, stored.image) if stored.image else []
        if not breaks or not stored.layers or not all(map(self._bench.has_layer, stored.layers)):
            return
        try:
            fresh = await self._regrow(stored, breaks)
        except BuildFailed as error:
            self._report.add(Outcome.DAMAGED, f"the layers of image {stored.name} cannot be looked at: {error}")
            return
        if fresh:
            await self._bench.catalogue.write(lambda connection: put_nodes(connection, fresh))
            inventory.intact |= fresh.keys()
            await self._bench.workers.run(inventory.reach)

    async def _regrow(self, stored: Stored, breaks: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        """The nodes that came out with the right id, and those below them."""
        fresh: dict[bytes, bytes] = {}
        async with self._bench.mounted(stored.layers) as tree:
            found = await tree.survey()
            for path, node in breaks:
                digests = await self._bench.digests(tree, files_below(path, found), None, "files of layers")
                links = stored.image.links if stored.image else ()
                made, nodes = await self._bench.workers.run(regrown, path, found, digests, links)
                if made == node:
                    fresh |= nodes
                    self._report.add(Outcome.REPAIRED, f"{_directory(path, stored)} was restored from its layers")
        return fresh

    async def _tell_broken(self, inventory: Inventory, spoilt: set[bytes]) -> None:
        useless = spoilt - inventory.intact
        for node in useless - inventory.broken:
            self._report.add(Outcome.REPAIRED, f"node {node.hex()} was damaged and is needed by no image: removed")
        for stored in inventory.images:
            breaks = await self._bench.workers.run(inventory.breaks, stored.image) if stored.image else []
            for path, node in breaks:
                why = "damaged" if node in spoilt else "missing"
                lost = f"is lost: node {node.hex()} is {why} and cannot be made from the image's layers"
                self._report.add(Outcome.DAMAGED, f"{_directory(path, stored)} {lost}")
        await self._bench.catalogue.write(lambda connection: delete_nodes(connection, useless))

    def _remove_leftovers(self, images: Sequence[Stored]) -> None:
        """What a killed daemon left: workspaces, half-made objects, layers that no image got."""
        needed = {layer for stored in images for layer in stored.layers}
        state = self._bench.state
        leftovers = [path for path in _in(state / "builds") if path != self._bench.scratch]
        leftovers += [path for path in _in(state / "layers") if path.name not in needed]
        leftovers += [path for path in _in(self._objects.directory) if path.name.startswith((".new-", GONE))]
        for path in leftovers:
            self._bench.set_aside(path)
            self._report.add(Outcome.LEFTOVER, f"{path.relative_to(state)} was removed")


def _directory(path: bytes, stored: Stored) -> str:
    return f"directory {path.decode(errors='backslashreplace')!r} of image {stored.name}"


def _in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
