"""Tags: words on an image, and which images a manifest accepts by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imaginator.model.variables import expand


def expand_tags(tags: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Tags with their values expanded; one that expands to nothing goes, one that was empty stays."""
    expanded = {key: expand(value, variables) for key, value in tags.items()}
    return {key: value for key, value in expanded.items() if value or not tags[key]}


def expand_wanted(wanted: Mapping[str, Sequence[str]], variables: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Wanted tags with their values expanded; a key whose values all expand to nothing is dropped."""
    expanded = {
        key: tuple(value for value in (expand(text, variables) for text in values) if value)
        for key, values in wanted.items()
    }
    return {key: values for key, values in expanded.items() if values}


def matches(tags: Mapping[str, str], wanted: Mapping[str, Sequence[str]]) -> bool:
    """Whether each wanted key has one of its values."""
    return all(tags.get(key) in values for key, values in wanted.items())
