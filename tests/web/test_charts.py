"""Charts."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.durations import format_size
from imaginator.web.charts import HEIGHT, MOST_POINTS, WIDTH, chart, scale_end, thinned

POINTS = st.lists(st.tuples(st.floats(0, 1e10), st.integers(0, 10**18)), min_size=1, max_size=50).map(sorted)


def test_a_chart() -> None:
    """Its line leads from the left to the right edge, up where a value is larger; its words tell the same."""
    found = chart("Images", [(100.0, 5), (150.0, 20), (200.0, 10)], str)

    assert "M0.0 75.00L500.0 0.00L1000.0 50.00" == found.line
    assert "M0 100L0.0 75.00L500.0 0.00L1000.0 50.00L1000 100Z" == found.area
    assert ("20", "10", "10") == (found.top, found.middle, found.last)
    assert "Images: 5 at first, 10 now, between 5 and 20 meanwhile." == found.sentence


def test_one_point() -> None:
    """A single value is a line all the same; nothing at all is one at the bottom."""
    assert "M0.0 0.00L1000.0 0.00" == chart("Images", [(7.0, 1)], str).line
    assert "M0.0 100.00L1000.0 100.00" == chart("Images", [(7.0, 0)], str).line


def test_scales() -> None:
    """A scale ends at a number that people like, in powers of what is counted; a whole may be named."""
    assert [1, 2, 4, 30, 1000, 2000, 1_000_000] == [
        scale_end(value, 1000) for value in (1, 2, 3, 21, 1000, 1001, 1_000_000)
    ]
    assert "1 GiB" == chart("Free", [(0.0, 1000 << 20)], format_size, 1024).top
    assert "100 GiB" == chart("Free", [(0.0, 5 << 30)], format_size, 1024, 90 << 30).top


@given(POINTS)
def test_every_point_is_inside(points: list[tuple[float, int]]) -> None:
    """Whatever the values are, no line leaves the drawing, nor goes back."""
    line = chart("x", points, str).line
    places = [(float(x), float(y)) for x, y in re.findall(r"([-\d.e]+) ([-\d.e]+)", line)]

    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert sorted(places, key=lambda place: place[0]) == places


@given(st.integers(1, 10**18), st.sampled_from([1000, 1024]))
def test_scales_hold_their_values(value: int, unit: int) -> None:
    """A scale ends at the value or above it, but not far above."""
    assert value <= scale_end(value, unit) <= 2.1 * value


def test_many_points() -> None:
    """Of very many points some are drawn, the first and the last among them."""
    points = [(float(place), place) for place in range(4321)]
    kept = thinned(points)

    assert len(kept) <= MOST_POINTS + 1
    assert (points[0], points[-1]) == (kept[0], kept[-1])
