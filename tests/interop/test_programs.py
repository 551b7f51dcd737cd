"""A client and an image server on Go's standard library, and our daemons: real builds over TLS."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.daemon import Daemon
from imaginator.srpc import messages as said
from tests.integration.conftest import new_site
from tests.integration.test_image_server import OVER, Server
from tests.support.go_programs import compiled
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs."""
    folder = tmp_path_factory.mktemp("go")
    for name in ("client", "server"):
        compiled(folder, name, "types", "line")
    return folder


class GoServer:
    """The image server, until `close`."""

    def __init__(self, program: Path, live: Path, pair: tuple[Path, Path]) -> None:
        argv = [program, live, *pair]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def images(self) -> dict[str, tuple[int, ...]]:
        """Of each image how many inodes it has, how many objects there are in all, and how long its log is."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        lines = [line.split() for line in iter(self._line, "")]
        return {name: tuple(map(int, numbers)) for name, *numbers in lines}

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)


@pytest.fixture
def building(programs: Path, tmp_path: Path) -> Iterator[tuple[Live, GoServer]]:
    """A daemon whose store is Go's server."""
    site = new_site(tmp_path / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    server = GoServer(programs / "server", site.authority, site.certificate("imaginator"))
    flags = ("--image-server-hostname", "localhost", "--image-server-port", str(server.port))
    live = Live(site, Daemon(site, *PROVING, *flags))
    live.daemon.start()
    yield live, server
    live.close()
    server.close()


def test_images_at_a_server_of_gos(building: tuple[Live, GoServer]) -> None:
    """They are built, found, extended and built on; the second build sends its own file and log alone."""
    live, server = building
    live.add_stream("deep/over", {"manifest": OVER, "files/etc/motd": "hello\n"})

    small = live.build("small")["ImageName"]
    over = live.build("deep/over")["ImageName"]
    before = server.images()
    again = live.build("deep/over")["ImageName"]
    live.call("ImageServer.ChangeImageExpiration", ImageName=again, Pinned=True)
    after = server.images()

    assert [over, again, small] == [*after]
    inodes, objects, log = after[over]
    assert before[small][0] + 1 == inodes
    assert log > 100
    assert [before[over][1] + 1] * 3 == [numbers[1] for numbers in after.values()]
    assert objects == after[again][1]


def test_a_client_of_gos(programs: Path, tmp_path: Path) -> None:
    """It builds in gob and in JSON, fetches the image and adds another one, which is built on."""
    server = Server(tmp_path / "server", "--trusted-users", "user")
    live = server.live
    try:
        live.add_stream("over", {"manifest": OVER, "files/etc/motd": "hello\n"})
        argv = [programs / "client", live.site.authority, *live.site.certificate("user")]
        said_by_it = subprocess.run(
            [*argv, str(live.daemon.port), str(server.port), "over"], capture_output=True, text=True, timeout=120
        )
        assert 0 == said_by_it.returncode, said_by_it.stdout
        live.add_stream("third", {"manifest": '{"SourceImage": "copied"}', "tests/is-there": "#!/bin/sh\ncat /added\n"})
        record = live.build("third")
        with server.peer() as peer:
            copied = peer.ask("ImageServer.GetImage", said.GetImageRequest("copied/v1"), said.GetImageResponse).image
    finally:
        live.close()

    words = [line.split() for line in said_by_it.stdout.splitlines()]
    assert ["built", "built", "source", "fetched", "added", "latest"] == [line[0] for line in words]
    assert {"true"} == {line[-1] for line in words if line[0] in ("built", "added")}
    assert ["small", "copied/v1"] == [words[2][1], words[5][1]]
    assert int(words[3][1]) + 1 == len(copied.file_system.inode_table)
    assert "succeeded" == record["State"]
