"""Checks that the layers of every image, mounted as a build would, show exactly the image's tree.

A layer that shows something else is removed: it is a cache, and the image gets one flat layer, restored from objects,
when it is next needed. A file that several chains of layers show is hashed once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from imaginator.model.changes import Change
from imaginator.model.errors import BuildFailed
from imaginator.model.tree import Inode
from imaginator.sandbox.tree import Tree
from imaginator.store.comparison import Difference, differences, files_by_number
from imaginator.store.findings import Outcome
from imaginator.store.inventory import Inventory, Stored
from imaginator.store.workbench import Workbench

ENOUGH = 1000
"""Differences of one image whose layers are looked for."""

REBUILT = "rebuilt from objects when it is next needed"

Chain = tuple[str, ...]


class LayerCheck:
    """The layers of one store."""

    def __init__(self, bench: Workbench, inventory: Inventory) -> None:
        self._bench = bench
        self._inventory = inventory
        self._hashed: dict[int, tuple[bytes, str]] = {}
        self._removed: set[str] = set()

    async def check(self) -> None:
        """Look at every chain of layers, short ones first, so that a damaged layer is told with its own image."""
        chains = self._chains()
        self._bench.report.layers = len({layer for chain in chains for layer in chain})
        for number, chain in enumerate(sorted(chains, key=len)):
            self._bench.report.progress("chains of layers", number, len(chains))
            missing = [layer for layer in chain if not self._bench.has_layer(layer)]
            for layer in missing:
                self._bench.report.add(Outcome.REPAIRED, f"layer {layer} is missing: {REBUILT}")
                self._removed.add(layer)
            if not missing:
                await self._check_chain(chain, chains[chain])

    def remove(self) -> None:
        """Take the damaged layers away, when nothing can be restored from them any more."""
        for layer in self._removed:
            if self._bench.layer(layer).exists():
                self._bench.set_aside(self._bench.layer(layer))

    def _chains(self) -> dict[Chain, list[Stored]]:
        chains: dict[Chain, list[Stored]] = {}
        for stored in self._inventory.images:
            if stored.layers:
                chains.setdefault(stored.layers, []).append(stored)
        return chains

    async def _check_chain(self, chain: Chain, images: Sequence[Stored]) -> None:
        try:
            async with self._bench.mounted(chain) as tree:
                found = await tree.survey()
                for stored in images:
                    await self._check_image(stored, tree, found)
        except BuildFailed as error:
            names = ", ".join(stored.name for stored in images)
            self._bench.report.add(Outcome.DAMAGED, f"the layers of image {names} cannot be looked at: {error}")

    async def _check_image(self, stored: Stored, tree: Tree, found: Sequence[Change]) -> None:
        image = stored.image
        breaks = await self._bench.workers.run(self._inventory.breaks, image) if image else []
        if image is None or breaks:
            return  # what its tree should be is not known; that was told already
        expected = await self._bench.workers.run(self._inventory.tree, image)
        wrong = await self._bench.workers.run(lambda: list(differences(expected, found)))
        wrong += await self._wrong_content(tree, expected, found)
        if wrong:
            await self._blame(stored, tree, wrong)

    async def _wrong_content(
        self, tree: Tree, expected: Mapping[bytes, Inode], found: Sequence[Change]
    ) -> list[Difference]:
        numbers = files_by_number(expected, found)
        fresh = {number: path for path, number in numbers.items() if number not in self._hashed}
        files = [(path, expected[path].size) for path in fresh.values()]
        for each in await self._bench.digests(tree, files, None, "files of layers"):
            self._hashed[numbers[each.path]] = (each.digest, each.problem)
        return [
            (path, f"cannot be read: {problem}" if problem else "has another content")
            for path, number in numbers.items()
            for digest, problem in [self._hashed[number]]
            if digest != expected[path].object
        ]

    async def _blame(self, stored: Stored, tree: Tree, wrong: Sequence[Difference]) -> None:
        """Find the layers that show what is wrong; at least one of the chain goes, so that none uses it any more."""
        places = await tree.providers([path for path, _ in wrong[:ENOUGH]])
        guilty: dict[str, list[Difference]] = {}
        for place, difference in zip(places, wrong, strict=False):
            # What no layer names was removed from one of them: the image's own is the cheapest to do without.
            layer = stored.layers[-1 - max(place, 0)]
            guilty.setdefault(layer, []).append(difference)
        for layer, found in guilty.items():
            if layer not in self._removed:
                self._removed.add(layer)
                self._bench.report.add(Outcome.REPAIRED, _sentence(layer, stored.name, found))


def _sentence(layer: str, image: str, found: Sequence[Difference]) -> str:
    path, what = found[0]
    more = f" (and {len(found) - 1} more differences)" if len(found) > 1 else ""
    return f"layer {layer} was damaged, in image {image} {os.fsdecode(path)!r} {what}{more}: removed, {REBUILT}"
