"""Marks of when a log's lines were written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.marks import FINEST, SHARE, Mark, Marks, decode_marks, encode_marks

WRITES = st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 5000), st.booleans()), max_size=60)


def test_lines_are_told_apart() -> None:
    """What comes a tenth of a second later, or in another step, has a mark of its own."""
    marks = Marks()
    for offset, at, step in ((0, 0.0, 0.0), (10, 0.05, 0.0), (20, 0.1, 0.0), (30, 0.15, 0.15), (40, 0.2, 0.15)):
        marks.add(offset, at, step)

    assert [Mark(0, 0, 0), Mark(20, 100, 0), Mark(30, 150, 150)] == list(marks)
    assert [Mark(0, 0, 0), Mark(20, 100, 0), Mark(30, 150, 150)] == [marks.at(offset) for offset in (19, 29, 10_000)]
    assert [Mark(0, 0, 0), Mark(20, 100, 0)] == marks.between(5, 30)
    assert [Mark(20, 100, 0), Mark(30, 150, 150)] == marks.between(29, 31)


def test_nothing_was_written() -> None:
    """Of what did not reach the disk there is no mark."""
    marks = Marks()
    marks.add(0, 0.0, 0.0)
    marks.add(0, 5.0, 0.0)

    assert [Mark(0, 5000, 0)] == list(marks)
    assert None is Marks().at(0)
    assert [] == Marks().between(0, 100)


def test_a_day_of_lines() -> None:
    """However many lines there are, and however long it takes, the marks are few."""
    marks = Marks()
    for tick in range(24 * 3600 * 4):
        marks.add(tick * 100, tick / 4, 0.0)

    assert 5000 < len(list(marks)) < 9000
    assert len(encode_marks(marks)) < 150_000


@given(WRITES)
def test_every_line_is_near_its_mark(writes: list[tuple[int, float, bool]]) -> None:
    """Kept and read again, each byte's mark is at most as early as is promised, and of its step."""
    marks, offset, now, step = Marks(), 0, 0.0, 0.0
    written = []
    for length, pause, new_step in writes:
        now += pause
        step = now if new_step else step
        marks.add(offset, now, step)
        written.append((offset, now, step))
        offset += length
    kept = decode_marks(encode_marks(marks) + b"half a mark")

    for place, at, begun in written:
        mark = kept.at(place)
        assert mark is not None
        assert 0 <= at * 1000 - mark.at + 1 <= max(FINEST, at * 1000 / SHARE) + 2
        assert round(begun * 1000) == mark.step
