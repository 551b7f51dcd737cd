"""Every file that people write, with every defect that a text can have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from imaginator.model.codec import LARGEST_FILE
from tests.hostile.entries import JSON, LINES, Entry
from tests.hostile.verdict import REFUSED, outcome

Defect = tuple[Callable[[bytes], bytes], str]
"""What becomes of a good text, and the sentence that this makes; an empty one where the text stays good."""

JSON_DEFECTS: dict[str, Defect] = {
    "empty": (lambda text: b"", "Expecting value"),
    "only comments": (lambda text: b"# nothing\n// here\n! at all", "Expecting value"),
    "first half": (lambda text: text[: len(text) // 2], "line"),
    "not UTF-8": (lambda text: text.replace(b'"', b'"\xff', 1), "not UTF-8"),
    "UTF-16": (lambda text: text.decode().encode("utf-16"), "not UTF-8"),
    "byte-order mark": (lambda text: b"\xef\xbb\xbf" + text, ""),
    "NUL byte": (lambda text: text.replace(b'"', b'"\0', 1), "Invalid control character"),
    "NUL escape in a name": (lambda text: text.replace(b'"', b'"\\u0000', 1), ""),
    "raw line break in a string": (lambda text: text.replace(b'"', b'"\n', 1), "Invalid control character"),
    "lone surrogate in a name": (lambda text: text.replace(b'"', b'"\\ud800', 1), ""),
    "17 MB": (lambda text: text + b" " * (LARGEST_FILE + 1 - len(text)), "bytes, expected at most"),
    "15 MB of blanks": (lambda text: b" " * (15 << 20) + text, ""),
    "15 MB of comments": (lambda text: b"# comment\n" * (3 << 19) + text, ""),
    "15 MB of line breaks": (lambda text: b"\n" * (15 << 20) + text, ""),
    "1,000 deep arrays": (lambda text: b"[" * 1000 + b"]" * 1000, ""),
    "1,000 deep objects": (lambda text: b'{"a":' * 1000 + b"1" + b"}" * 1000, ""),
    "million deep": (lambda text: b"[" * 1_000_000, "nested deeper"),
    "million deep objects": (lambda text: b'{"a":' * 1_000_000, "nested deeper"),
    "10 MB array": (lambda text: b"[" + b"1," * (5 << 20) + b"1]", "expected"),
    "10 MB of objects in an array": (lambda text: b"[" + b"{}," * (3 << 20) + b"{}]", "expected|missing"),
    "10 MB of fields": (
        lambda text: b"{" + b",".join(b'"f%d":%d' % (at, at) for at in range(500_000)) + b"}",
        "expected|missing|neither|",
    ),
    "10 MB string": (lambda text: b'"' + b"x" * (10 << 20) + b'"', "expected an"),
    "name of 1 MB": (lambda text: b'{"' + b"x" * (1 << 20) + b'": 1}', ""),
    "not a number": (lambda text: b'{"a": NaN}', "NaN is no JSON number"),
    "infinity": (lambda text: b"[-Infinity]", "-Infinity is no JSON number"),
    "number of 100,000 digits": (lambda text: b"[" + b"9" * 100_000 + b"]", "unacceptable JSON"),
    "number of 4,000 digits": (lambda text: b"[" + b"9" * 4000 + b"]", "expected"),
    "text after the value": (lambda text: text + b"\nmore", ""),
    "two values": (lambda text: text + text, ""),
    "null": (lambda text: b"null", "got null"),
    "true": (lambda text: b"true", "got true or false"),
    "a number": (lambda text: b"-0.0", "got a number"),
    "a string": (lambda text: b'"\\u001b[2J\\u202e"', "got a string"),
    "the other bracket": (lambda text: b"[]" if text.startswith(b"{") else b"{}", "expected an"),
    "single quotes": (lambda text: text.replace(b'"', b"'"), "line"),
    "trailing comma": (lambda text: text[:-1].rstrip() + b",\n" + text[-1:], "line"),
    "comment within": (lambda text: text.replace(b"\n", b"\n  // why\n", 1), ""),
}


@pytest.mark.parametrize("defect", JSON_DEFECTS)
@pytest.mark.parametrize("entry", JSON)
def test_json(entry: str, defect: str) -> None:
    """The error says what and where; what is no error changes nothing."""
    spoil, expected = JSON_DEFECTS[defect]
    data = spoil(JSON[entry].text)

    value, sentence = outcome(lambda: JSON[entry].decode(data))

    if value is REFUSED:
        assert sentence.startswith("f")
        assert not expected or any(words in sentence for words in expected.split("|"))
    else:
        assert expected == "" or "" in expected.split("|")


WRONG: list[Any] = [None, True, 7, 1.5, "x", [], {}, [[]], [{}], [None], {"k": None}, {"k": {}}, "\0"]


@pytest.mark.parametrize("entry", JSON)
def test_wrong_types_at_every_field(entry: str) -> None:
    """Each value of the sample replaced by one of every other type: an error at its place, and never another fault."""
    tried = 0
    for path, good in _walk(JSON[entry].sample):
        for bad in WRONG:
            if type(bad) is not type(good) or bad:
                spoiled = _with(JSON[entry].sample, path, bad)
                value, sentence = outcome(partial(JSON[entry].decode, json.dumps(spoiled).encode()))
                assert value is not REFUSED or "line 1, column" in sentence or "expected" in sentence
                tried += 1

    assert tried > 10


@pytest.mark.parametrize("entry", JSON)
def test_every_field_twice(entry: str) -> None:
    """The last one counts, as everywhere."""
    text = JSON[entry].text.decode()
    value = JSON[entry].decode(JSON[entry].text)

    def twice(pairs: list[tuple[str, Any]]) -> str:
        return "{" + ", ".join(f"{json.dumps(key)}: {item}" for key, item in pairs for _ in range(2)) + "}"

    doubled = _render(json.loads(text), twice)

    assert _comparable(value) == _comparable(JSON[entry].decode(doubled.encode()))


def _comparable(value: Any) -> Any:
    return (value.named, value.patterns) if hasattr(value, "named") else value


def _render(value: Any, of_object: Callable[[list[tuple[str, str]]], str]) -> str:
    """JSON text, with objects written as ``of_object`` does."""
    if isinstance(value, dict):
        return of_object([(key, _render(item, of_object)) for key, item in value.items()])
    if isinstance(value, list):
        return "[" + ", ".join(_render(item, of_object) for item in value) + "]"
    return json.dumps(value)


def _walk(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, value
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in steps:
        yield from _walk(item, (*path, step))


def _with(value: Any, path: tuple[Any, ...], replacement: Any) -> Any:
    """A copy of ``value`` with another one at ``path``."""
    if not path:
        return replacement
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(value[path[0]], path[1:], replacement)
    return copy


LINES_DEFECTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda text: b"",
    "not UTF-8": lambda text: text + b"\xff\xfe",
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "byte-order mark": lambda text: b"\xef\xbb\xbf" + text,
    "NUL byte": lambda text: b"/a\0b c\n" + text,
    "carriage returns": lambda text: text.replace(b"\n", b"\r\n"),
    "line separators of Unicode": lambda text: "/a\u2028/b\x85 c\u2029\n".encode() + text,
    "line of 4 MB": lambda text: b"/" + b"x" * (4 << 20),
    "a million lines": lambda text: b"/x\n" * 1_000_000,
    "a million blank lines": lambda text: b" \n" * 1_000_000 + text,
    "a million words": lambda text: b"/x y " * 800_000,
    "escape sequences": lambda text: b"\x1b[2J\x07\x1b]0;title\x07\n" + text,
    "letters that look alike": lambda text: "/\u0435t\u0441/\u0440\u0430sswd h\u043est:1\n".encode() + text,
    "equals signs": lambda text: b"=\n==\n=x\n" + text,
    "JSON": lambda text: b'{"a": 1}',
    "a shell's way": lambda text: b"$(reboot)\n`reboot`\n; reboot\n" + text,
}


@pytest.mark.parametrize("defect", LINES_DEFECTS)
@pytest.mark.parametrize("entry", LINES)
def test_lines(entry: str, defect: str) -> None:
    """Lines are decoded or refused with their number, whatever is on them."""
    data = LINES_DEFECTS[defect](LINES[entry].text)

    value, sentence = outcome(lambda: LINES[entry].decode(data))

    assert value is not REFUSED or sentence.startswith("f")


def test_samples_are_good() -> None:
    """A defect of a sample that is refused anyway would show nothing."""
    entries: list[Entry] = [*JSON.values(), *LINES.values()]

    assert all(outcome(partial(entry.decode, entry.text))[0] is not REFUSED for entry in entries)
