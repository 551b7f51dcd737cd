"""When the lines of a build's log were written: marks at some offsets, as many as its duration needs.

A mark says when what follows it was written, to a tenth of a second or a thousandth of the time since the log began,
whichever is more: some eight thousand of them tell of a whole day. On disk each is `_FORM`, in the order of offsets.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

FINEST = 100
"""Milliseconds between two marks, at least."""

SHARE = 1000
"""Into how many parts the time since the beginning is told apart."""

_FORM = struct.Struct(">QII")
_MOST = 2**32 - 1


class Mark(NamedTuple):
    """What lies at ``offset`` and after it was written ``at``, in a step that began at ``step``.

    Both are milliseconds since the log began.
    """

    offset: int
    at: int
    step: int


class Marks:
    """The marks of one log."""

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self._marks = list(marks)

    def __iter__(self) -> Iterator[Mark]:
        return iter(self._marks)

    def add(self, offset: int, at: float, step: float) -> None:
        """Something is written at the log's end, so many seconds after it began; a mark is made where one is due."""
        mark = Mark(offset, *(min(max(round(seconds * 1000), 0), _MOST) for seconds in (at, step)))
        last = self._marks[-1] if self._marks else None
        if last is not None and last.step == mark.step and mark.at - last.at < max(FINEST, mark.at // SHARE):
            return
        if last is not None and last.offset == offset:
            self._marks.pop()  # nothing came after it
        self._marks.append(mark)

    def at(self, offset: int) -> Mark | None:
        """The mark that tells of what lies at an offset; None before the first."""
        place = self._place(offset)
        return self._marks[place - 1] if place else None

    def between(self, begin: int, end: int) -> list[Mark]:
        """The marks that tell of a part of the log."""
        return self._marks[max(self._place(begin) - 1, 0) : self._place(max(end - 1, 0))]

    def _place(self, offset: int) -> int:
        return bisect_right(self._marks, offset, key=lambda mark: mark.offset)


def encode_marks(marks: Iterable[Mark]) -> bytes:
    """Marks as they are kept."""
    return b"".join(_FORM.pack(*mark) for mark in marks)


def decode_marks(data: bytes) -> Marks:
    """Marks that were kept; a piece of one at the end is left out."""
    whole = len(data) - len(data) % _FORM.size
    return Marks(map(Mark._make, _FORM.iter_unpack(data[:whole])))
