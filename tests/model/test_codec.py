"""JSON in and out: comments, names of fields, errors with their place, and plain values."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.codec import decode_json, parse_json, to_json, to_plain
from imaginator.model.errors import ConfigurationError
from imaginator.model.problems import Problem

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=12,
)


class Inner(msgspec.Struct, frozen=True, rename="pascal"):
    """A field within a field."""

    some_number: int = 0


class Outer(msgspec.Struct, frozen=True, rename="pascal"):
    """What the tests decode."""

    name: str = ""
    table: dict[str, Inner] = {}


@given(plain)
def test_json_values_survive(value: object) -> None:
    """What is written is what is read, comments around it or not."""
    assert value == parse_json(b"# a\n  // b\n" + json.dumps(value, indent=1).encode() + b"\n! c", "f")
    assert value == json.loads(to_json(value))


def test_names_match_regardless_of_case_and_exact_ones_win() -> None:
    """Unknown fields are told of with their path."""
    told: list[Problem] = []
    data = b'{"NAME": "x", "Name": "y", "table": {"a": {"somenumber": 3, "Odd": 1}}}'

    assert Outer("y", {"a": Inner(3)}) == decode_json(data, Outer, "f", told.append)
    assert [
        "f: line 1, column 61: $.Table.a.Odd: unknown field is ignored",
    ] == list(map(str, told))


def test_text_after_the_value_is_told_of() -> None:
    """It is ignored with a warning that names the line."""
    told: list[Problem] = []

    assert Outer("x") == decode_json(b'{"Name": "x"}\nmore', Outer, "f", told.append)
    assert len(told) == 1
    assert str(told[0]) == "f: line 2, column 1: text after the first value is ignored"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'// c\n{"Name": }', r"f: line 2, column 10: "),
        (
            b'{"Table": {"a": {"SomeNumber": "x"}}}',
            r"f: line 1, column 32: \$\.Table\.a\.SomeNumber: expected a whole number, got a string",
        ),
        (b"[]", r"f: line 1, column 1: \$: expected an object, got an array"),
        (b"{}\n\xff", r"f: line 2: not UTF-8"),
        (b'{"Name": NaN}', r"f: .*NaN is no JSON number"),
        (b"[" * 100_000, r"f: objects nested deeper than"),
        (b"", r"f: line 1, column 1: "),
    ],
)
def test_errors_name_their_place(data: bytes, sentence: str) -> None:
    """File, then line and column, or the path of the field."""
    with pytest.raises(ConfigurationError, match=sentence):
        decode_json(data, Outer, "f")


def test_plain_values() -> None:
    """Times are RFC 3339 with Z; bytes that are not UTF-8 are escaped."""
    assert to_plain([b"a\xff", datetime(2026, 1, 2, tzinfo=UTC), Inner(3)]) == [
        "a\\xff",
        "2026-01-02T00:00:00Z",
        {"SomeNumber": 3},
    ]


class Leaf(msgspec.Struct, rename="pascal"):
    """A structure with what JSON does not have."""

    name: str
    at: datetime
    parts: tuple[int, ...] = (1, 2)
    below: dict[str, Leaf] = {}


class Binary(msgspec.Struct, rename="pascal"):
    """A structure with bytes, deep within."""

    leaf: Leaf
    texts: dict[str, tuple[bytes | None, ...]]


LEAF = Leaf(
    'a "b"\n\u2028ü',
    datetime(2026, 1, 2, 3, 4, 5, 67, tzinfo=UTC),
    below={"x": Leaf("y", datetime.max.replace(tzinfo=UTC))},
)


@pytest.mark.parametrize("value", [LEAF, Binary(LEAF, {"x": (b"a\xff", None)}), [LEAF], {"x": b"a"}, "x", None])
def test_json_is_of_plain_values(value: object) -> None:
    """Whichever way it takes to write them: bytes are never base64."""
    assert json.loads(to_json(value)) == json.loads(json.dumps(to_plain(value)))
