"""The trees of builds that failed, kept for a while so that somebody can look at them.

::

    kept/BUILD/       the workspace of the build, as it was when the sandbox ended
      kept.json       what it takes to open it again
    kept/.gone-BUILD  is being removed

A tree comes here by a rename with its ``kept.json`` in it, so it is whole or not there; a restart finds it again. The
layers that it stands on stay as long as it does: overlayfs knows them by more than their content, so that restored ones
would not do. Kept trees are a courtesy: there are at most `MOST`, and the oldest go first where the disk is short.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path

import msgspec
from twisted.logger import Logger

from imaginator.model.clock import wall_time
from imaginator.model.errors import BuildFailed, NotFound, Refused
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.process import Reactor, capture
from imaginator.sandbox.sandbox import Workspace
from imaginator.store.layers import Layers

MOST = 10
"""Kept trees; one more, and the oldest goes."""

_RECORD = "kept.json"
_GONE = ".gone-"
_REMOVAL = 600.0
"""Seconds that removing a tree may take."""

Close = Callable[[str], Awaitable[None]]
"""Ends the use of a tree, for a reason."""

_log = Logger()


class KeptTree(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to open a tree as its build had it: no secrets, which no command of a build sees.

    ``layers`` are those that it stands on, bottom first, none for a bootstrap's.
    """

    build_id: str
    stream_name: str
    until: datetime
    layers: tuple[str, ...]
    environment: dict[str, str]
    network: bool
    limits: Limits


class Kept:
    """The trees below ``directory``, which is on the file system of the workspaces."""

    def __init__(self, directory: Path, layers: Layers, reactor: Reactor) -> None:
        self._directory = directory
        self._layers = layers
        self._reactor = reactor
        self._trees: dict[str, KeptTree] = {}
        self._pins: dict[str, ExitStack] = {}
        self._users: dict[str, Close] = {}

    async def load(self) -> None:
        """Find what an earlier daemon kept; what is of no use any more is removed."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for path in sorted(self._directory.iterdir()):
            tree = _read(path / _RECORD)
            if tree is None or tree.build_id != path.name:
                await self._discard(path)
                continue
            self._add(tree)
            if not await self._layers.have(tree.layers):
                await self._remove(tree, "layers that it stands on are missing")
        await self.expire()

    def _add(self, tree: KeptTree) -> None:
        pin = ExitStack()
        pin.enter_context(self._layers.pinned(tree.layers))
        self._trees[tree.build_id] = tree
        self._pins[tree.build_id] = pin

    def now(self) -> datetime:
        """The time, as trees have it."""
        return wall_time(self._reactor)

    async def keep(self, tree: KeptTree, directory: Path) -> None:
        """Take the workspace of a build, in which nothing runs any more; raises ``OSError``.

        It takes the place of an earlier one: a daemon that is killed runs a build once more.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        if tree.build_id in self._trees:
            await self._remove(self._trees[tree.build_id], "its build has failed once more")
        while len(self._trees) >= MOST:
            if self._trees.keys() <= self._users.keys():
                raise OSError(errno.EBUSY, f"somebody works in each of the {MOST} that there may be")
            await self.trim()
        (directory / _RECORD).write_bytes(msgspec.json.encode(tree))
        directory.rename(self._directory / tree.build_id)
        self._add(tree)

    def until(self, build_id: str) -> datetime | None:
        """When a build's tree goes; None where none is kept."""
        tree = self._trees.get(build_id)
        return tree.until if tree else None

    def lend(self, build_id: str, close: Close) -> tuple[KeptTree, Workspace]:
        """A tree for one user at a time, until `give_back`; ``close`` is called where it goes before.

        Raises `NotFound`, and `Refused` where somebody else has it.
        """
        tree = self.get(build_id)
        if build_id in self._users:
            raise Refused(f"somebody works in the tree of build {build_id} already")
        self._users[build_id] = close
        lowers = tuple(self._layers.path(layer) for layer in reversed(tree.layers))
        return tree, Workspace(self._directory / build_id, lowers)

    def get(self, build_id: str) -> KeptTree:
        """A tree that is kept; raises `NotFound`."""
        tree = self._trees.get(build_id)
        if tree is None or tree.until <= self.now():
            raise NotFound(f"the tree of build {build_id} is not kept")
        return tree

    def give_back(self, build_id: str) -> None:
        """Nobody uses a tree any more."""
        self._users.pop(build_id, None)

    async def expire(self) -> None:
        """Remove the trees whose time is over."""
        now = self.now()
        for tree in list(self._trees.values()):
            if tree.until <= now:
                await self._remove(tree, "its time is over")

    async def trim(self) -> bool:
        """Remove the oldest tree, if possible one that nobody uses; False where there is none."""
        tree = min(self._trees.values(), key=lambda tree: (tree.build_id in self._users, tree.build_id), default=None)
        if tree is not None:
            await self._remove(tree, "its place is needed")
        return tree is not None

    async def make_room(self, wanted: int) -> None:
        """Remove the oldest trees until there are so many bytes more on the disk, or no trees."""
        enough = _free(self._directory.parent) + wanted
        while _free(self._directory.parent) < enough and await self.trim():
            pass

    async def _remove(self, tree: KeptTree, reason: str) -> None:
        """End the use of a tree, and remove it."""
        if self._trees.pop(tree.build_id, None) is None:
            return
        close = self._users.get(tree.build_id)
        if close is not None:
            await close(f"the tree is removed: {reason}")
        gone = self._directory / f"{_GONE}{tree.build_id}"
        with suppress(FileNotFoundError):  # somebody has removed it by hand
            (self._directory / tree.build_id).rename(gone)
        self._pins.pop(tree.build_id).close()
        _log.info("the tree of build {id} is removed: {reason}", id=tree.build_id, reason=reason)
        await self._discard(gone)

    async def _discard(self, path: Path) -> None:
        """By a process: a large tree in a thread would keep the reactor's from its turns."""
        argv = ["rm", "-rf", "--one-file-system", "--", str(path)]
        try:
            await capture(self._reactor, argv, {"PATH": os.defpath}, timeout=_REMOVAL)
        except BuildFailed as error:
            _log.error("a kept tree cannot be removed: {error}", error=str(error))


def _free(place: Path) -> int:
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def _read(path: Path) -> KeptTree | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeptTree)
    except (OSError, msgspec.DecodeError):
        return None
