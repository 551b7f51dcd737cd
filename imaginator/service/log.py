"""The daemon's log: every line without secrets, kept in files within a quota, the last ones for the logs page.

With --nodaemon the log goes to standard output as well, where journald keeps it; then there are no files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, TextIO, cast

from twisted.logger import FileLogObserver, ILogObserver, LogEvent, formatEvent, formatEventAsClassicLogText
from twisted.python.logfile import LogFile
from zope.interface import implementer

RECENT_LINES = 1000
FILES = 10
"""Rotated files that share the quota."""

Redact = Callable[[str], str]


def clean_line(event: LogEvent, redact: Redact) -> str | None:
    """An event as lines of the log, without secrets; None for one without text."""
    text = formatEventAsClassicLogText(event)
    return None if text is None else redact(text)


def stream_observer(stream: TextIO, redact: Redact) -> FileLogObserver:
    """Writes every event to an open text file."""
    return FileLogObserver(stream, lambda event: clean_line(event, redact))


def file_observer(folder: Path, quota: int, redact: Redact) -> FileLogObserver:
    """Writes every event to ``imaginator.log`` in ``folder``; all its rotated files take ``quota`` bytes at most."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = LogFile("imaginator.log", str(folder), rotateLength=max(quota // FILES, 1), maxRotatedFiles=FILES - 1)
    return FileLogObserver(cast("IO[str]", file), lambda event: clean_line(event, redact))


@implementer(ILogObserver)
class RecentLines:
    """Remembers the last lines."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self._lines: deque[str] = deque(maxlen=RECENT_LINES)

    def __call__(self, event: LogEvent) -> None:
        """Take an event."""
        if formatEvent(event):
            self._lines.extend((clean_line(event, self._redact) or "").splitlines())

    def lines(self) -> list[str]:
        """The last lines, oldest first."""
        return list(self._lines)
