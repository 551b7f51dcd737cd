"""How flags are spelled, and the files that hold them.

The original's flags are in camel case (``imageServerHostname``), ours have dashes. A flags file has ``name=value``
lines, in either spelling, and ``#`` and ``;`` comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

FILES = ("flags.default", "flags.extra")
"""The files of a flags directory; the later one wins."""

_CAPITAL = re.compile(r"(?<=.)([A-Z])")


def modern_name(name: str) -> str:
    """A flag's name with dashes."""
    return _CAPITAL.sub(r"-\1", name).lower()


def flag_lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, name with dashes, and value of each flag in a file's text."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if words and words[0] not in "#;":
            name, _, value = words.partition("=")
            yield number, modern_name(name.strip()), value.strip()
