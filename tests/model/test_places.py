"""Where values stand in a JSON text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.places import Path, line_and_column, places, show_path

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
documents = st.recursive(
    st.none() | st.integers() | keys, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20
)


@given(documents, st.sampled_from([None, 1]), st.booleans())
def test_every_value_is_found(document: object, indent: int | None, ascii_only: bool) -> None:
    """What can be read at a place is the value that the path leads to."""
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    values = dict(_walk(document))

    found = places(text, 0, values)

    assert set(values) <= set(found)
    for path, place in found.items():
        assert values[path] == json.JSONDecoder().raw_decode(text, place.value)[0]


def _walk(value: Any, path: Path = ()) -> Any:
    yield path, value
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    # Keys match regardless of case where none matches exactly; here each matches exactly.
    for step, item in steps:
        yield from _walk(item, (*path, step))


def test_what_is_not_there() -> None:
    """The part of the path that is there has a place."""
    assert {(), ("a",)} == set(places('{"a": {}}', 0, [("a", "b", 0), ("c",)]))


def test_of_equal_keys_the_last_counts_then_one_of_other_case() -> None:
    """As in decoding."""
    text = '{"A": 1, "a": 2, "a": 3}'

    assert "3" == text[places(text, 0, [("a",)])[("a",)].value]
    assert "1" == text[places(text, 0, [("A",)])[("A",)].value]
    assert '"A"' == text[(at := places('{"A": 1}', 0, [("a",)])[("a",)].key) : at + 3]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ((), "$"),
        (("Streams", "base/web", "BuilderUsers", 0), "$.Streams['base/web'].BuilderUsers[0]"),
        (("a b", "c'\n"), "$['a b'][\"c'\\n\"]"),
    ],
)
def test_paths_are_shown_as_json_path_has_them(path: Path, shown: str) -> None:
    """Dots where they can be, brackets elsewhere."""
    assert shown == show_path(path)


def test_lines_and_columns_count_from_one() -> None:
    """In characters, not bytes."""
    text = "ä\nböc"

    assert [(1, 1), (2, 1), (2, 3)] == [line_and_column(text, text.index(letter)) for letter in "äbc"]
