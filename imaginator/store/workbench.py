"""The means of a check of the store: a scratch directory, sandboxes in it to look at layers, and a report."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from imaginator.sandbox.limits import Limits
from imaginator.sandbox.process import Reactor
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from imaginator.sandbox.tree import Digest, Tree
from imaginator.store.catalogue import Catalogue
from imaginator.store.findings import Report
from imaginator.store.workers import Workers

BATCH_FILES = 1000
BATCH_BYTES = 128 << 20
"""What is hashed between two words of progress; the holder's processes are started anew for each."""

File = tuple[bytes, int]
"""A path and its size in bytes."""


class Workbench:
    """Works on the store below ``state``, which nobody else may use meanwhile.

    ``scratch`` is on the same file system; what is set aside there is removed with it.
    """

    def __init__(
        self, state: Path, scratch: Path, catalogue: Catalogue, workers: Workers, reactor: Reactor, report: Report
    ) -> None:
        self.state = state
        self.scratch = scratch
        self.catalogue = catalogue
        self.workers = workers
        self.report = report
        self._reactor = reactor
        self._names = count()

    def layer(self, layer: str) -> Path:
        """The directory of a layer."""
        return self.state / "layers" / layer

    def has_layer(self, layer: str) -> bool:
        """Whether a layer's tree is there."""
        return (self.layer(layer) / "tree").is_dir()

    @asynccontextmanager
    async def mounted(self, layers: Sequence[str] = ()) -> AsyncIterator[Tree]:
        """The tree of some layers, bottom first, as a build sees it; without any, an empty one."""
        lowers = tuple(self.layer(layer) / "tree" for layer in reversed(layers))
        workspace = Workspace(self._fresh(), lowers)
        sandbox = await Sandbox.open(self._reactor, workspace, Profile.MANIFEST, Limits())
        try:
            yield sandbox.tree
        finally:
            await sandbox.close()

    async def digests(self, tree: Tree, files: Sequence[File], folder: Path | None, what: str) -> list[Digest]:
        """The digests of files of ``tree``, or below ``folder``, telling of progress."""
        found: list[Digest] = []
        for batch in _batches(files):
            self.report.progress(what, len(found), len(files))
            found += await tree.digests(batch, folder)
        self.report.bytes += sum(digest.size for digest in found)
        return found

    def set_aside(self, path: Path) -> Path:
        """Take a file or directory out of the store at once; where it is until the end, when it is removed."""
        return path.rename(self._fresh())

    def _fresh(self) -> Path:
        return self.scratch / f"{self.scratch.name}-{next(self._names)}"


def _batches(files: Sequence[File]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for path, length in files:
        batch.append(path)
        size += length
        if len(batch) == BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
