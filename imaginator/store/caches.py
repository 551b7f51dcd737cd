"""The caches of streams: what the builds of one stream leave for its next build.

::

    BASE/
      STREAM/        one a stream, its name with "," for "/": no name has a comma, so no two streams share one
        files/       what builds see and write, with the owners that the files have in the build

``STREAM`` is for root alone, whatever the operator made of ``BASE``: a build chooses modes and owners of what it
writes, and a set-id file must not be in reach of the host's users. No lock: two builds of one stream never run at once,
and the cache is trimmed before its build has ended. Nothing here is followed: links may lead anywhere.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from imaginator.store.quota import Kept, make_room

SMALLEST = 4096
"""Bytes that a file counts as at least: empty ones take room too."""

LONGEST_PATH = 3800
"""Bytes of a directory's path: a longer one cannot name what it holds (PATH_MAX)."""


def cache_of(base: Path, stream: str) -> Path:
    """The directory that builds of ``stream`` see, which is made where it is missing; raises OSError."""
    own = base / stream.replace("/", ",")
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    own.chmod(0o700)
    files = own / "files"
    with contextlib.suppress(FileExistsError):
        files.mkdir(mode=0o755)
    return files


def trim_cache(files: Path, limit: int) -> bool:
    """Remove the files that were changed longest ago until the rest takes at most ``limit`` bytes.

    False where directories are too deep in one another to be looked at: then nothing is removed.
    """
    try:
        make_room(_inodes(files), limit, _remove)
    except TooDeep:
        return False
    return True


class TooDeep(Exception):
    """A directory with a path longer than `LONGEST_PATH`."""


def _inodes(top: Path) -> Iterator[Kept[list[str]]]:
    """Every file with all its names: removing one of several makes no room."""
    found: dict[int, Kept[list[str]]] = {}
    for entry in _entries(top):
        status = entry.stat(follow_symlinks=False)
        kept = found.get(status.st_ino)
        if kept is None:
            size = max(status.st_blocks * 512, SMALLEST)
            found[status.st_ino] = Kept(status.st_mtime_ns, [entry.path], size)
        else:
            kept.what.append(entry.path)
    yield from found.values()


def _entries(top: Path) -> Iterator[os.DirEntry[str]]:
    """What is below a directory and no directory itself."""
    directories = [os.fspath(top)]
    while directories:
        directory = directories.pop()
        if len(os.fsencode(directory)) > LONGEST_PATH:
            raise TooDeep
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                else:
                    yield entry


def _remove(names: list[str]) -> bool:
    for name in names:
        Path(name).unlink(missing_ok=True)
    return True
