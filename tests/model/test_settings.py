"""The main configuration: what is refused."""

from __future__ import annotations

import pytest

from imaginator.model.errors import ConfigurationError
from imaginator.model.settings import decode_settings


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


_CACHE = '"Cache": {"BaseDirectory": "/var/c", "MountPoint": "/c", "SizeLimit": "5G"}'


@pytest.mark.parametrize(
    ("fields", "sentences"),
    [
        ('"BindMounts": ["/srv", "srv"]', ["$.BindMounts[1]: 'srv', expected an absolute path below /"]),
        ('"BindMounts": ["/"]', ["$.BindMounts[0]: '/', expected"]),
        ('"BindMounts": ["/srv/../etc"]', ["$.BindMounts[0]: '/srv/../etc', expected"]),
        (r'"BindMounts": ["/a\u0000b"]', ["$.BindMounts[0]: holds a NUL character"]),
        ('"BindMountsWritable": ["/dev/shm"]', ["$.BindMountsWritable[0]: '/dev/shm' lies in /dev, which every build"]),
        (
            '"BindMounts": ["/srv"], "BindMountsWritable": ["/srv"]',
            ["$.BindMountsWritable[0]: '/srv' is among BindMounts too: expected in one of them"],
        ),
        (f'"BindMounts": ["/c"], {_CACHE}', ["$.BindMounts[0]: '/c' holds the MountPoint of Cache"]),
        (f'"BindMounts": ["/var"], {_CACHE}', ["$.BindMounts[0]: '/var' and the BaseDirectory of Cache share files"]),
        (f'"BindMounts": ["/var/c/x"], {_CACHE}', ["'/var/c/x' and the BaseDirectory of Cache share files"]),
        (
            '"Cache": {"BaseDirectory": "c", "MountPoint": "/proc/c", "SizeLimit": "much"}',
            [
                "$.Cache.BaseDirectory: 'c', expected an absolute path",
                "$.Cache.MountPoint: '/proc/c' lies in /proc",
                "$.Cache.SizeLimit: 'much'",
            ],
        ),
        ('"Cache": {"BaseDirectory": "/c"}', ["$.Cache: missing required field"]),
    ],
)
def test_bad_mounts_are_named(fields: str, sentences: list[str]) -> None:
    """Each field that is wrong is told of with its place."""
    with pytest.raises(ConfigurationError) as caught:
        decode_settings(f"{{{fields}}}".encode(), "c", "amd64")

    told = "\n".join(map(str, caught.value.problems))
    assert [] == [sentence for sentence in sentences if sentence not in told]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (r'"CleanCommand": ["a", "\u0000"]', ".PackagerTypes.deb.CleanCommand[1]: holds a NUL character"),
        (r'"InstallCommand": ["a\u0000b"]', ".PackagerTypes.deb.InstallCommand[0]: holds a NUL character"),
        (r'"ListCommand": {"ArgList": ["\u0000"]}', ".PackagerTypes.deb.ListCommand.ArgList[0]: holds a NUL character"),
        (r'"RemoveCommand": ["\u0000"]', ".PackagerTypes.deb.RemoveCommand[0]: holds a NUL character"),
        (r'"UpdateCommand": ["\u0000"]', ".PackagerTypes.deb.UpdateCommand[0]: holds a NUL character"),
        (r'"UpgradeCommand": ["\u0000"]', ".PackagerTypes.deb.UpgradeCommand[0]: holds a NUL character"),
        (r'"Verbatim": [":", "\u0000"]', ".PackagerTypes.deb.Verbatim[1]: holds a NUL character"),
        (r'"CleanPatterns": ["/a", "\u0000"]', ".PackagerTypes.deb.CleanPatterns[1]: holds a NUL character"),
        (r'"CleanPatterns": ["/a\n/b"]', ".PackagerTypes.deb.CleanPatterns[0]: a line break"),
        (r'"CleanCommand": ["\ud800"]', ".PackagerTypes.deb.CleanCommand[0]: holds half a surrogate pair"),
        (
            f'"CleanCommand": ["{"é" * 65536}"]',
            ".PackagerTypes.deb.CleanCommand[0]: 131072 bytes, expected at most",
        ),
        (
            f'"Verbatim": {["#" * 65536] * 2}'.replace("'", '"'),
            ".PackagerTypes.deb.Verbatim: 131073 bytes, expected",
        ),
        ('"ListCommand": {"SizeMultiplier": -1}', ".PackagerTypes.deb.ListCommand.SizeMultiplier: negative"),
    ],
)
def test_a_word_that_no_program_can_be_given_is_named(settings: str, sentence: str) -> None:
    """The error names the packager type, the field, and which word of it."""
    data = f'{{"PackagerTypes": {{"deb": {{{settings}}}}}}}'.encode()

    with pytest.raises(ConfigurationError) as caught:
        decode_settings(data, "c", "amd64")

    assert f"${sentence}" in str(caught.value)


def test_a_word_of_a_bootstrap_command_is_named() -> None:
    """A bootstrap command is looked at as closely."""
    data = rb'{"BootstrapStreams": {"s": {"BootstrapCommand": ["a", "\u0000"], "PackagerType": "deb"}},'
    data += b' "PackagerTypes": {"deb": {}}}'

    with pytest.raises(ConfigurationError, match=r"\$.BootstrapStreams\.s\.BootstrapCommand\[1\]: holds a NUL"):
        decode_settings(data, "c", "amd64")
