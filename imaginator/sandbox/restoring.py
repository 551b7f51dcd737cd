"""Makes a tree again from its metadata and its objects. Standard library only (see `holder`).

Directories are made as they come. Files wait until there are enough of them for several processes; other names of a
file wait until it is there, and directories get their times last.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence

from imaginator.sandbox.collecting import object_path
from imaginator.sandbox.contents import copy_content
from imaginator.sandbox.finishing import set_attributes
from imaginator.sandbox.forks import side_by_side

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from typing import Any

    from imaginator.sandbox.scanning import Inode

_TYPES = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_AT_ONCE = 20_000
"""Files that wait at most."""
_ENOUGH_FOR_A_PROCESS = 64


class Restoration:
    """Fills the directory ``root``; ``settle`` ends it."""

    def __init__(self, root: bytes, objects: bytes) -> None:
        self._root = root
        self._objects = objects
        self._directories: list[tuple[bytes, int]] = []
        self._waiting: list[tuple[bytes, Inode]] = []
        self._first_names: dict[bytes, bytes] = {}
        self._links: list[tuple[bytes, bytes]] = []
        self._size = 0

    def add(self, entries: Iterable[Sequence[Any]]) -> None:
        """Make paths, each with its inode; parents come before children."""
        for path, inode in entries:
            self._add(self._root + path, inode)
        if len(self._waiting) >= _AT_ONCE:
            self._make_waiting()

    def settle(self) -> int:
        """Make what is left, and set the times that making children changed; the bytes that the tree takes."""
        self._make_waiting()
        for first, target in self._links:
            os.link(first, target, follow_symlinks=False)
        for path, mtime in reversed(self._directories):
            os.utime(path, ns=(mtime, mtime))
            self._size += os.lstat(path).st_blocks * 512
        return self._size

    def _add(self, target: bytes, inode: Inode) -> None:
        kind, mtime, group = inode[0], inode[4], inode[10]
        if group and self._first_names.setdefault(group, target) != target:
            self._links.append((self._first_names[group], target))
        elif kind == "d":
            os.makedirs(target, 0o700, exist_ok=True)
            _set_metadata(target, inode)
            self._directories.append((target, mtime))
        else:
            self._waiting.append((target, inode))

    def _make_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        processes = min(os.cpu_count() or 1, len(waiting) // _ENOUGH_FOR_A_PROCESS + 1)
        results = side_by_side([self._share(waiting[number::processes]) for number in range(processes)])
        self._size += sum(size for sizes in results for size in sizes)

    def _share(self, files: Sequence[tuple[bytes, Inode]]) -> Callable[[], list[int]]:
        """The work of one process: make files; the bytes that they take."""

        def work() -> list[int]:
            for target, inode in files:
                self._make(target, inode)
            return [sum(os.lstat(target).st_blocks for target, _ in files) * 512]

        return work

    def _make(self, target: bytes, inode: Inode) -> None:
        kind, digest, link_target, device = inode[0], inode[6], inode[7], inode[8]
        if kind == "l":
            os.symlink(link_target, target)
        elif kind in _TYPES:
            os.mknod(target, _TYPES[kind] | 0o600, device)
        elif digest:
            copy_content(object_path(self._objects, digest), target)
        else:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _set_metadata(target, inode)


def _set_metadata(target: bytes, inode: Inode) -> None:
    """Owner, attributes, mode and time, in the order in which none undoes another."""
    kind, mode, uid, gid, mtime = inode[:5]
    os.chown(target, uid, gid, follow_symlinks=False)
    set_attributes(target, inode[9])
    if kind != "l":
        os.chmod(target, mode)
    os.utime(target, ns=(mtime, mtime), follow_symlinks=False)
