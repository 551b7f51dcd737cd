"""Makes a tree again from its metadata and its objects. Standard library only (see `holder`)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from imaginator.sandbox.collecting import object_path
from imaginator.sandbox.contents import copy_content

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from typing import Any

    from imaginator.sandbox.scanning import Inode

_TYPES = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


class Restoration:
    """Fills the directory ``root``; ``settle`` gives directories their times when all is there."""

    def __init__(self, root: bytes, objects: bytes) -> None:
        self._root = root
        self._objects = objects
        self._directories: list[tuple[bytes, int]] = []
        self._groups: dict[bytes, bytes] = {}

    def add(self, entries: Iterable[Sequence[Any]]) -> None:
        """Make paths, each with its inode; parents come before children."""
        for path, inode in entries:
            self._make(self._root + path, inode)

    def settle(self) -> None:
        """Set the times that making children changed."""
        for path, mtime in reversed(self._directories):
            os.utime(path, ns=(mtime, mtime))

    def _make(self, target: bytes, inode: Inode) -> None:
        kind, mode, uid, gid, mtime, _, digest, link_target, device, attributes, group = inode
        if group in self._groups:
            os.link(self._groups[group], target, follow_symlinks=False)
            return
        if group:
            self._groups[group] = target
        if kind == "d":
            os.makedirs(target, 0o700, exist_ok=True)
            self._directories.append((target, mtime))
        elif kind == "l":
            os.symlink(link_target, target)
        elif kind in _TYPES:
            os.mknod(target, _TYPES[kind] | 0o600, device)
        else:
            self._make_file(target, digest)
        os.chown(target, uid, gid, follow_symlinks=False)
        for name, value in attributes:
            os.setxattr(target, name, value, follow_symlinks=False)
        if kind != "l":
            os.chmod(target, mode)
        os.utime(target, ns=(mtime, mtime), follow_symlinks=False)

    def _make_file(self, target: bytes, digest: bytes) -> None:
        """A file with an object's content, or an empty one; the mode comes later."""
        if digest:
            copy_content(object_path(self._objects, digest), target)
        else:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
