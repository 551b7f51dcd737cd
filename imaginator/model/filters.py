"""Filters: lists of regular expressions of paths that are left out of an image.

RE2's syntax, anchored at the start of the path only, tried top-down; a line ``!`` inverts the whole filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import re2

from imaginator.model.codec import JsonFile
from imaginator.model.errors import ConfigurationError
from imaginator.model.places import Path

INVERT = "!"
LONGEST_LINE = 4096
MOST_LINES = 10_000
"""Of one filter: each line is tried on each path."""


class Filter:
    """The compiled filter of ``lines``; raises `ConfigurationError` naming ``where`` and the line that is none."""

    def __init__(self, lines: Sequence[str], where: str = "filter") -> None:
        check_count(lines, where)
        self.lines = tuple(lines)
        self._invert = INVERT in lines
        self._patterns = [
            compile_line(line, f"{where}: line {at}") for at, line in enumerate(lines, 1) if line != INVERT
        ]

    def matches(self, path: bytes) -> bool:
        """Whether the absolute ``path`` is left out; the root never is."""
        if path == b"/":
            return False
        text = path.decode(errors="replace").encode()  # RE2 lets no pattern match a byte that is not UTF-8
        return any(pattern.match(text) for pattern in self._patterns) != self._invert


def check_count(lines: Sequence[str], where: str) -> None:
    """Raise `ConfigurationError` naming ``where`` for more lines than a filter may have."""
    if len(lines) > MOST_LINES:
        raise ConfigurationError(where, f"{len(lines)} lines, expected at most {MOST_LINES}")


def check_lines(file: JsonFile, path: Path, lines: Sequence[str]) -> None:
    """Tell a file of each of its ``lines`` at ``path`` that is no regular expression."""
    file.check(path, check_count, lines, "")
    for at, line in enumerate(lines[:MOST_LINES]):
        if line != INVERT:
            file.check((*path, at), compile_line, line, "")


def compile_line(line: str, where: str) -> re2._Regexp:
    """The regular expression of one line; raises `ConfigurationError` naming ``where``."""
    if len(line) > LONGEST_LINE:
        raise ConfigurationError(where, f"a regular expression of {len(line)} characters, at most {LONGEST_LINE}")
    if "\0" in line:
        raise ConfigurationError(where, f"{line!r} holds a NUL character, as no path does")
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(line.encode(errors="surrogateescape"), options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise ConfigurationError(where, f"{line!r} is no regular expression: {reason}") from None


def merge_lines(source: Iterable[str], added: Iterable[str]) -> tuple[str, ...]:
    """The filter of an image that adds lines to its source's."""
    return tuple(sorted({*source, *added}))
