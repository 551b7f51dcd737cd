"""The streams configuration: names, patterns, and what is refused."""

from __future__ import annotations

import pytest

from imaginator.model.errors import ConfigurationError
from imaginator.model.renewal import RebuildWhen
from imaginator.model.streams import Stream, decode_streams

DATA = b"""{
    "Streams": {"base/$ARCH": {"ManifestUrl": "dir:///m"}},
    "StreamPatterns": {"user/[a-z]+/$ARCH$": {"ManifestUrl": "u"}, "user/both/.*": {"ManifestUrl": "v"}}
}"""


def test_a_stream_is_found_by_name_or_by_pattern() -> None:
    """A pattern matches the whole name; only $ARCH is a variable in it."""
    streams = decode_streams(DATA, "s", "amd64")

    assert streams.find("base/amd64") == Stream(manifest_url="dir:///m")
    assert streams.find("user/ann/amd64") == Stream(manifest_url="u")
    assert streams.find("user/ann/amd64/more") is None


def test_two_patterns_for_one_name_are_an_error() -> None:
    """The error names both."""
    with pytest.raises(ConfigurationError, match=r"stream user/both/amd64 matches two patterns: user/.* and user/both"):
        decode_streams(DATA, "s", "amd64").find("user/both/amd64")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"{}", r"s: line 1, column 1: \$: neither Streams nor StreamPatterns"),
        (
            b'{"Streams": {"a//b": {"ManifestUrl": "u"}}}',
            r"s: line 1, column 14: \$.Streams\['a//b'\]: stream name 'a//b'",
        ),
        (b'{"Streams": {"a": {}}}', r"s: line 1, column 19: \$.Streams.a: missing required field ManifestUrl"),
        (
            b'{"StreamPatterns": {"(": {"ManifestUrl": "u"}}}',
            r"s: line 1, column 21: \$.StreamPatterns\['\('\]: '\(' is no regular expression",
        ),
    ],
)
def test_a_bad_file_is_told_of(data: bytes, sentence: str) -> None:
    """File, field and reason."""
    with pytest.raises(ConfigurationError, match=sentence):
        decode_streams(data, "s", "amd64")


@pytest.mark.parametrize("table", ["Streams", "StreamPatterns"])
def test_names_that_mean_the_same_are_an_error(table: str) -> None:
    """One of them would vanish otherwise."""
    stream = '{"ManifestUrl": "u"}'
    data = f'{{"{table}": {{"a/$ARCH": {stream}, "a/amd64": {stream}}}}}'.encode()

    with pytest.raises(ConfigurationError, match=r"a/amd64.\]: means the same as 'a/\$ARCH'"):
        decode_streams(data, "s", "amd64")
    decode_streams(data, "s", "arm64")


def test_when_it_is_rebuilt() -> None:
    """One of two words, and an age as a duration; anything else is told of with its place."""
    fields = '"ManifestUrl": "dir:///x", "RebuildWhen": %s, "MaximumImageAge": %s'
    text = '{"Streams": {"a": {%s}}}'
    good = decode_streams((text % (fields % ('"changed"', '"30d"'))).encode(), "f", "amd64").named["a"]
    with pytest.raises(ConfigurationError) as wrong:
        decode_streams((text % (fields % ('"never"', '"30d"'))).encode(), "f", "amd64")
    with pytest.raises(ConfigurationError) as worse:
        decode_streams((text % (fields % ("[1]", '"soon"'))).encode(), "f", "amd64")

    assert (RebuildWhen.CHANGED, 30 * 86400) == (good.rebuild_when, good.oldest)
    assert "$.Streams.a.RebuildWhen: expected changed or always, got 'never'" in str(wrong.value)
    assert any("RebuildWhen: expected changed or always, got an array" in str(one) for one in worse.value.problems)


def test_an_age_that_is_none() -> None:
    """The sentence says what a duration looks like."""
    text = b'{"Streams": {"a": {"ManifestUrl": "dir:///x", "MaximumImageAge": "soon"}}}'
    with pytest.raises(ConfigurationError, match="soon"):
        decode_streams(text, "f", "amd64")
