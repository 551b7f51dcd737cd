"""Charts of what changes with time: a line over an area, drawn here, so that no script is needed to see it.

A chart is stretched to whatever width it gets; what is written on it is not. It says in a sentence what it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

WIDTH = 1000
HEIGHT = 100
"""Units of the drawing, of which its place on the page makes other lengths."""

MOST_POINTS = 400
"""Points of a line: a screen shows no more."""

_STEPS = (1, 2, 4, 5, 8, 10, 20, 30, 40, 60, 80, 100, 200, 300, 400, 500, 600, 800)
"""At what a scale may end, in its unit: half of it is a number too that people like."""

Shown = Callable[[int], str]
"""Writes a number for people."""

Point = tuple[float, int]
"""A time, in seconds since 1970, and a value."""


class Chart(NamedTuple):
    """A chart: the paths of its line and its area, what its scale ends at and has in its middle, and a sentence.

    ``last`` is the latest value, written.
    """

    title: str
    line: str
    area: str
    top: str
    middle: str
    last: str
    sentence: str


def chart(title: str, points: Sequence[Point], shown: Shown, unit: int = 1000, most: int = 0) -> Chart:
    """The chart of at least one point, from 0 to their largest value or ``most``.

    ``unit`` is the factor between units of the scale, 1024 for bytes.
    """
    values = [value for _, value in points]
    top = scale_end(max(*values, most, 1), unit)
    line = _line(thinned(points), top)
    return Chart(
        title=title,
        line=line,
        area=f"M0 {HEIGHT}L{line[1:]}L{WIDTH} {HEIGHT}Z",
        top=_short(shown(top)),
        middle=_short(shown(top // 2)) if top > 1 else "",
        last=shown(values[-1]),
        sentence=f"{title}: {shown(values[0])} at first, {shown(values[-1])} now, "
        f"between {shown(min(values))} and {shown(max(values))} meanwhile.",
    )


def scale_end(value: int, unit: int) -> int:
    """Where a scale ends that holds a value of at least 1."""
    factor = 1
    while factor * unit <= value:
        factor *= unit
    return factor * next((step for step in _STEPS if factor * step >= value), unit)


def _short(text: str) -> str:
    """A number of a scale without a fraction that says nothing."""
    return text.replace(".0 ", " ")


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most about `MOST_POINTS` of the points, the first and the last among them."""
    step = -(-len(points) // MOST_POINTS)
    kept = list(points[::step])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _line(points: Sequence[Point], top: int) -> str:
    """The path through the points: of a single one, straight across."""
    first, last = points[0][0], points[-1][0]
    span = last - first
    if not span:
        points, span = [(first, points[-1][1]), (first + 1, points[-1][1])], 1
    places = [f"{(at - first) / span * WIDTH:.1f} {HEIGHT - value / top * HEIGHT:.2f}" for at, value in points]
    return "M" + "L".join(places)
