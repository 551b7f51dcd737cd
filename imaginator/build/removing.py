"""Removes the workspaces of builds and surveys that have ended."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from imaginator.build.environment import PATH
from imaginator.model.errors import BuildFailed
from imaginator.sandbox.process import Reactor, capture
from imaginator.store.workers import Workers

REMOVAL = 600.0
"""Seconds that removing a workspace may take."""


class Remover:
    """Removes workspaces. One that the disk does not let go is tried again with each later one."""

    def __init__(self, reactor: Reactor, workers: Workers) -> None:
        self._reactor = reactor
        self._workers = workers
        self._left: list[Path] = []

    async def remove(self, directory: Path, note: Callable[[str], None]) -> None:
        """Remove a workspace; ``note`` is told what keeps it there."""
        left, self._left = self._left, []
        for place in (*left, directory):
            try:
                await self._remove(place)
            except BuildFailed as error:
                self._left.append(place)
                note(f"a workspace cannot be removed: {error}")

    async def _remove(self, directory: Path) -> None:
        """By a thread where its tree has become a layer, else by a process.

        A large tree in a thread would keep the reactor's from its turns; a process takes longer to start than to work.
        """
        if not (directory / "upper").exists():
            with contextlib.suppress(RecursionError):  # directories a thousand deep
                await self._workers.run(shutil.rmtree, directory, ignore_errors=True)
        if directory.exists():
            argv = ["rm", "-rf", "--one-file-system", "--", str(directory)]
            await capture(self._reactor, argv, {"PATH": PATH}, timeout=REMOVAL)
