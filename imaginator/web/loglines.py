"""A build log as lines with colours: what a page shows of what programs wrote for a terminal.

Colours and bold of ECMA-48 (select graphic rendition) become classes; every other control sequence goes, and of a line
that was written over with carriage returns only its last form stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from imaginator.model.marks import Marks

STEP = "=== "
"""How lines begin that a build itself writes between its stages."""

_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # other control sequences: cursor movements
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # operating system commands: window titles
    r"|[\x00-\x08\x0b-\x1f\x7f]"
)


class Part(NamedTuple):
    """Text of one look; ``look`` is a list of classes, empty for plain text."""

    look: str
    text: str


class Line(NamedTuple):
    """A line; ``is_step`` where the build itself tells of a stage, ``offset`` is where it begins in the part."""

    number: int
    is_step: bool
    offset: int
    parts: Sequence[Part]


class Look:
    """What the text looks like that follows."""

    def __init__(self) -> None:
        self._colour = ""
        self._bold = False

    def __str__(self) -> str:
        return " ".join(filter(None, (self._colour, "bold" if self._bold else "")))

    def change(self, codes: str) -> None:
        """Take up the numbers of a control sequence; those that no page needs are ignored."""
        for code in (int(code or 0) for code in codes.split(";") if len(code) < 4):
            if code == 0:
                self._colour, self._bold = "", False
            elif code in (1, 22):
                self._bold = code == 1
            elif code == 39:
                self._colour = ""
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self._colour = f"c{code % 10}"


def log_lines(data: bytes, first: int) -> Iterator[Line]:
    """The lines of a part of a log whose first line has this number."""
    look = Look()
    offset = 0
    whole = data.removesuffix(b"\n")
    for number, line in enumerate(whole.split(b"\n") if whole else (), first):
        last = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
        yield Line(number, last.startswith(STEP), offset, tuple(_parts(last, look)))
        offset += len(line) + 1


def timed(lines: Iterable[Line], begin: int, marks: Marks) -> Iterator[tuple[Line, str]]:
    """Each line of a part that begins at ``begin``, with the time since its step began; of steps, since the log did.

    The time is empty where it is not known, or the line before has the same.
    """
    before = ""
    for line in lines:
        mark = marks.at(begin + line.offset)
        time = clock_text(mark.at - (0 if line.is_step else mark.step)) if mark else ""
        yield line, "" if time == before and not line.is_step else time
        before = time


def clock_text(milliseconds: int) -> str:
    """A time for a narrow column: ``0.4 s``, ``12 s``, ``3:05``, ``1:02:03``."""
    seconds = milliseconds / 1000
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _parts(line: str, look: Look) -> Iterator[Part]:
    plain, *rest = _SGR.split(line)
    yield Part(str(look), _CONTROL.sub("", plain))
    for codes, text in zip(rest[::2], rest[1::2], strict=True):
        look.change(codes)
        if clean := _CONTROL.sub("", text):
            yield Part(str(look), clean)
