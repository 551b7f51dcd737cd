"""Filter, tags and triggers of bootstrap images, from files at URLs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.model.build import Stage
from imaginator.model.errors import ConfigurationError
from imaginator.model.image import Trigger
from tests.support.git_repository import Repository
from tests.support.git_server import Backend, served
from tests.support.house import House, Record
from tests.support.served_folder import ServedFolder

TAGS = '{"of": "$IMAGE_STREAM on $ARCH", "gone": "$TOKEN", "empty": ""}'
TRIGGERS = '[{"MatchLines": ["/etc/x"], "Service": "x"}]'


def write(folder: Path) -> None:
    """One good file of each kind."""
    (folder / "filter-amd64").write_text("# comment\n/var/log/.*\n")
    (folder / "tags.json").write_text(TAGS)
    (folder / "triggers").write_text(TRIGGERS)


@pytest_twisted.ensureDeferred
async def test_image_says_what_the_files_say(house: House) -> None:
    """Paths expand secrets and ARCH; tags are expanded by the build's environment, in which no secret is."""
    folder = house.directory / "s3cr3t-word"
    folder.mkdir()
    write(folder)
    place = f"{house.directory}/$TOKEN"
    monitor = Record()

    image = await house.bootstrap(
        monitor=monitor,
        image_filter_url=f"{place}/filter-$ARCH",
        image_tags_url=f"file://{place}/tags.json",
        image_triggers_url=f"{place}/triggers",
    )

    assert ("/var/log/.*",) == image.filter
    assert {"of": "small on amd64", "empty": ""} == image.tags
    assert (Trigger(match_lines=("/etc/x",), service="x"),) == image.triggers
    assert [Stage.FETCH, Stage.BOOTSTRAP] == monitor.stages[:2]


@pytest_twisted.ensureDeferred
async def test_without_files(house: House) -> None:
    """The image is sparse: it has no filter and no triggers, which differ from empty ones."""
    image = await house.bootstrap()

    assert (None, None, {}) == (image.filter, image.triggers, image.tags)


@pytest_twisted.ensureDeferred
async def test_a_manifest_adds_to_the_filter_of_its_bootstrap(house: House) -> None:
    """What a bootstrap image has is inherited as a manifest's would be."""
    write(house.directory)
    await house.bootstrap(image_filter_url=f"{house.directory}/filter-amd64")

    image = await house.build({"filter.add": "/tmp/.*\n"})

    assert ("/tmp/.*", "/var/log/.*") == image.filter


@pytest_twisted.ensureDeferred
async def test_files_that_are_wrong(house: House) -> None:
    """All that is wrong is told with file and line before the command runs, and secrets by name."""
    folder = house.directory / "s3cr3t-word"
    folder.mkdir()
    (folder / "filter").write_text("/good\n(\n[\n")
    (folder / "tags.json").write_text('{\n "a": 1}')
    place = f"{house.directory}/$TOKEN"
    monitor = Record()

    with pytest.raises(ConfigurationError) as caught:
        await house.bootstrap(
            ["touch", str(house.directory / "ran")],
            monitor,
            image_filter_url=f"{place}/filter",
            image_tags_url=f"{place}/tags.json",
            image_triggers_url=f"{place}/missing",
        )

    told = [str(problem) for problem in caught.value.problems]
    assert told[0].startswith(f"{place}/filter: line 2: '(' is no regular expression")
    assert told[1].startswith(f"{place}/filter: line 3: '[' is no regular expression")
    assert told[2].startswith(f"{place}/tags.json: line 2, column 7: $.a: ")
    assert [f"{place}/missing: cannot be read: No such file or directory"] == told[3:]
    assert "s3cr3t" not in "\n".join(told) + monitor.data.decode()
    assert ([Stage.FETCH], False) == (monitor.stages, (house.directory / "ran").exists())


@pytest_twisted.ensureDeferred
async def test_from_a_server(house: House) -> None:
    """Over HTTP, with a secret in the address that an error does not show."""
    server = ServedFolder(house.directory / "served", "")
    write(server.folder)
    with server.serve():
        image = await house.bootstrap(image_triggers_url=f"{server.local_url}triggers?key=$TOKEN")
        with pytest.raises(ConfigurationError) as caught:
            await house.bootstrap(image_tags_url=f"{server.local_url}gone?key=$TOKEN")

    assert json.loads(TRIGGERS)[0]["Service"] == (image.triggers or ())[0].service
    assert str(caught.value).startswith(f"{server.local_url}gone?key=$TOKEN: the server answers 404")


@pytest_twisted.ensureDeferred
async def test_from_a_repository(house: House) -> None:
    """Out of Git, by a password that nothing shows."""
    repository = Repository(house.directory / "conf.git")
    repository.git("config", "uploadpack.allowFilter", "true")
    repository.commit({"filter": "/from/git\n", "bad": "(\n"})
    async with served(Backend(house.directory, password="s3cr3t-word")) as address:
        place = f"http://$TOKEN:$TOKEN@{address}/at/conf.git"
        image = await house.bootstrap(image_filter_url=f"{place}/filter")
        with pytest.raises(ConfigurationError, match=rf"\$TOKEN:\$TOKEN@{address}/at/conf.git/bad: line 1: ") as caught:
            await house.bootstrap(image_filter_url=f"{place}/bad")

    assert ("/from/git",) == image.filter
    assert "s3cr3t" not in str(caught.value)
