"""Copies a tree to another file system, with all that Linux keeps of it. Standard library only (see `holder`)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence

from imaginator.sandbox.finishing import copy_inode, copy_metadata
from imaginator.sandbox.forks import side_by_side

_ENOUGH_FOR_A_PROCESS = 64


def copy_below(source: bytes, target: bytes) -> None:
    """Copy what is below the directory ``source`` into the empty directory ``target``, and its metadata onto it.

    Owners, modes, times, attributes, holes, links of one file and overlayfs' whiteouts stay as they are.
    """
    directories, files, links = _listed(source)
    for path in directories:
        os.mkdir(target + path, 0o700)
    processes = min(os.cpu_count() or 1, len(files) // _ENOUGH_FOR_A_PROCESS + 1)
    side_by_side([_copying(files[number::processes], source, target) for number in range(processes)])
    for path, first in links:
        os.link(target + first, target + path, follow_symlinks=False)
    # A directory's times are those of its last change: the deepest come first.
    for path in reversed(directories):
        copy_metadata(source + path, target + path, overlay=True)
    copy_metadata(source, target + b"/.", overlay=True)


def _copying(paths: Sequence[bytes], source: bytes, target: bytes) -> Callable[[], list[None]]:
    def work() -> list[None]:
        for path in paths:
            copy_inode(source + path, target + path)
            copy_metadata(source + path, target + path, overlay=True)
        return []

    return work


def _listed(top: bytes) -> tuple[list[bytes], list[bytes], list[tuple[bytes, bytes]]]:
    """The directories, parents first, the files, and further names of files with the first one."""
    directories, files, links = [], [], []
    first_names: dict[int, bytes] = {}
    for path, status in _walk(top, b""):
        if stat.S_ISDIR(status.st_mode):
            directories.append(path)
        elif status.st_nlink > 1 and first_names.setdefault(status.st_ino, path) != path:
            links.append((path, first_names[status.st_ino]))
        else:
            files.append(path)
    return directories, files, links


def _walk(top: bytes, path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    with os.scandir(top + path) as entries:
        found = [(path + b"/" + entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    for child, status in found:
        yield child, status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(top, child)
