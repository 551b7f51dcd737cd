"""What went into an image, compared with what would go in now."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from imaginator.model.fingerprint import Fingerprint, differences, digests, in_short

BEFORE = Fingerprint(
    definition=digests({"Recipe": 1, "Network": True}),
    manifest="0123456789abcdef",
    source_image="base/2026-11-22:23:38:05",
    environment=digests({"A": "1", "B": "2", "C": "3", "D": "4"}),
    index="x",
)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"index": "y"}, []),
        ({"definition": digests({"Recipe": 2, "Network": True})}, ["configuration: Recipe changed"]),
        ({"manifest": "fedcba9876543210"}, ["manifest changed: 0123456789ab → fedcba987654"]),
        ({"manifest": ""}, ["manifest changed: 0123456789ab → none"]),
        ({"source_image": "base/2"}, ["source image: base/2026-11-22:23:38:05 → base/2"]),
        ({"environment": digests({"A": "1", "B": "3", "D": "4", "E": ""})}, ["environment: B, C, E changed"]),
        ({"environment": {}}, ["environment: A, B, C and 1 more changed"]),
    ],
)
def test_each_part_is_told(change: dict[str, object], told: list[str]) -> None:
    """By the names of what changed, never by values; the package index is another's to judge."""
    assert told == differences(BEFORE, replace(BEFORE, **change))


def test_values_are_not_kept() -> None:
    """Only digests are, which are alike for like values whatever their order."""
    assert digests({"A": {"b": 1, "c": 2}}) == digests({"A": {"c": 2, "b": 1}})
    assert "secret" not in str(digests({"A": "secret"}))


def test_a_few_names() -> None:
    """The rest are counted."""
    assert ["", "a", "a, b, c", "a, b, c and 2 more"] == [in_short(names) for names in ("", "a", "abc", "abcde")]
