"""Values of a JSON file fitted into their types: everything that is wrong at once, what is good is kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from imaginator.model.codec import JsonFile, decode_json
from imaginator.model.errors import ConfigurationError
from imaginator.model.problems import MOST, Problem


class Leaf(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One of each type."""

    text: str
    flag: bool = False
    count: int = 0
    ratio: float = 0.0
    words: tuple[str, ...] = ()
    maybe: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("a negative count")


class Top(msgspec.Struct, frozen=True, rename="pascal"):
    """A table of them."""

    table: dict[str, Leaf] = {}


def problems_of(data: bytes, kind: type[Any] = Top) -> list[str]:
    """Everything that is wrong, less the file's name."""
    with pytest.raises(ConfigurationError) as caught:
        decode_json(data, kind, "f")
    return [str(problem).removeprefix("f: ") for problem in caught.value.problems]


def test_everything_that_is_wrong_is_told_of_at_once() -> None:
    """Each with its place, in the order of the text."""
    data = b"""{"Table": {
        "a": {"Text": 1, "Flag": "yes"},
        "b": {},
        "c": {"Text": "x", "Count": 1.5, "Ratio": true, "Words": ["w", null], "Maybe": {}},
        "d": [],
        "e": {"Text": "x", "Count": -1}
    }}"""

    assert [
        "line 2, column 23: $.Table.a.Text: expected a string, got a number",
        "line 2, column 34: $.Table.a.Flag: expected true or false, got a string",
        "line 3, column 14: $.Table.b: missing required field Text",
        "line 4, column 37: $.Table.c.Count: expected a whole number, got a number",
        "line 4, column 51: $.Table.c.Ratio: expected a number, got true or false",
        "line 4, column 72: $.Table.c.Words[1]: expected a string, got null",
        "line 4, column 88: $.Table.c.Maybe: expected an array, got an object",
        "line 5, column 14: $.Table.d: expected an object, got an array",
        "line 6, column 14: $.Table.e: a negative count",
    ] == problems_of(data)


def test_what_is_good_is_kept() -> None:
    """So that what else is wrong with it can be found, too."""
    file = JsonFile(b'{"Table": {"a": {"Text": 1}, "b": {"Text": "x", "Count": null, "Words": ["w", 1]}}}', "f")

    assert Top({"b": Leaf(text="x", words=("w",))}) == file.decode(Top)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (rb'"a\u0000b"', "holds a NUL character"),
        (rb'"\ud800"', "holds half a surrogate pair: no character"),
        (b"1e400", "expected a string, got a number"),
    ],
)
def test_texts_hold_characters(value: bytes, words: str) -> None:
    """What no file name, environment or UTF-8 file can hold is refused everywhere."""
    assert [f"line 1, column 24: $.Table.a.Text: {words}"] == problems_of(b'{"Table":{"a":{"Text": ' + value + b"}}}")


@pytest.mark.parametrize("value", [b"1e400", b"-1e400", b"9" * 30])
def test_numbers_have_a_size(value: bytes) -> None:
    """Infinity is none that anybody meant."""
    (problem,) = problems_of(b'{"Table":{"a":{"Text": "", "Ratio": ' + value + b"}}}")

    assert problem.endswith("$.Table.a.Ratio: too large a number")


def test_many_problems_are_counted() -> None:
    """A page has an end."""
    found = problems_of(b"[%s]" % b",".join([b"1"] * (MOST + 23)), tuple[str, ...])

    assert MOST + 1 == len(found)
    assert "and at least 23 more" == found[-1]


def test_the_sentence_of_many_problems() -> None:
    """The first one's, and how many more there are."""
    with pytest.raises(ConfigurationError, match=r"^f: line 1, column 2: \$\[0\]: expected .* \(and 2 more\)$"):
        decode_json(b"[1, 2, 3]", tuple[str, ...], "f")


def test_a_key_that_is_there_twice() -> None:
    """The last one counts, as in other programs; whoever wrote it is warned."""
    told: list[Problem] = []

    assert {"a": "2", "b": "3"} == decode_json(b'{"a": "1",\n "a": "2", "b": "3"}', dict[str, str], "f", told.append)
    assert ["f: line 2, column 2: $.a: is there more than once: the last one counts"] == list(map(str, told))


def test_a_problem_is_one_short_line() -> None:
    """Whatever it quotes: line breaks, escape sequences, a megabyte."""
    (problem,) = problems_of(b'{"Table":{"' + b"x" * 1_000_000 + rb'\n\u001b[2J": 1}}')

    assert problem.isprintable()
    assert len(problem) < 1000
