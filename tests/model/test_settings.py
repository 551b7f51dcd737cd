"""The main configuration: the shipped sample, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from imaginator.model.errors import ConfigurationError
from imaginator.model.problems import Problem
from imaginator.model.settings import decode_settings

SAMPLE = Path(__file__).parents[2] / "etc" / "conf.json"


def test_the_shipped_sample_is_good() -> None:
    """It decodes without a warning, the architecture expanded in its names."""
    told: list[Problem] = []
    settings = decode_settings(SAMPLE.read_bytes(), "conf.json", "amd64", told.append)

    assert ["bootstrap/Debian-12/amd64"] == list(settings.bootstrap_streams)
    assert not told


@pytest.mark.parametrize(
    ("stream", "sentence"),
    [
        (
            '"s": {"BootstrapCommand": ["x"], "PackagerType": "rpm"}',
            r"\.s\.PackagerType: unknown packager type 'rpm'",
        ),
        ('"s": {"BootstrapCommand": [], "PackagerType": "deb"}', r"\.s\.BootstrapCommand: empty"),
        ('"../s": {"BootstrapCommand": ["x"], "PackagerType": "deb"}', r"stream name '../s'"),
        (
            '"s": {"BootstrapCommand": ["x"], "PackagerType": "deb", "FilterLines": ["("]}',
            r"\.s\.FilterLines\[0\]: '\(' is no",
        ),
    ],
)
def test_a_bad_bootstrap_stream_is_named(stream: str, sentence: str) -> None:
    """The error names the file, the stream and the field."""
    data = f'{{"BootstrapStreams": {{{stream}}}, "PackagerTypes": {{"deb": {{}}}}}}'.encode()

    with pytest.raises(ConfigurationError, match=rf"^c: line 1, column \d+: \$\.BootstrapStreams.*{sentence}"):
        decode_settings(data, "c", "amd64")


@pytest.mark.parametrize(
    ("cache", "sentence"),
    [
        ('{"Directory": "var/cache"}', "Directory: 'var/cache', expected an absolute path below /"),
        ('{"Directory": "/"}', "Directory: '/', expected"),
        ('{"Directory": "/var/../etc"}', "Directory: '/var/../etc', expected"),
        ('{"Directory": "/var", "OfferIn": ".."}', "OfferIn: '..', expected the name of one directory"),
        ('{"Directory": "/var", "OfferIn": "a/b"}', "OfferIn: 'a/b', expected"),
        ("{}", "missing required field"),
    ],
)
def test_a_bad_package_cache_is_named(cache: str, sentence: str) -> None:
    """The error names the packager type and the field."""
    data = f'{{"PackagerTypes": {{"deb": {{"PackageCache": {cache}}}}}}}'.encode()

    with pytest.raises(ConfigurationError) as caught:
        decode_settings(data, "c", "amd64")

    assert "PackageCache" in str(caught.value)
    assert sentence in str(caught.value)
