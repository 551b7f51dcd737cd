"""Tags: expansion and matching."""

from __future__ import annotations

from imaginator.model.tags import expand_tags, expand_wanted, matches


def test_a_tag_that_expands_to_nothing_goes() -> None:
    """One that is empty as written stays."""
    assert expand_tags({"a": "$X", "b": "$NONE", "c": ""}, {"X": "1"}) == {"a": "1", "c": ""}


def test_a_wanted_key_without_values_is_dropped() -> None:
    """Values that expand to nothing do not count."""
    assert expand_wanted({"a": ["$X", "$NONE"], "b": ["$NONE"]}, {"X": "1"}) == {"a": ("1",)}


def test_values_are_alternatives_and_keys_must_all_match() -> None:
    """OR within a key, AND between keys."""
    assert matches({"a": "1", "b": "2"}, {"a": ["0", "1"], "b": ["2"]})
    assert not matches({"a": "1"}, {"a": ["1"], "b": ["2"]})
