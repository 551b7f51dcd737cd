"""A glance at ``dir://`` manifests: the one file that says on what each builds, and whether it is still the same.

What a build finds out with many system calls is found here with a few, where no link is on the way; where there is one,
or something is wrong, the build's own way is taken.
"""

from __future__ import annotations

import os
import stat
import time
from types import TracebackType

from imaginator.build.locations import shown_place
from imaginator.build.manifests import LARGEST_TEXT, text_of
from imaginator.build.sources import PLAIN, SourceLocation, plain_directory
from imaginator.model.errors import ConfigurationError
from imaginator.model.manifest import NO_MANIFEST
from imaginator.model.redaction import Redactor
from imaginator.sandbox.kernel.files import open_within

SETTLED = 100_000_000
"""Nanoseconds: a file that was changed later than that may be changed again without looking different."""

Version = tuple[int, int, int, int]
"""Of a file: its inode, size and times."""

NO_VERSION: Version = (0, 0, 0, 0)
"""No file has it: whatever it stands for is read again in any case."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


def manifest_path(location: SourceLocation) -> bytes:
    """Where the file is."""
    directory = f"{location.directory}/" if location.directory else ""
    return os.fsencode(f"{location.url.removeprefix(PLAIN)}/{directory}manifest")


def is_version(path: bytes, version: Version) -> bool:
    """Whether a file is there and has this version."""
    try:
        found = os.stat(path)  # noqa: PTH116 - ten thousand at once: a Path costs as much as the call
    except OSError:
        return False
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns) == version


class Glances:
    """Reads manifests one after the other, for worker threads; a context that keeps a directory open for the next."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._top = ""
        self._descriptor = -1

    def __enter__(self) -> Glances:
        """Begin."""
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        """End."""
        self._close()

    def read(self, location: SourceLocation) -> tuple[bytes, Version]:
        """The file ``manifest`` of a ``dir://`` location, whose directory is a relative path, and its version.

        The version is that of before; `NO_VERSION` where the file is so new that it might change unseen. Raises
        `ConfigurationError`.
        """
        version = NO_VERSION
        try:
            descriptor = self._open(location)
        except OSError:
            return self._read_like_a_build(location)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_TEXT:
                return self._read_like_a_build(location)
            if time.time_ns() - found.st_ctime_ns > SETTLED:
                version = found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
            return os.read(descriptor, found.st_size), version
        finally:
            os.close(descriptor)

    def _read_like_a_build(self, location: SourceLocation) -> tuple[bytes, Version]:
        where = shown_place(location, self._redactor)
        directory = plain_directory(location, location.directory).directory
        data = text_of(directory / "manifest", directory, f"{where}/manifest")
        if data is None:
            raise ConfigurationError(where, NO_MANIFEST)
        return data, NO_VERSION

    def _open(self, location: SourceLocation) -> int:
        """Open the file where no link is on the way to it from the location's top; raises OSError otherwise."""
        top = location.url.removeprefix(PLAIN)
        if not top.startswith("/") or not top.isprintable():
            raise OSError(f"{top!r} may be no directory's name")
        if not location.directory:
            return os.open(f"{top}/manifest", _FLAGS)
        if top != self._top:
            self._close()
            self._descriptor = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._top = top
        return open_within(self._descriptor, os.fsencode(f"{location.directory}/manifest"), _FLAGS, links=False)

    def _close(self) -> None:
        if self._top:
            os.close(self._descriptor)
            self._top = ""
