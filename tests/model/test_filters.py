"""Filters: what they leave out, how they merge, what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.errors import ConfigurationError
from imaginator.model.filters import Filter, merge_lines

lines = st.lists(st.text("/ab", max_size=4))


@pytest.mark.parametrize(
    ("filter_lines", "path", "expected"),
    [
        (["/tmp/.*"], b"/tmp/x", True),
        (["/tmp/.*"], b"/a/tmp/x", False),
        (["/usr"], b"/usrlocal", True),
        (["/usr$"], b"/usrlocal", False),
        (["/a/.*[.]log$"], b"/a/\xff.log", True),
        (["/a/.$"], "/a/é".encode(), True),
        (["!", "/keep"], b"/keep", False),
        (["!", "/keep"], b"/other", True),
        ([], b"/x", False),
    ],
)
def test_what_a_filter_leaves_out(filter_lines: list[str], path: bytes, expected: bool) -> None:
    """Anchored at the start only; ``!`` inverts; names that are not UTF-8 match too."""
    assert expected == Filter(filter_lines).matches(path)


@given(lines)
def test_the_root_is_never_left_out(some: list[str]) -> None:
    """No filter matches the root."""
    assert not Filter([".*", *some]).matches(b"/")
    assert not Filter(["!", *some]).matches(b"/")


@given(lines, lines)
def test_merging_is_a_sorted_union(source: list[str], added: list[str]) -> None:
    """Both filters' lines, each once, and the order of merging does not matter."""
    merged = merge_lines(source, added)

    assert sorted(set(source) | set(added)) == list(merged)
    assert merge_lines(added, source) == merged


def test_a_bad_expression_is_named_with_its_line() -> None:
    """The error names file, line and text."""
    with pytest.raises(ConfigurationError, match=r"^f: line 2: '\(' is no regular expression: "):
        Filter(["/a", "("], "f")
