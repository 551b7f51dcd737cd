"""Limits of a stream are read when the configuration is, and only ever lower the operator's."""

from __future__ import annotations

import pytest

from imaginator.model.errors import ConfigurationError
from imaginator.model.limits import StreamLimits
from imaginator.model.streams import decode_streams
from imaginator.sandbox.limits import Limits
from imaginator.schedule.jobs import limits_of


def decoded(limits: str) -> StreamLimits:
    """The limits of the one stream of a file."""
    text = f'{{"Streams": {{"one": {{"ManifestUrl": "dir:///x", "Limits": {limits}}}}}}}'
    return decode_streams(text.encode(), "streams.json", "amd64").named["one"].limits


def test_limits_are_written_like_the_flags() -> None:
    """Sizes, counts, a weight and a duration."""
    text = '{"Memory": "2GiB", "Processes": 100, "Disk": "1G", "Inodes": 5, "CPUWeight": 50, "Duration": "1h30m"}'

    limits = decoded(text)

    assert Limits(2 << 30, 100, 1 << 30, 5, 50) == limits_of(limits)
    assert 5400 == limits.seconds


def test_none_is_no_limit_of_the_streams_own() -> None:
    """The flags' are in force."""
    assert (Limits(), 0) == (limits_of(decoded("{}")), decoded("{}").seconds)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ('{"Memory": "much"}', "'much' is no size: expected something like 100M or 2GiB - at `$.Streams.one.Limits`"),
        ('{"Duration": "long"}', "'long' is no duration"),
        ('{"CPUWeight": 10001}', "10001 is no CPUWeight: expected 1 to 10000"),
        ('{"Processes": -1}', "a negative count: expected 0 or more of Processes and Inodes"),
        ('{"Disk": 5}', "Limits.Disk"),
    ],
)
def test_what_is_wrong_is_named(limits: str, sentence: str) -> None:
    """When the file is read, not when a build begins."""
    with pytest.raises(ConfigurationError) as caught:
        decoded(limits)
    assert sentence.partition(" - ")[0] in str(caught.value)


def test_a_stream_cannot_raise_the_operators_limits() -> None:
    """The lower of both counts; 0 is no limit, on either side."""
    operators = Limits(memory=100, processes=10, disk=0, inodes=7, cpu_weight=100)

    assert Limits(50, 10, 5, 7, 100) == operators.within(Limits(memory=50, processes=20, disk=5, cpu_weight=200))
    assert operators == operators.within(Limits())
