"""What is wrong with a file, or doubtful: one value each, that people read and programs can take apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

MOST = 100
"""How many problems of one kind are told of; more are counted."""

LONGEST = 600
"""Characters of a problem's words; longer ones lose their middle."""


class Problem(NamedTuple):
    """One thing that is wrong, or doubtful.

    ``where`` names the file or URL; ``line`` and ``column`` count from 1, 0 where there are none; ``field`` is the
    place in a JSON file (``$.Streams['base/web'].ManifestUrl``), empty for none; ``words`` say what was found and what
    was expected.
    """

    where: str
    words: str
    line: int = 0
    column: int = 0
    field: str = ""

    def __str__(self) -> str:
        """One sentence."""
        return ": ".join(part for part in (self.where, self.position, self.field, self.words) if part)

    def readable(self) -> Problem:
        """The same, where words and field hold what somebody wrote: not too long, and of one line."""
        return self._replace(words=_readable(self.words, LONGEST), field=_readable(self.field, LONGEST // 2))

    def plain(self) -> dict[str, object]:
        """The parts for programs, named as in RPC."""
        return {
            "Where": self.where, "Line": self.line, "Column": self.column, "Field": self.field, "Problem": self.words
        }  # fmt: skip

    @property
    def position(self) -> str:
        """``line 3, column 7``, as far as it is known."""
        if not self.line:
            return ""
        return f"line {self.line}, column {self.column}" if self.column else f"line {self.line}"


def _readable(text: str, longest: int) -> str:
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[-longest // 2 :]}"
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


Warn = Callable[[Problem], None]
"""Is told of what is doubtful; nothing fails because of it."""


def untold(_problem: Problem) -> None:
    """Where nobody wants to know."""


def bounded(problems: Iterable[Problem]) -> Iterator[Problem]:
    """The first `MOST` of some problems, and one that counts the rest as far as they were looked for."""
    left_out = 0
    for number, problem in enumerate(problems):
        if number < MOST:
            yield problem
        else:
            left_out += 1
            where = problem.where
    if left_out:
        yield Problem(where, f"and at least {left_out} more")
