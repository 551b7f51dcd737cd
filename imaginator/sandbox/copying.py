"""How a manifest's files come into a tree: copied, appended, or as scripts. Standard library only (see `holder`).

Content that is equal leaves a file untouched, so that a build changes only what its manifest changes. What differs is
replaced by a rename, so that other hard links keep the old content.
"""

from __future__ import annotations

import os
import stat

from imaginator.sandbox.beneath import Root, make_directory, remove_at, write_all

SOURCE_MODE = 0o755
"""The bits of a source file's mode that count; set-id bits never do."""

_BLOCK = 1 << 20
_TEMPORARY = b".imaginator-new"


class NotCopyable(Exception):
    """A manifest holds what no image can be given from it: a device, a socket, a fifo."""


def copy_tree(root: Root, source: bytes, target: bytes) -> None:
    """Copy what is below the directory ``source`` of the host over the tree's directory ``target``."""
    root.make_directories(target)
    with root.directory(target) as directory:
        for entry in _entries(source):
            path = os.path.join(target, entry.name)
            if entry.is_symlink():
                _copy_link(directory, entry, root.owners.first)
            elif entry.is_dir():
                _enter(directory, entry.name, root.owners.first)
                copy_tree(root, entry.path, path)
            elif entry.is_file():
                _copy_file(directory, entry, root.owners.first)
            else:
                raise NotCopyable(f"{os.fsdecode(path)}: neither a file, a directory nor a symbolic link")


def append_tree(root: Root, source: bytes, target: bytes = b"/") -> list[bytes]:
    """Append each file below ``source`` to the tree's file at the same path; the paths of links, which are skipped."""
    skipped = []
    for entry in _entries(source):
        path = os.path.join(target, entry.name)
        if entry.is_symlink():
            skipped.append(path)
        elif entry.is_dir():
            skipped += append_tree(root, entry.path, path)
        elif entry.is_file():
            _append(root, entry, path)
        else:
            raise NotCopyable(f"{os.fsdecode(path)}: neither a file, a directory nor a symbolic link")
    return skipped


def copy_flat(root: Root, source: bytes, target: bytes, mode: int) -> list[bytes]:
    """Copy the files of one directory, links followed and hidden names left out, with ``mode``; their names."""
    root.make_directories(target)
    names = []
    with root.directory(target) as directory:
        for entry in _entries(source):
            if not entry.name.startswith(b".") and entry.is_file():
                _replace(directory, entry.path, entry.name, mode, root.owners.first)
                names.append(entry.name)
    return names


def _entries(source: bytes) -> list[os.DirEntry[bytes]]:
    with os.scandir(source) as entries:
        return sorted(entries, key=lambda entry: entry.name)


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


def _copy_link(directory: int, entry: os.DirEntry[bytes], root: int) -> None:
    wanted = os.readlink(entry.path)
    status = _status(directory, entry.name)
    if status and stat.S_ISLNK(status.st_mode) and os.readlink(entry.name, dir_fd=directory) == wanted:
        return
    if status:
        remove_at(directory, entry.name)
    os.symlink(wanted, entry.name, dir_fd=directory)
    os.chown(entry.name, root, root, dir_fd=directory, follow_symlinks=False)


def _copy_file(directory: int, entry: os.DirEntry[bytes], root: int) -> None:
    status = _status(directory, entry.name)
    if status and stat.S_ISREG(status.st_mode) and _equal(directory, entry):
        return
    if status and stat.S_ISDIR(status.st_mode):
        remove_at(directory, entry.name)
    _replace(directory, entry.path, entry.name, entry.stat().st_mode & SOURCE_MODE, root)


def _equal(directory: int, entry: os.DirEntry[bytes]) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with (
        os.fdopen(os.open(entry.name, flags, dir_fd=directory), "rb", buffering=0) as old,
        open(entry.path, "rb", buffering=0) as new,
    ):
        if os.fstat(old.fileno()).st_size != os.fstat(new.fileno()).st_size:
            return False
        while True:
            ours, theirs = old.read(_BLOCK), new.read(_BLOCK)
            if ours != theirs:
                return False
            if not ours:
                return True


def _replace(directory: int, source: bytes, name: bytes, mode: int, root: int) -> None:
    """Put a copy of the host's file ``source`` at ``name``, in one step; it belongs to ``root``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(_TEMPORARY, flags, 0o600, dir_fd=directory)
    try:
        with open(source, "rb", buffering=0) as file:
            while data := file.read(_BLOCK):
                write_all(descriptor, data)
        os.fchown(descriptor, root, root)
        os.fchmod(descriptor, mode)
        os.rename(_TEMPORARY, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(_TEMPORARY, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)


def _append(root: Root, entry: os.DirEntry[bytes], path: bytes) -> None:
    """Append to the file at ``path``, through the image's links; one that is missing is made."""
    root.make_directories(os.path.dirname(path))
    try:
        # O_NONBLOCK: a fifo of the image is told from a file, not waited for.
        descriptor = root.open(path, os.O_RDWR | os.O_APPEND | os.O_NONBLOCK)
    except FileNotFoundError:
        with root.parent(path) as (directory, name):
            _replace(directory, entry.path, name, entry.stat().st_mode & SOURCE_MODE, root.owners.first)
        return
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotCopyable(f"{os.fsdecode(path)}: nothing can be appended to what is no regular file")
        with open(entry.path, "rb", buffering=0) as file:
            while data := file.read(_BLOCK):
                write_all(descriptor, data)
    finally:
        os.close(descriptor)
