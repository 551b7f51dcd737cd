"""The sample configurations that operators start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.site import SAMPLE, read_sample
from imaginator.model.problems import Problem
from imaginator.model.settings import decode_settings
from imaginator.model.variables import expand
from tests.support.samples import ALL, INSTALLED, SAMPLES

STREAMS = {
    "conf.json": "bootstrap/Debian-12/amd64",
    "debian-13.json": "bootstrap/Debian-13/amd64",
    "rocky-9.json": "bootstrap/Rocky-9/amd64",
    "ubuntu-24.04.json": "bootstrap/Ubuntu-24.04/amd64",
}

samples = pytest.mark.parametrize("sample", ALL, ids=lambda path: path.name)


@samples
def test_a_sample_is_good(sample: Path) -> None:
    """It decodes without a warning, of its arguments neither, the architecture expanded in its names."""
    told: list[Problem] = []
    settings = decode_settings(sample.read_bytes(), sample.name, "amd64", told.append)

    assert [STREAMS[sample.name]] == list(settings.bootstrap_streams)
    assert not told


@samples
def test_the_files_that_a_sample_names_come_with_it(sample: Path) -> None:
    """What is to be installed beside it lies beside it."""
    for stream in decode_settings(sample.read_bytes(), sample.name, "amd64").bootstrap_streams.values():
        named = [word.partition(f"{INSTALLED}/")[2] for word in stream.bootstrap_command if INSTALLED in word]

        assert all((SAMPLES / path).exists() for path in named)


@samples
def test_only_the_directory_is_expanded(sample: Path) -> None:
    """No other dollar sign of a bootstrap command is taken for a variable of ours."""
    for stream in decode_settings(sample.read_bytes(), sample.name, "amd64").bootstrap_streams.values():
        expanded = [expand(word, {"dir": "/tree"}) for word in stream.bootstrap_command]

        assert [word.replace("$dir", "/tree") for word in stream.bootstrap_command] == expanded


def test_one_packager_type_serves_debian_and_ubuntu() -> None:
    """So a stream can be copied from one sample into another."""
    types = [read_sample(sample)["PackagerTypes"] for sample in ALL]

    assert [read_sample(SAMPLE)["PackagerTypes"]] * 3 == [names for names in types if "deb" in names]
