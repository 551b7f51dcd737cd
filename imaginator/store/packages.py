"""The cache of downloaded packages.

::

    packages/
      TYPE/           one directory a packager type, its name escaped
        NAME          a file as the packager named it; its mtime says when a build last used it

A file appears by rename when it is whole, is never written after that, and goes by unlinking: a build sees hard links
that were made when it began, so whatever happens here changes nothing for it. No lock: who finds a file gone takes it
as gone. Nothing here is trusted, since any build may have put it there: a packager is offered it only where it checks
what it finds (see `imaginator.build.downloads`).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from twisted.internet.defer import Deferred

from imaginator.sandbox.offering import SMALLEST
from imaginator.store.quota import Kept, make_room
from imaginator.store.workers import Workers


class Packages:
    """The cache in ``directory``; all packager types together hold at most ``limit`` bytes (0: there is no cache).

    A file counts as `SMALLEST` bytes at least, so that there are not too many of them either.
    """

    def __init__(self, directory: Path, limit: int, workers: Workers) -> None:
        self.limit = limit
        self._directory = directory
        self._workers = workers
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def place(self, packager_type: str) -> Path:
        """The directory of a packager type, which is made where it is missing; raises OSError."""
        place = self._directory / quote(packager_type, safe="").replace(".", "%2E")
        place.mkdir(mode=0o700, exist_ok=True)
        return place

    def trim(self) -> Deferred[None]:
        """Remove what was used least recently until the rest is within the limit."""
        return self._workers.run(self._trim)

    def _trim(self) -> None:
        make_room(_files(self._directory), self.limit, _remove)


def _remove(path: str) -> bool:
    Path(path).unlink(missing_ok=True)
    return True


def _files(directory: Path) -> Iterator[Kept[str]]:
    for place in filter(Path.is_dir, directory.iterdir()):
        with os.scandir(place) as files:
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    status = file.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield Kept(status.st_mtime_ns, file.path, max(status.st_size, SMALLEST))
