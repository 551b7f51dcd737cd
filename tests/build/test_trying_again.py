"""Steps that need the network fail a few times: what the log tells, what is tried again, and what never."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, ensureDeferred

from imaginator.build import retry
from imaginator.model.errors import BuildFailed, ConfigurationError
from imaginator.model.image import Image
from imaginator.model.streams import Stream
from tests.support.git_repository import Repository
from tests.support.git_server import serving
from tests.support.house import PACKAGER, House, Record
from tests.support.rude_server import Manner, RudeServer
from tests.support.served_folder import ServedFolder

SECRET = "s3cr3t-word"
SOON = (0.01, 0.03, 0.09)
"""Seconds between tries; what is told of them is rounded."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr(retry, "DELAYS", SOON)


class Remote:
    """A Git repository behind a server that misbehaves when it is told to."""

    def __init__(self, server: RudeServer, address: str) -> None:
        self.server = server
        self.definition = Stream(manifest_url=f"http://$TOKEN:$TOKEN@{address}/at/repository/.git")

    async def build(self, house: House, monitor: Record) -> Image:
        """Build the stream whose manifest is there."""
        return await house.engine.build(house.job("test/remote", self.definition), monitor, house.source)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    """A manifest over the small system, for those with the password."""
    repository = Repository(tmp_path / "repository")
    repository.commit({"manifest": '{"SourceImage": "small"}', "files/etc/remote": "remote\n"})
    with serving(tmp_path, SECRET) as address:
        server = RudeServer(int(address.partition(":")[2]))
        with server.serve() as rude:
            yield Remote(server, rude)


@pytest_twisted.ensureDeferred
async def test_git_fails_twice(house: House, remote: Remote) -> None:
    """The log tells both failures without secrets, and the build succeeds."""
    await house.bootstrap()
    monitor = Record()
    remote.server.behave(Manner.RESETS, left=2)
    image = await remote.build(house, monitor)

    log = monitor.data.decode()
    assert b"remote\n" == house.content(image, b"/etc/remote")
    assert (2, 2) == (log.count(": git ls-remote: exit status 128: "), log.count("\ntrying again in "))
    assert "http://$TOKEN:$TOKEN@127.0.0.1:" in log
    assert SECRET not in log


@pytest_twisted.ensureDeferred
async def test_git_keeps_failing(house: House, remote: Remote) -> None:
    """The build fails with the last reason, which is not in the log a second time."""
    monitor = Record()
    remote.server.behave(Manner.FAILS)
    with pytest.raises(BuildFailed, match="git ls-remote: exit status 128: .* 500"):
        await remote.build(house, monitor)

    assert len(SOON) == monitor.data.count(b"trying again in ")
    assert len(SOON) + 1 == remote.server.heard


@pytest_twisted.ensureDeferred
async def test_cancelled_in_a_pause(house: House, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build ends at once, not when the pause is over."""
    monkeypatch.setattr(retry, "DELAYS", (3600.0,))
    monitor = Record()
    remote.server.behave(Manner.RESETS)
    said = monitor.said(b"trying again in 3600 s")
    building = ensureDeferred(remote.build(house, monitor))
    await said
    building.cancel()
    with pytest.raises(CancelledError):
        await building


@pytest_twisted.ensureDeferred
async def test_packager_fails_twice(house: House) -> None:
    """Its update is run until it works; both failures are told with their last words."""
    update = 'echo x >> /tries; test "$(busybox wc -l < /tries)" = 3 || { echo "no mirror"; exit 7; }'
    house = house.with_packager(replace(PACKAGER, update_command=("sh", "-c", update)))
    await house.bootstrap()
    monitor = Record()
    image = await house.build({"package-list": "some\n"}, monitor)

    log = monitor.data.decode()
    assert b"x\n" * 3 == house.content(image, b"/tries")
    assert 2 == log.count("package update: exit status 7\nno mirror\ntrying again in 0 s\n")
    assert 3 == log.count("$ /bin/generic-packager update\n")


@pytest_twisted.ensureDeferred
async def test_script_is_never_tried_again(house: House) -> None:
    """It may have done half of its work."""
    await house.bootstrap()
    monitor = Record()
    with pytest.raises(BuildFailed):
        await house.build({"scripts/fails": "#!/bin/sh\necho once\nexit 3\n"}, monitor)

    assert (1, 0) == (monitor.data.count(b"once\n"), monitor.data.count(b"trying again"))


@pytest.mark.parametrize("manner", [Manner.RESETS, Manner.HALF, Manner.GARBAGE, Manner.FAILS])
@pytest_twisted.ensureDeferred
async def test_description_of_a_bootstrap(house: House, manner: Manner) -> None:
    """A file of a server that fails twice is there in the end."""
    files = ServedFolder(house.directory / "served", "")
    (files.folder / "filter").write_text("/var/log/.*\n" * 100)
    monitor = Record()
    with files.serve():
        server = RudeServer(files.port)
        with server.serve() as address:
            server.behave(manner, left=2)
            image = await house.bootstrap(monitor=monitor, image_filter_url=f"http://{address}/filter?key=$TOKEN")

    assert ("/var/log/.*",) == tuple(set(image.filter or ()))
    assert (2, 2) == (server.heard, monitor.data.count(b"\ntrying again in "))
    assert f"http://{address}/filter?key=$TOKEN: " in monitor.data.decode()
    assert SECRET.encode() not in monitor.data


@pytest_twisted.ensureDeferred
async def test_description_that_keeps_failing(house: House) -> None:
    """It is the build's failure after the last try; an answer that would come again is one at once."""
    files = ServedFolder(house.directory / "served", "")
    with files.serve():
        server = RudeServer(files.port)
        with server.serve() as address:
            for manner, problem, tries in (
                (Manner.RESETS, "no proper answer: ConnectionLost", len(SOON) + 1),
                (Manner.POLITE, "the server answers 404 File not found", 1),
                (Manner.CIRCLES, "no proper answer: InfiniteRedirection", 1),
            ):
                monitor = Record()
                server.behave(manner)
                with pytest.raises(ConfigurationError, match=f"^http://{address}/tags: {problem}$"):
                    await house.bootstrap(monitor=monitor, image_tags_url=f"http://{address}/tags")
                assert tries - 1 == monitor.data.count(b"trying again")
