"""A disk that is short of room: builds wait with the reason shown, caches go, and the builds start by themselves."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.daemon import Daemon
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def live(small_disk: Path, tmp_path: Path) -> Iterator[Live]:
    """A daemon whose state lies on the small disk, of which half is to stay free."""
    site = new_site(tmp_path / "site")
    site.state = small_disk / "state"
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, *PROVING, "--disk-reserve", "50%"))
    live.daemon.start()
    yield live
    live.close()


def test_builds_wait_for_room(live: Live, small_disk: Path) -> None:
    """Layers make room first, and images that are gone; where that is too little, builds wait until there is more."""
    stream = live.add_stream("modest", {"manifest": OVER_SMALL, "files/etc/modest": "modest"})
    doomed = live.build(stream)["ImageName"]
    layers = live.site.state / "layers"
    assert 2 == len(list(layers.iterdir()))
    live.call("ImageServer.DeleteImage", ImageName=doomed)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(60 << 20))
    poll(lambda: not list(layers.iterdir()), "layers to make room")
    build = live.call("Imaginator.SubmitBuild", StreamName=stream, ExpiresIn=3600, MaxSourceAge=86400)["BuildId"]
    with urllib.request.urlopen(live.daemon.url) as answer:
        page = answer.read().decode()
    state = live.call("Imaginator.GetBuild", BuildId=build)["State"]
    filler.unlink()
    poll(lambda: live.call("Imaginator.GetBuild", BuildId=build)["State"] == "succeeded", "the build to start")

    assert "queued" == state
    assert f"free on {live.site.state}, the reserve is 50.0 MiB (50.0 %)" in page
    log = live.daemon.log.read_text()
    assert (1, 1) == (log.count("new builds wait"), log.count("new builds go on"))
