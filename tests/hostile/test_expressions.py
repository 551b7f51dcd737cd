"""Every place of a regular expression that people write, with every expression that has hurt somebody.

RE2 takes time in proportion to the text, and what it cannot do so it refuses; see https://swtch.com/~rsc/regexp/.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from imaginator.model.filters import Filter
from imaginator.model.manifest import Manifest, decode_manifest
from imaginator.model.settings import Settings, decode_settings
from imaginator.model.streams import decode_streams
from tests.hostile.verdict import REFUSED, outcome

Compile = Callable[[str], Callable[[str], object]]
"""From an expression, by way of the file that it stands in, to what matches a path or a stream's name with it."""

BASE = {"BootstrapCommand": ["x"], "PackagerType": "deb"}


def _filter_of(lines: tuple[str, ...] | None) -> Callable[[str], object]:
    compiled = Filter(lines or ())
    return lambda text: compiled.matches(text.encode())


def _main(**fields: object) -> Settings:
    tables = {"BootstrapStreams": {"base": BASE}, "PackagerTypes": {"deb": {}}, **fields}
    return decode_settings(json.dumps(tables).encode(), "f", "amd64")


def _manifest(name: str, data: str) -> Manifest:
    texts = {"manifest": '{"SourceImage": "base"}', name: data}
    return decode_manifest({name: text.encode() for name, text in texts.items()}, "f")


def _manifest_file(field: str, expression: str) -> Manifest:
    return _manifest("manifest", json.dumps({"SourceImage": "base", field: [expression]}))


def _bootstrap_filter(expression: str) -> Callable[[str], object]:
    settings = _main(BootstrapStreams={"base": {**BASE, "FilterLines": [expression]}})
    return _filter_of(settings.bootstrap_streams["base"].filter_lines)


def _clean_pattern(expression: str) -> Callable[[str], object]:
    settings = _main(PackagerTypes={"deb": {"CleanPatterns": [expression]}})
    return _filter_of(settings.packager_types["deb"].clean_patterns)


def _trigger(expression: str) -> Callable[[str], object]:
    triggers = _manifest("triggers", json.dumps([{"MatchLines": [expression], "Service": "s"}])).triggers
    assert triggers is not None
    return _filter_of(triggers[0].match_lines)


def _stream_pattern(expression: str) -> Callable[[str], object]:
    data = json.dumps({"StreamPatterns": {expression: {"ManifestUrl": "dir:///m"}}}).encode()
    return decode_streams(data, "f", "amd64").find


PLACES: dict[str, Compile] = {
    "FilterLines of a bootstrap": _bootstrap_filter,
    "CleanPatterns": _clean_pattern,
    "common MtimesCopyFilterLines": lambda text: _filter_of(
        _main(MtimesCopyFilterLines=[text]).mtimes_copy_filter_lines
    ),
    "FilterLines of a manifest": lambda text: _filter_of(_manifest_file("FilterLines", text).file.filter_lines),
    "MtimesCopyAddFilterLines": lambda text: _filter_of(
        _manifest_file("MtimesCopyAddFilterLines", text).file.mtimes_copy_add_filter_lines
    ),
    "filter": lambda text: _filter_of(_manifest("filter", text).filter),
    "MatchLines of a trigger": _trigger,
    "StreamPatterns": _stream_pattern,
}

LONG = "/" + "a" * 100_000 + "!"
DEEP = 900
EXPRESSIONS: dict[str, str] = {
    "nested plus": "/(a+)+$",
    "nested star": "/(a*)*$",
    "equal alternatives": "/(a|a)*$",
    "alternatives within one another": "/(a|aa)+$",
    "many anythings": "/(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)x",
    "anything twice": "/(.*.*)*y",
    "evil mail address": r"/([a-zA-Z0-9])(([\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+$",
    "repeated optionals": "/" + "a?" * 500 + "a" * 500,
    "case folded": "/(?i:(a|A)+)+$",
    "letters of Unicode": r"/\pL*\p{Greek}+$",
    "a thousand words": "/(" + "|".join(f"word{at}" for at in range(600)) + ")",
    "deep groups": "(" * DEEP + "a" + ")" * DEEP,
    "deeper groups": "(" * 2000 + "a" + ")" * 2000,
    "any byte": r"/\C*$",
    "quoted to its end": r"/\Qa.b",
    "flags": "(?ims)/a$",
    "end of text": r"/a*\z",
    "inverted": "!",
    "only anchors": "^$^$",
    "name twice": "/(?P<n>a)(?P<n>b)",
    "empty class": r"/[^\x00-\x{10FFFF}]",
}
REFUSED_EXPRESSIONS: dict[str, str] = {
    "repeated a million times": "/a{1000000}",
    "repeated thrice": "/(((a{100}){100}){100})",
    "repeated repetition": "/a{1000}{1000}",
    "5,000 characters": "/" + "a" * 5000,
    "unclosed group": "/(a",
    "unopened group": "/a)",
    "unclosed class": "/[a",
    "reversed range": "/[z-a]",
    "repeated nothing": "/**",
    "reference backwards": r"/(a)\1",
    "look ahead": "/(?=a)",
    "look behind": "/(?<!a)b",
    "atomic group": "/(?>a+)",
    "conditional": "/(a)?(?(1)b|c)",
    "recursion": "/(?R)",
    "callout": "/(?C1)",
    "unknown class": r"/\p{Klingon}",
    "unknown escape": r"/\y",
    "escape at the end": "/a\\",
    "too large a code point": r"/\x{110000}",
    "NUL": "/a\0b",
    "escape sequence": "/(\x1b[2J",
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("place", PLACES)
def test_no_expression_hangs(place: str, expression: str) -> None:
    """It is matched in the time that its text takes, or refused."""
    matches, _ = outcome(lambda: PLACES[place](EXPRESSIONS[expression]))

    if matches is not REFUSED:
        for text in ("/", "/a", LONG):
            outcome(lambda text=text: matches(text))  # type: ignore[misc]


@pytest.mark.parametrize("expression", REFUSED_EXPRESSIONS)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_refused_is_quoted(place: str, expression: str) -> None:
    """With the place and the reason."""
    value, sentence = outcome(lambda: PLACES[place](REFUSED_EXPRESSIONS[expression]))

    assert value is REFUSED
    assert sentence.startswith("f")
    assert any(words in sentence for words in ("no regular expression", "characters, at most", "NUL"))
