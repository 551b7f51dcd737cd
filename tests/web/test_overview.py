"""Streams joined with images."""

from __future__ import annotations

from datetime import timedelta

from imaginator.model.image import Figures
from imaginator.schedule.builder import UNCHANGED, Verdict
from imaginator.store.interface import ImageSummary
from imaginator.web.overview import MOST_TOLD, newest_first, rebuilds, stream_lines
from tests.support.fake_builder import START


def summary(name: str, age: float) -> ImageSummary:
    """An image of ``age`` seconds."""
    return ImageSummary(name, START - timedelta(seconds=age), None, Figures())


def test_a_stream_has_its_images_latest_first() -> None:
    """A stream's line names its latest image, whatever the order of the list."""
    old, new = summary("a/x/2026-11-20:00:00:00", 90), summary("a/x/2026-11-21:00:00:00", 30)

    (line,) = stream_lines(["a/x"], [old, new])

    assert new == line.latest
    assert [new, old] == line.images
    assert line.configured


def test_streams_without_images_and_images_without_streams_are_listed() -> None:
    """What is only configured, or only in the store, has a line too, in one order by name."""
    lines = stream_lines(["b"], [summary("a/2026-11-20:00:00:00", 1)])

    assert [("a", False, 1), ("b", True, 0)] == [(x.name, x.configured, len(x.images)) for x in lines]
    assert lines[1].latest is None


def test_images_of_one_second_are_ordered_by_name() -> None:
    """The order is total, so that a page does not change between two visits."""
    images = [summary("a/2026-11-20:00:00:01", 5), summary("a/2026-11-20:00:00:02", 5)]

    assert newest_first(images) == newest_first(images[::-1])


def test_a_cycle_in_short() -> None:
    """The latest verdicts come first, of one time by name; what has not changed, and what is too much, is counted."""
    verdicts = {f"s{number:02}": Verdict(START, "built", "new") for number in range(MOST_TOLD + 2)}
    verdicts["late"] = Verdict(START + timedelta(seconds=1), "failed", "no mirror")
    verdicts |= {name: Verdict(START, "extended", UNCHANGED) for name in ("a", "b")}

    found = rebuilds(verdicts)

    assert ["late", *(f"s{number:02}" for number in range(MOST_TOLD - 1))] == [name for name, _ in found.told]
    assert (3, 2) == (found.more, found.unchanged)
