"""Reading a tree: what its upper says, and the content of its files. Standard library only (see `holder`).

The upper of an overlay tells which paths changed; what they are now is read from the merged tree, where inode numbers
are those of the whole file even when a hard-link group was copied up under one name only (``index=on``).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

from imaginator.sandbox.beneath import Root, write_all
from imaginator.sandbox.forks import side_by_side
from imaginator.sandbox.syscalls import sync_file_system

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from typing import Any

    Inode = tuple[Any, ...]
    """The fields of `imaginator.model.tree.Inode` in their order; marshal knows no classes."""
    Change = tuple[bytes, Inode | None, bool, int]
    """The fields of `imaginator.model.changes.Change` in their order."""
    Content = tuple[bytes, bytes, int, bool]
    """The fields of `imaginator.model.changes.Content` in their order."""

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
_WHOLE = 8 << 20
"""Files up to this size are read whole, so that content which is known is not written a second time."""
_ENOUGH_FOR_A_PROCESS = 64
_FEW = 100
"""Up to so many new objects are synced one by one; more, and the whole file system is cheaper."""


def scan(upper: bytes, merged: bytes) -> Iterator[Change]:
    """Every path that the upper speaks of, parents first, siblings bytewise; for a plain tree both are one."""
    yield _change(b"/", upper, merged)
    yield from _scan_directory(b"/", upper, merged)


def _scan_directory(path: bytes, upper: bytes, merged: bytes) -> Iterator[Change]:
    with os.scandir(upper + path) as entries:
        names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_directory in names:
        child = os.path.join(path, name)
        yield _change(child, upper, merged)
        if is_directory:
            yield from _scan_directory(child, upper, merged)


def _change(path: bytes, upper: bytes, merged: bytes) -> Change:
    status = os.lstat(upper + path)
    if upper == merged:
        inode, number = look(merged + path, status)
        return path, inode, False, number
    if is_whiteout(status):
        return path, None, False, 0
    opaque = stat.S_ISDIR(status.st_mode) and _is_opaque(upper + path)
    inode, number = look(merged + path)
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
                inode, number = look(place)
        yield path, inode, False, number


def look(path: bytes, status: os.stat_result | None = None) -> tuple[Inode | None, int]:
    """The inode at a path of the host, None for a socket, and its number where it has several links."""
    status = status or os.lstat(path)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None, 0
    inode = (
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        status.st_size if kind == "f" else 0,
        b"",
        os.readlink(path) if kind == "l" else b"",
        status.st_rdev if kind in "cb" else 0,
        _attributes(path),
    )
    return inode, status.st_ino if kind != "d" and status.st_nlink > 1 else 0


def _attributes(path: bytes) -> tuple[tuple[bytes, bytes], ...]:
    names = sorted(name for name in os.listxattr(path, follow_symlinks=False))
    return tuple(
        (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False))
        for name in names
        if not name.startswith(OVERLAY_ATTRIBUTES)
    )


def collect(paths: Sequence[bytes], merged: bytes, objects: bytes) -> Iterator[Content]:
    """Hash each file and store its content in ``objects``, reading it once: path, digest, size, whether it was new.

    What is new is on disk when this ends.
    """
    os.makedirs(objects, mode=0o700, exist_ok=True)
    processes = min(os.cpu_count() or 1, len(paths) // _ENOUGH_FOR_A_PROCESS + 1)
    shares = [paths[number::processes] for number in range(processes)]
    fresh: list[bytes] = []
    for path, digest, size, new in side_by_side([_share(share, merged, objects) for share in shares]):
        if new:
            fresh.append(object_path(objects, digest))
        yield path, digest, size, new
    _sync(fresh, objects)


def _share(paths: Sequence[bytes], merged: bytes, objects: bytes) -> Callable[[], list[Content]]:
    """The work of one process: hash and store some files."""

    def work() -> list[Content]:
        temporary = os.path.join(objects, b".new-%d" % os.getpid())
        contents = []
        for path in paths:
            descriptor = os.open(merged + path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                digest, size, new = _store(descriptor, objects, temporary)
            finally:
                os.close(descriptor)
            contents.append((path, digest, size, new))
        return contents

    return work


def _store(descriptor: int, objects: bytes, temporary: bytes) -> tuple[bytes, int, bool]:
    """The digest and size of an open file, and whether its content was new."""
    size = os.fstat(descriptor).st_size
    if size > _WHOLE:
        return _store_large(descriptor, objects, temporary)
    data = bytearray()
    while block := os.read(descriptor, max(size - len(data), 0) + 1):
        data += block
    if not data:
        return b"", 0, False
    digest = hashlib.sha512(data).digest()
    target = object_path(objects, digest)
    if _known(target):
        return digest, len(data), False
    _write(temporary, [data])
    _keep(temporary, target)
    return digest, len(data), True


def _store_large(descriptor: int, objects: bytes, temporary: bytes) -> tuple[bytes, int, bool]:
    content = hashlib.sha512()
    size = 0

    def blocks() -> Iterator[bytes]:
        nonlocal size
        while block := os.read(descriptor, 1 << 20):
            content.update(block)
            size += len(block)
            yield block

    _write(temporary, blocks())
    target = object_path(objects, content.digest())
    if _known(target):
        os.unlink(temporary)
        return content.digest(), size, False
    _keep(temporary, target)
    return content.digest(), size, True


def object_path(objects: bytes, digest: bytes) -> bytes:
    """Where the object with a digest lies: ``ab/cdef…``, so that no directory grows large."""
    name = digest.hex().encode()
    return os.path.join(objects, name[:2], name[2:])


def _known(target: bytes) -> bool:
    """Whether an object is there; if so its time says that it was wanted just now, which spares it from collection."""
    try:
        os.utime(target)
    except FileNotFoundError:
        return False
    return True


def _write(path: bytes, blocks: Iterable[bytes | bytearray]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o400)
    try:
        for block in blocks:
            write_all(descriptor, bytes(block))
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def _keep(temporary: bytes, target: bytes) -> None:
    try:
        os.rename(temporary, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        os.rename(temporary, target)


def _sync(fresh: list[bytes], objects: bytes) -> None:
    if not fresh:
        return
    directories = {os.path.dirname(path) for path in fresh} | {objects}
    paths = [*fresh, *directories] if len(fresh) <= _FEW else [objects]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if len(fresh) <= _FEW:
                os.fsync(descriptor)
            else:
                sync_file_system(descriptor)
        finally:
            os.close(descriptor)
