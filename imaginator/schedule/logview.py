"""The log of a build as a reader sees it, whether it still grows or lies in the archive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred, succeed

from imaginator.model.marks import Marks, decode_marks
from imaginator.store.logs import TIMES


class LogView(Protocol):
    """A build's log; `imaginator.build.buildlog.BuildLog` is one."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def size(self) -> int:
        """Bytes so far."""

    @property
    def finished(self) -> bool:
        """Whether nothing will be added."""

    @property
    def marks(self) -> Marks:
        """When its lines were written, as far as is known."""

    async def read(self, offset: int, limit: int) -> bytes:
        """At most ``limit`` bytes from ``offset`` on."""

    def grown(self, offset: int) -> Deferred[None]:
        """Fires when there is something after ``offset``, or the log is finished."""


class ArchivedLog:
    """The log of a build that has ended; raises ``FileNotFoundError`` where it is no longer kept."""

    finished = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size

    @property
    def marks(self) -> Marks:
        """When its lines were written; none where it was kept without."""
        try:
            return decode_marks(self.path.with_name(TIMES).read_bytes())
        except OSError:
            return Marks()

    async def read(self, offset: int, limit: int) -> bytes:
        """At most ``limit`` bytes from ``offset`` on."""
        with self.path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), limit, offset)

    def grown(self, offset: int) -> Deferred[None]:
        """Fires at once."""
        return succeed(None)
