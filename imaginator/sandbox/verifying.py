"""Looking at what should never change: a whole tree, the digests of files, and which layer shows a path.

Standard library only (see `holder`). Nothing here writes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

from imaginator.sandbox.beneath import Root
from imaginator.sandbox.forks import side_by_side
from imaginator.sandbox.owners import Owners
from imaginator.sandbox.scanning import scan

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from imaginator.sandbox.scanning import Change

    Digest = tuple[bytes, bytes, int, str]
    """The fields of `imaginator.sandbox.tree.Digest` in their order."""

_BLOCK = 1 << 20
_ENOUGH_FOR_A_PROCESS = 32


def survey(tree: bytes, owners: Owners) -> Iterator[Change]:
    """Every path of a tree, parents first; each inode that is no directory with its number, however many its links."""
    for path, inode, opaque, number in scan(tree, tree, owners):
        if inode is not None and inode[0] != "d":
            number = number or os.lstat(tree + path).st_ino
        yield path, inode, opaque, number


def digests(paths: Sequence[bytes], folder: bytes) -> Iterator[Digest]:
    """Each file's SHA-512 and size, or why it cannot be read; several processes share the work."""
    processes = min(os.cpu_count() or 1, len(paths) // _ENOUGH_FOR_A_PROCESS + 1)
    for found in side_by_side([_share(paths[number::processes], folder) for number in range(processes)]):
        yield from found


def _share(paths: Sequence[bytes], folder: bytes) -> Callable[[], list[Digest]]:
    return lambda: [_digest(path, folder) for path in paths]


def _digest(path: bytes, folder: bytes) -> Digest:
    try:
        descriptor = os.open(folder + path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return path, b"", 0, error.strerror or str(error)
    try:
        return path, *_content(descriptor), ""
    except OSError as error:
        return path, b"", 0, error.strerror or str(error)
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> tuple[bytes, int]:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "not a regular file")
    content, size = hashlib.sha512(), 0
    while block := os.read(descriptor, min(max(status.st_size - size, 0) + 1, _BLOCK)):
        content.update(block)
        size += len(block)
    return content.digest(), size


def providers(paths: Iterable[bytes], lowers: Sequence[bytes]) -> list[int]:
    """For each path the place of the topmost of ``lowers`` that says something of it; -1 where none does."""
    roots = [Root(lower) for lower in lowers]
    try:
        return [next((place for place, root in enumerate(roots) if _speaks(root, path)), -1) for path in paths]
    finally:
        for root in roots:
            root.close()


def _speaks(root: Root, path: bytes) -> bool:
    if path == b"/":
        return True
    with root.place(path) as place:
        return place is not None and os.path.lexists(place)
