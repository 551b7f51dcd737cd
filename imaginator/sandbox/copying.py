"""How a manifest's files come into a tree: copied, appended, or as scripts. Standard library only (see `holder`).

Content that is equal leaves a file untouched, so that a build changes only what its manifest changes. What differs is
replaced by a rename, so that other hard links keep the old content.
"""

from __future__ import annotations

import os
import stat

from imaginator.sandbox.beneath import Root, make_directory, remove_at, write_all
from imaginator.sandbox.contents import copy_open
from imaginator.sandbox.origin import DIRECTORY, FILE, LINK, NotCopyable, Origin

SOURCE_MODE = 0o755
"""The bits of a source file's mode that count; set-id bits never do."""

_BLOCK = 1 << 20


def copy_tree(root: Root, source: Origin, target: bytes) -> None:
    """Copy what is below ``source`` over the tree's directory ``target``."""
    pending = [b""]
    while pending:
        path = pending.pop()
        place = os.path.join(target, path) if path else target
        root.make_directories(place)
        with root.directory(place) as directory:
            below = _copy_directory(root, directory, source, path)
        pending += reversed(below)


def _copy_directory(root: Root, directory: int, source: Origin, path: bytes) -> list[bytes]:
    """Copy what a directory of the source holds; its subdirectories, which are there now."""
    below = []
    for name, kind in source.entries(path):
        entry = os.path.join(path, name)
        if kind == LINK:
            _copy_link(directory, name, source.link(entry), root.owners.first)
        elif kind == DIRECTORY:
            _enter(directory, name, root.owners.first)
            below.append(entry)
        elif kind == FILE:
            with source.file(entry) as file:
                _copy_file(directory, name, file, root.owners.first)
        else:
            raise source.refused(entry)
    return below


def append_tree(root: Root, source: Origin, target: bytes = b"/") -> list[bytes]:
    """Append each file below ``source`` to the tree's file at the same path; the paths of links, which are skipped."""
    skipped, pending = [], [b""]
    while pending:
        path = pending.pop()
        for name, kind in source.entries(path):
            entry = os.path.join(path, name)
            if kind == LINK:
                skipped.append(os.path.join(target, entry))
            elif kind == DIRECTORY:
                pending.append(entry)
            elif kind == FILE:
                with source.file(entry) as file:
                    _append(root, file, os.path.join(target, entry))
            else:
                raise source.refused(entry)
    return skipped


def copy_flat(root: Root, source: Origin, target: bytes, mode: int) -> list[bytes]:
    """Copy the files of one directory, links followed and hidden names left out, with ``mode``; their names."""
    root.make_directories(target)
    names = []
    with root.directory(target) as directory:
        for name, _ in source.entries(b""):
            if name.startswith(b"."):
                continue
            with source.script(name) as file:
                if file is not None:
                    _replace(directory, file, name, mode, root.owners.first)
                    names.append(name)
    return names


def _status(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _enter(directory: int, name: bytes, root: int) -> None:
    """Let there be a directory, or a link to one, which is gone through and never replaced."""
    status = _status(directory, name)
    if status is None:
        make_directory(directory, name, root)
    elif not (stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        os.unlink(name, dir_fd=directory)
        make_directory(directory, name, root)


def _copy_link(directory: int, name: bytes, wanted: bytes, root: int) -> None:
    status = _status(directory, name)
    if status and stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=directory) == wanted:
        return
    if status:
        remove_at(directory, name)
    os.symlink(wanted, name, dir_fd=directory)
    os.chown(name, root, root, dir_fd=directory, follow_symlinks=False)


def _copy_file(directory: int, name: bytes, file: int, root: int) -> None:
    status = _status(directory, name)
    if status and stat.S_ISREG(status.st_mode) and _equal(directory, name, file):
        return
    if status and stat.S_ISDIR(status.st_mode):
        remove_at(directory, name)
    put = _replace if status else _make
    put(directory, file, name, os.fstat(file).st_mode & SOURCE_MODE, root)


def _equal(directory: int, name: bytes, file: int) -> bool:
    old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        if os.fstat(old).st_size != os.fstat(file).st_size:
            return False
        offset = 0
        while ours := os.pread(old, _BLOCK, offset):
            if ours != os.pread(file, _BLOCK, offset):
                return False
            offset += len(ours)
        return True
    finally:
        os.close(old)


def _replace(directory: int, file: int, name: bytes, mode: int, root: int) -> None:
    """Put a copy of an open file at ``name``, in one step; it belongs to ``root``."""
    # Nobody else has such a name: a manifest and an image may hold any that can be foreseen.
    fresh = b".imaginator-" + os.urandom(8).hex().encode()
    _make(directory, file, fresh, mode, root)
    try:
        os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(fresh, dir_fd=directory)
        raise


def _make(directory: int, file: int, name: bytes, mode: int, root: int) -> None:
    """Make a copy of an open file at ``name``, where nothing is; it belongs to ``root``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        copy_open(file, descriptor)
        os.fchown(descriptor, root, root)
        os.fchmod(descriptor, mode)
    except BaseException:
        os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)


def _append(root: Root, file: int, path: bytes) -> None:
    """Append to the file at ``path``, through the image's links; one that is missing is made."""
    root.make_directories(os.path.dirname(path))
    try:
        # O_NONBLOCK: a fifo of the image is told from a file, not waited for.
        descriptor = root.open(path, os.O_RDWR | os.O_APPEND | os.O_NONBLOCK)
    except FileNotFoundError:
        with root.parent(root.make_place(path)) as (directory, name):
            _replace(directory, file, name, os.fstat(file).st_mode & SOURCE_MODE, root.owners.first)
        return
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotCopyable(f"{os.fsdecode(path)}: nothing can be appended to what is no regular file")
        while data := os.read(file, _BLOCK):
            write_all(descriptor, data)
    finally:
        os.close(descriptor)
