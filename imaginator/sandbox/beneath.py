"""A tree's files, reached beneath its root whatever links the image or the manifest holds.

Used by the holder process: standard library only. Paths are absolute bytes as the image sees them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from imaginator.sandbox.kernel.files import open_beneath
from imaginator.sandbox.owners import ON_DISK, Owners

NEW_DIRECTORY = 0o755
"""The mode of directories that copying makes; they belong to root."""

MOST_LINKS = 40
"""That lead from one to the next; Linux follows as many."""


class Root:
    """The root directory of a tree whose owners are seen as ``owners`` says."""

    def __init__(self, path: bytes, owners: Owners = ON_DISK) -> None:
        self.path = path
        self.owners = owners
        self.descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the directory, so that its file system can be unmounted."""
        os.close(self.descriptor)

    def open(self, path: bytes, flags: int) -> int:
        """Open a path, following links beneath the root; a device node, which may work here, is refused (EACCES)."""
        found = open_beneath(self.descriptor, path, os.O_PATH | flags & os.O_DIRECTORY)
        if flags & os.O_PATH:
            return found
        try:
            if stat.S_IFMT(os.fstat(found).st_mode) in (stat.S_IFCHR, stat.S_IFBLK):
                raise PermissionError(errno.EACCES, "a device", os.fsdecode(path))
            return os.open(b"/proc/self/fd/%d" % found, flags | os.O_CLOEXEC)
        finally:
            os.close(found)

    @contextmanager
    def directory(self, path: bytes) -> Iterator[int]:
        """A descriptor of the directory at ``path``, links followed beneath the root."""
        descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The directory that holds ``path``, and its name there, which is not followed."""
        directory, name = os.path.split(path.rstrip(b"/"))
        if name in (b"", b".", b".."):
            raise OSError(f"{os.fsdecode(path)}: expected the path of something below the root")
        with self.directory(directory) as descriptor:
            yield descriptor, name

    @contextmanager
    def place(self, path: bytes) -> Iterator[bytes | None]:
        """Where ``path`` can be reached on the host; None where a link, a file or nothing stands on its way.

        A tree's own path names what lies in its directories, never what a link leads to.
        """
        try:
            descriptor = open_beneath(self.descriptor, os.path.dirname(path), os.O_PATH | os.O_DIRECTORY, links=False)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            yield None
            return
        try:
            yield b"/proc/self/fd/%d/%b" % (descriptor, os.path.basename(path))
        finally:
            os.close(descriptor)

    def make_directories(self, path: bytes) -> None:
        """Make the directory ``path`` with its parents, where they are missing."""
        missing = []
        while not self._is_directory(path):
            missing.append(path)
            path = os.path.dirname(path)
        for made in reversed(missing):
            with self.parent(made) as (directory, name):
                make_directory(directory, name, self.owners.first)

    def _is_directory(self, path: bytes) -> bool:
        try:
            os.close(self.open(path, os.O_PATH | os.O_DIRECTORY))
        except FileNotFoundError:
            return False
        return True

    def make_place(self, path: bytes) -> bytes:
        """Where a file that is missing at ``path`` is to be made: where its link leads. Makes the directory for it."""
        for _ in range(MOST_LINKS):
            self.make_directories(os.path.dirname(path))
            with self.parent(path) as (directory, name):
                try:
                    target = os.readlink(name, dir_fd=directory)
                except FileNotFoundError:
                    return path
            path = os.path.join(os.path.dirname(path), target)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path))

    def status(self, path: bytes) -> os.stat_result | None:
        """What lies at ``path``, links not followed at its end; None for nothing."""
        if path == b"/":
            return os.stat(self.descriptor)
        try:
            with self.parent(path) as (directory, name):
                return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, path: bytes) -> None:
        """Remove what lies at ``path`` with everything below it; nothing there is fine."""
        try:
            with self.parent(path) as (directory, name):
                remove_at(directory, name)
        except (FileNotFoundError, NotADirectoryError):
            pass

    def remove_own(self, path: bytes) -> None:
        """The same for a path that the tree itself has: what a link leads to is spared."""
        with self.place(path) as place:
            if place is not None and os.path.lexists(place):
                self.remove(path)


def make_directory(directory: int, name: bytes, root: int) -> None:
    """Make a directory that belongs to ``root``, whatever the umask and a set-group-id parent."""
    os.mkdir(name, NEW_DIRECTORY, dir_fd=directory)
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fchown(descriptor, root, root)
        os.fchmod(descriptor, NEW_DIRECTORY)
    finally:
        os.close(descriptor)


def remove_at(directory: int, name: bytes) -> None:
    """Remove a name of a directory, and what is below it, however deep as long as a path can name it."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=directory)
        return
    pending = [name]
    while pending:
        below = _emptied(directory, pending[-1])
        if below:
            pending += [os.path.join(pending[-1], child) for child in below]
        else:
            _remove_empty(directory, pending.pop())


def _emptied(directory: int, path: bytes) -> list[bytes]:
    """Remove what a directory holds but its subdirectories, whose names are returned."""
    descriptor = open_beneath(directory, path, os.O_RDONLY | os.O_DIRECTORY, links=False)
    try:
        below = []
        with os.scandir(descriptor) as entries:
            found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in found:
            if is_directory:
                below.append(name)
            else:
                os.unlink(name, dir_fd=descriptor)
        return below
    finally:
        os.close(descriptor)


def _remove_empty(directory: int, path: bytes) -> None:
    parent, name = os.path.split(path)
    descriptor = open_beneath(directory, parent, os.O_PATH | os.O_DIRECTORY, links=False)
    try:
        os.rmdir(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def remove_path(path: bytes) -> None:
    """Remove a path of the host with what is below it; nothing there is fine."""
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_at(directory, os.path.basename(path))
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)


def read_all(descriptor: int, limit: int) -> bytes:
    """At most ``limit`` bytes of an open file."""
    parts = []
    while limit > 0 and (data := os.read(descriptor, min(limit, 1 << 20))):
        parts.append(data)
        limit -= len(data)
    return b"".join(parts)


def write_all(descriptor: int, data: bytes) -> None:
    """All of ``data`` into an open file."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
