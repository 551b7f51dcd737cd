"""A manifest's files, opened so that nothing outside the manifest is ever read, whatever becomes a link meanwhile.

A ``dir://`` manifest is changed by others while it is copied, so what a look at it told holds for no later look: every
open(2) resolves beneath the manifest, and what was opened is what is asked. Standard library only (see `holder`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from imaginator.sandbox.kernel.files import open_within

FILE, DIRECTORY, LINK, OTHER = "file", "directory", "link", "other"

_ELSEWHERE = "a symbolic link that leaves the manifest, or came into it while it was copied"


class NotCopyable(Exception):
    """A manifest holds what no image can be given from it: a device, a socket, a fifo, a link that leaves it."""


class Origin:
    """The directory ``part`` (empty: the top) of the manifest in ``top``; links to it are followed in the manifest."""

    def __init__(self, top: bytes, part: bytes = b"") -> None:
        self._part = part
        self._top = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._directory = self._open(self._top, part, part, os.O_RDONLY | os.O_DIRECTORY, links=True)
        except BaseException:
            os.close(self._top)
            raise

    def __enter__(self) -> Origin:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)
        os.close(self._top)

    def shown(self, path: bytes) -> str:
        """A path below the part, for errors: as the manifest has it."""
        return os.fsdecode(os.path.join(b"/", self._part, path))

    def entries(self, path: bytes) -> list[tuple[bytes, str]]:
        """The names in a directory below the part, sorted, each with its kind."""
        descriptor = self._open(self._directory, path, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(descriptor) as entries:
                return sorted((os.fsencode(entry.name), _kind(entry)) for entry in entries)
        finally:
            os.close(descriptor)

    def link(self, path: bytes) -> bytes:
        """What a symbolic link says."""
        descriptor = self._open(self._directory, path, path, os.O_PATH | os.O_NOFOLLOW)
        try:
            return os.readlink(b"", dir_fd=descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def file(self, path: bytes) -> Iterator[int]:
        """A descriptor of a regular file; raises `NotCopyable` for anything else."""
        # O_NONBLOCK: a fifo that took the file's place is told from it, not waited for.
        descriptor = self._open(self._directory, path, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self.refused(path)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def script(self, name: bytes) -> Iterator[int | None]:
        """The same for a name that may be a link to a file in the manifest; None for a directory."""
        descriptor = self._open(
            self._top, os.path.join(self._part, name), name, os.O_RDONLY | os.O_NONBLOCK, links=True
        )
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise self.refused(name)
            yield descriptor if stat.S_ISREG(mode) else None
        finally:
            os.close(descriptor)

    def refused(self, path: bytes) -> NotCopyable:
        """The error of what is neither of the things that a manifest may hold."""
        return NotCopyable(f"{self.shown(path)}: neither a file, a directory nor a symbolic link")

    def _open(self, directory: int, path: bytes, told: bytes, flags: int, links: bool = False) -> int:
        try:
            return open_within(directory, path, flags, links)
        except OSError as error:
            where = self.shown(told if told is not self._part else b"")
            if error.errno in (errno.EXDEV, errno.ELOOP):
                raise NotCopyable(f"{where}: {_ELSEWHERE}") from None
            if error.errno in (errno.ENXIO, errno.ENODEV):
                raise self.refused(told) from None
            raise OSError(error.errno, error.strerror, where) from None


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return LINK
    if entry.is_dir(follow_symlinks=False):
        return DIRECTORY
    return FILE if entry.is_file(follow_symlinks=False) else OTHER
