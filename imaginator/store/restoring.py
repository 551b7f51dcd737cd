"""Restoring an image's tree from metadata and objects, by the sandbox's helper."""

from __future__ import annotations

from pathlib import Path

from imaginator.sandbox.limits import Limits
from imaginator.sandbox.process import Reactor
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from imaginator.store.layers import Entries


class Restorer:
    """Makes trees of the objects below ``objects``; an instance is what `imaginator.store.layers.Layers` calls."""

    def __init__(self, reactor: Reactor, objects: Path) -> None:
        self._reactor = reactor
        self._objects = objects

    async def __call__(self, entries: Entries, directory: Path) -> tuple[Path, int]:
        """A plain tree within ``directory``, and its size; parents come first in ``entries``. Raises `BuildFailed`."""
        workspace = Workspace(directory)
        sandbox = await Sandbox.open(self._reactor, workspace, Profile.MANIFEST, Limits(0, 0))
        try:
            size = await sandbox.tree.restore(entries, self._objects)
        finally:
            await sandbox.close()
        return workspace.upper, size
