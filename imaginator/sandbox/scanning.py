"""Reading a tree: what its upper says. Standard library only (see `holder`).

The upper of an overlay tells which paths changed; what they are now is read from the merged tree, where inode numbers
are those of the whole file even when a hard-link group was copied up under one name only (``index=on``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from imaginator.sandbox.beneath import Root
from imaginator.sandbox.owners import ON_DISK, Owners

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from typing import Any

    Inode = tuple[Any, ...]
    """The fields of `imaginator.model.tree.Inode` in their order; marshal knows no classes."""
    Change = tuple[bytes, Inode | None, bool, int]
    """The fields of `imaginator.model.changes.Change` in their order."""

OPAQUE = "trusted.overlay.opaque"
OVERLAY_ATTRIBUTES = "trusted.overlay."

_KINDS = {
    stat.S_IFDIR: "d",
    stat.S_IFREG: "f",
    stat.S_IFLNK: "l",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
    stat.S_IFIFO: "p",
}


def scan(upper: bytes, merged: bytes, owners: Owners = ON_DISK) -> Iterator[Change]:
    """Every path that the upper speaks of, parents first, siblings bytewise; for a plain tree both are one."""
    yield _change(b"/", upper, merged, owners)
    yield from _scan_directory(b"/", upper, merged, owners)


def paths_of(upper: bytes, path: bytes = b"/") -> Iterator[bytes]:
    """The paths that `scan` would tell of but the root, without looking at them."""
    with os.scandir(upper + path) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        child = os.path.join(path, name)
        yield child
        if is_directory:
            yield from paths_of(upper, child)


def _scan_directory(path: bytes, upper: bytes, merged: bytes, owners: Owners) -> Iterator[Change]:
    with os.scandir(upper + path) as entries:
        names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_directory in names:
        child = os.path.join(path, name)
        yield _change(child, upper, merged, owners)
        if is_directory:
            yield from _scan_directory(child, upper, merged, owners)


def _change(path: bytes, upper: bytes, merged: bytes, owners: Owners) -> Change:
    status = os.lstat(upper + path)
    if upper == merged:
        inode, number = look(merged + path, owners, status)
        return path, inode, False, number
    if is_whiteout(status):
        return path, None, False, 0
    opaque = stat.S_ISDIR(status.st_mode) and _is_opaque(upper + path)
    inode, number = look(merged + path, owners)
    return path, inode, opaque, number


def is_whiteout(status: os.stat_result) -> bool:
    """Whether an upper's inode says that a name is gone."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque(path: bytes) -> bool:
    try:
        return os.getxattr(path, OPAQUE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def lookup(paths: Iterable[bytes], root: Root) -> Iterator[Change]:
    """The given paths as the merged tree has them; what a link of the tree leads to is not there."""
    for path in paths:
        inode, number = None, 0
        with root.place(path) as place:
            if place is not None and os.path.lexists(place):
                inode, number = look(place, root.owners)
        yield path, inode, False, number


def look(path: bytes, owners: Owners, status: os.stat_result | None = None) -> tuple[Inode | None, int]:
    """The inode at a path of the host, None for a socket, and its number where it has several links."""
    status = status or os.lstat(path)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None, 0
    inode = (
        kind,
        stat.S_IMODE(status.st_mode),
        owners.image(status.st_uid),
        owners.image(status.st_gid),
        status.st_mtime_ns,
        status.st_size if kind == "f" else 0,
        b"",
        os.readlink(path) if kind == "l" else b"",
        status.st_rdev if kind in "cb" else 0,
        _attributes(path, owners),
    )
    return inode, status.st_ino if kind != "d" and status.st_nlink > 1 else 0


def _attributes(path: bytes, owners: Owners) -> tuple[tuple[bytes, bytes], ...]:
    names = sorted(name for name in os.listxattr(path, follow_symlinks=False))
    return tuple(
        (os.fsencode(name), owners.attribute(name, os.getxattr(path, name, follow_symlinks=False)))
        for name in names
        if not name.startswith(OVERLAY_ATTRIBUTES)
    )
