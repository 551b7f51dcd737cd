"""Many regular expressions at once: which of them match a whole text."""

from __future__ import annotations

from collections.abc import Iterable

import re2

from imaginator.model.filters import compile_line

ANYTHING = b"(?s).*"


class Patterns:
    """Compiled regular expressions; raises `ConfigurationError` naming ``where`` for a text that is none.

    All of them are tried in one pass. RE2 gives that up where it would take too much memory, and then finds nothing
    without a word: so one more expression is there, which matches everything.
    """

    def __init__(self, texts: Iterable[str], where: str) -> None:
        self._each = {text: compile_line(text, where) for text in texts}
        self._texts = list(self._each)
        self._together = _together(self._texts)

    def matching(self, text: str) -> list[str]:
        """The expressions that match all of ``text``, in their order."""
        data = text.encode()
        found = self._together.Match(data) if self._together else []
        if len(self._texts) in found:
            return [self._texts[at] for at in sorted(found)[:-1]]
        return [expression for expression, compiled in self._each.items() if compiled.fullmatch(data)]


def _together(texts: list[str]) -> re2.Set | None:
    """One automaton for all, None where it would be too large."""
    options = re2.Options()
    options.log_errors = False
    together = re2.Set.FullMatchSet(options)
    for text in texts:
        together.Add(text.encode(errors="surrogateescape"))
    together.Add(ANYTHING)
    try:
        together.Compile()
    except re2.error:
        return None
    return together
