"""The daemon's log: every line without secrets, kept in files within a quota, the last ones for the logs page.

With --nodaemon the log goes to standard output as well, where journald keeps it; then there are no files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, TextIO, cast

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    eventAsText,
    formatEvent,
    formatEventAsClassicLogText,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

from imaginator.model.journal import Entry

RECENT = 2000
"""How many entries are remembered."""

LONGEST = 4096
"""Letters of one that are."""

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
class RecentEntries:
    """Remembers the last entries."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self._entries: deque[Entry] = deque(maxlen=RECENT)

    def __call__(self, event: LogEvent) -> None:
        """Take an event; one without text is none."""
        if formatEvent(event):
            self._entries.append(self._entry(event))

    def _entry(self, event: LogEvent) -> Entry:
        text = self._redact(eventAsText(event, includeTimestamp=False, includeSystem=False).rstrip())
        if len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]}\n…\n{text[-LONGEST // 2 :]}"
        level = getattr(event.get("log_level"), "name", "info")
        return Entry(event.get("log_time", 0.0), level, event.get("log_namespace") or "", text)

    def entries(self) -> list[Entry]:
        """The last entries, oldest first."""
        return list(self._entries)
