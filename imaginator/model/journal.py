"""The daemon's own log as its readers choose from it: since when, how bad, with which words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

LEVELS = ("debug", "info", "warn", "error", "critical")
"""From the least to the worst."""

_STAMP = r"\d{4}-\d\d-\d\d:"
"""How the last part of an image's name begins."""

_BUILD_ID = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{26}\b")


class Entry(NamedTuple):
    """What was logged at once: when (seconds since 1970), how bad, by which part of the program; maybe many lines."""

    at: float
    level: str
    source: str
    text: str


class Choice(NamedTuple):
    """What to choose: entries of a level or worse, since a time, with a text in whatever case.

    Where there is a ``name``, of a stream or a build, it is in the entry, or else one of the ids ``builds``.
    """

    level: str = LEVELS[0]
    since: float = 0.0
    text: str = ""
    name: str = ""
    builds: frozenset[str] = frozenset()

    def has(self, entry: Entry) -> bool:
        """Whether an entry is chosen."""
        return (
            entry.at >= self.since
            and LEVELS.index(entry.level) >= LEVELS.index(self.level)
            and self.text.casefold() in entry.text.casefold()
            and (not self.name or self._tells_of(entry.text))
        )

    def chosen(self, entries: Iterable[Entry]) -> list[Entry]:
        """The entries that are chosen, in their order."""
        return list(filter(self.has, entries))

    def _tells_of(self, text: str) -> bool:
        # Not where it is a part of a longer name: the stream web is not web/front. An image's name is its stream's too.
        named = re.search(rf"(?<![\w./-]){re.escape(self.name)}(?![\w-]|[./](?!{_STAMP})\w)", text)
        return named is not None or not self.builds.isdisjoint(_BUILD_ID.findall(text))
