"""The daemon killed in mid-build, and the disk filling up: nothing lost, nothing half-visible, nothing left."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.daemon import ENDED_WELL, Daemon
from imaginator.rpc.client import RpcError
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll, wait_for_text
from tests.support.live import PROVING, Live, leftovers, processes, uses
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A daemon of the test's own."""
    site = new_site(tmp_path / "site")
    live = Live(site, Daemon(site, *PROVING))
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live.daemon.start()
    yield live
    live.close()


def submit(live: Live, stream: str) -> str:
    """Queue a build; its id."""
    answer = live.call("Imaginator.SubmitBuild", StreamName=stream, ExpiresIn=3600, MaxSourceAge=86400)
    return str(answer["BuildId"])


def test_killed_daemon_leaves_nothing_and_runs_the_build_again(live: Live) -> None:
    """After kill -9 every process and mount of the build is gone, and the next daemon builds it under the same id."""
    stream = live.add_stream(
        "slow",
        {"manifest": OVER_SMALL, "scripts/slow": "#!/bin/sh\necho started\nsleep 3600\n"},
    )
    build = submit(live, stream)
    wait_for_text(live, build, "started")

    live.daemon.kill()
    poll(lambda: not [pid for pid, _ in processes() if uses(pid, live.site)], "the build's processes to end")
    live.add_stream("slow", {"manifest": OVER_SMALL, "scripts/slow": "#!/bin/sh\necho started again\n"})
    live.daemon.start()
    poll(lambda: live.call("Imaginator.GetBuild", BuildId=build)["State"] == "succeeded", "the second attempt")
    record = live.call("Imaginator.GetBuild", BuildId=build)

    assert 2 == record["Attempt"]
    assert [record["ImageName"]] == live.images(stream)
    assert [] == leftovers(live.site)


def test_sigterm_keeps_the_queue(live: Live) -> None:
    """A daemon that is asked to stop ends its builds, and the next one takes them up."""
    stream = live.add_stream("slow", {"manifest": OVER_SMALL, "scripts/slow": "#!/bin/sh\necho started\nsleep 3600\n"})
    build = submit(live, stream)
    wait_for_text(live, build, "started")

    status = live.daemon.stop()
    left = leftovers(live.site)
    live.add_stream("slow", {"manifest": OVER_SMALL})
    live.daemon.start()
    poll(
        lambda: live.call("Imaginator.GetBuild", BuildId=build)["State"] == "succeeded",
        "the build to be taken up",
    )

    assert (ENDED_WELL, []) == (status, left)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB on a loop device."""
    image, folder = tmp_path / "disk", tmp_path / "disk-mounted"
    with image.open("wb") as file:
        file.truncate(48 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", image], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def cramped(small_disk: Path, tmp_path: Path) -> Iterator[Live]:
    """A daemon whose state lies on the small disk."""
    site = new_site(tmp_path / "site")
    site.state = small_disk / "state"
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, *PROVING))
    live.daemon.start()
    yield live
    live.close()


def test_full_disk_fails_the_build_alone(cramped: Live) -> None:
    """A script that fills the disk fails its build; the daemon goes on, and the next build works."""
    filler = "#!/bin/sh\nset -e\ndd if=/dev/zero of=/var/lib/filler bs=1M\n"
    cramped.add_stream("filler", {"manifest": OVER_SMALL, "scripts/fill": filler})
    cramped.add_stream("modest", {"manifest": OVER_SMALL, "files/etc/modest": "modest"})
    with pytest.raises(RpcError, match="(?i)no space left"):
        cramped.build("filler")

    assert "succeeded" == cramped.build("modest")["State"]


def test_full_disk_while_packing(cramped: Live) -> None:
    """Content that fits once but not twice: storing its object fails the build with the reason named."""
    half = "#!/bin/sh\nset -e\ndd if=/dev/urandom of=/var/lib/half bs=1M count=26\n"
    cramped.add_stream("half", {"manifest": OVER_SMALL, "scripts/half": half})
    with pytest.raises(RpcError, match="(?i)no space left"):
        cramped.build("half")

    assert [] == cramped.images("half")
