"""Checks every object file, and brings back from layers what is damaged or missing.

A file that is not what its name says is worse than none, since a build that has the content would rely on it: it is
removed, whether it can be brought back or not. One that cannot be read stays, unless it is brought back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from imaginator.model.errors import BuildFailed
from imaginator.sandbox.tree import Digest, Tree
from imaginator.store.findings import Outcome
from imaginator.store.inventory import Inventory, Stored
from imaginator.store.objects import Objects
from imaginator.store.workbench import File, Workbench

OTHER_CONTENT = "its content is another"
MISSING = "it is missing"


class Loss(NamedTuple):
    """A needed object that is not whole: why, and whether a file has its name."""

    why: str
    file: bool


class ObjectCheck:
    """The objects of one store; ``lost`` are those that an image needs and that are not whole.

    ``unwritten``: whether one that a layer has could not be written, as on a full disk.
    """

    def __init__(self, bench: Workbench, inventory: Inventory, objects: Objects) -> None:
        self._bench = bench
        self._inventory = inventory
        self._objects = objects
        self.lost: dict[bytes, Loss] = {}
        self.unwritten = False

    async def check(self) -> None:
        """Hash every object; afterwards ``lost`` is known."""
        files = await self._bench.workers.run(_object_files, self._objects)
        async with self._bench.mounted() as tree:
            found = await self._bench.digests(tree, files, self._objects.directory, "objects")
        self._bench.report.objects = len(found)
        present = {_digest_of(each.path): each for each in found}
        for digest, each in present.items():
            if each.digest != digest:
                self._bad(digest, each)
        self._bench.report.unneeded = len(present.keys() - self._inventory.objects)
        for digest in self._inventory.objects - present.keys():
            self.lost[digest] = Loss(MISSING, file=False)

    def _bad(self, digest: bytes, found: Digest) -> None:
        if digest in self._inventory.objects:
            self.lost[digest] = Loss(found.problem or OTHER_CONTENT, file=True)
        elif found.problem:
            self._tell(Outcome.DAMAGED, digest, f"is needed by no image and cannot be read: {found.problem}")
        else:
            self._bench.set_aside(self._objects.path(digest))
            self._tell(Outcome.REPAIRED, digest, "was damaged and is needed by no image: removed")

    async def restore(self) -> None:
        """Bring back what the layers of the images that need it still have, and tell of what they have not."""
        if not self.lost:
            return
        for stored in self._inventory.images:
            if stored.image and self.lost:
                wanted = await self._bench.workers.run(self._wanted, stored)
                await self._restore_from(stored, wanted)
        await self._bench.workers.run(self._tell_losses)

    def _wanted(self, stored: Stored) -> dict[bytes, bytes]:
        """The lost objects of an image, by path."""
        tree = self._inventory.tree(stored.image) if stored.image else {}
        return {path: inode.object for path, inode in tree.items() if inode.object in self.lost}

    async def _restore_from(self, stored: Stored, wanted: Mapping[bytes, bytes]) -> None:
        layers = [layer for layer in stored.layers if self._bench.has_layer(layer)]
        if not wanted or not layers:
            return
        try:
            async with self._bench.mounted(layers) as tree:
                for found in await tree.digests(list(wanted)):
                    if found.digest == wanted[found.path] and found.digest in self.lost:
                        await self._restore_one(tree, found, stored.name)
        except BuildFailed as error:
            self._bench.report.add(Outcome.DAMAGED, f"the layers of image {stored.name} cannot be read: {error}")

    async def _restore_one(self, tree: Tree, found: Digest, image: str) -> None:
        loss = self.lost[found.digest]
        aside = self._bench.set_aside(self._objects.path(found.digest)) if loss.file else None
        try:
            [content] = await tree.collect([found.path], self._objects.directory)
        except BuildFailed:
            self.unwritten = True
            if aside:
                aside.rename(self._objects.path(found.digest))
            raise
        self.lost[found.digest] = Loss(loss.why, file=False)
        if content.digest == found.digest:
            del self.lost[found.digest]
            source = f"{os.fsdecode(found.path)!r} of image {image}"
            self._tell(Outcome.REPAIRED, found.digest, f"({loss.why}) was restored from {source}")

    def _tell_losses(self) -> None:
        for digest, loss in self.lost.items():
            wrong = loss.file and loss.why == OTHER_CONTENT
            if wrong:
                self._bench.set_aside(self._objects.path(digest))
            removed = "; the file was removed" if wrong else ""
            self._tell(Outcome.DAMAGED, digest, f"is lost: {loss.why}, and no layer has it{removed}")
        for stored in self._inventory.images:
            if lost := self._wanted(stored):
                sentence = (
                    f"image {stored.name} can neither be built upon nor exported: objects of {len(lost)} of its files "
                    f"are lost, the first is {os.fsdecode(min(lost))!r}, object {lost[min(lost)].hex()}"
                )
                self._bench.report.add(Outcome.DAMAGED, sentence)

    def _tell(self, outcome: Outcome, digest: bytes, what: str) -> None:
        self._bench.report.add(outcome, f"object {digest.hex()} {what}")


def _object_files(objects: Objects) -> list[File]:
    """Every file that has an object's name, with its path below the directory; others are no objects."""
    found = []
    for folder in sorted(objects.directory.iterdir()):
        if folder.is_dir():
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _is_digest(folder.name + entry.name):
                        path = f"/{folder.name}/{entry.name}"
                        found.append((path.encode(), entry.stat(follow_symlinks=False).st_size))
    return found


def _is_digest(name: str) -> bool:
    return len(name) == 128 and not set(name) - set("0123456789abcdef")


def _digest_of(path: bytes) -> bytes:
    return bytes.fromhex(path.replace(b"/", b"").decode())
