"""A state directory that is read-only: from the start, for a while, or since its disk has failed.

What is open for writing keeps an administrator from ``mount -o remount,ro``; a mount over the directory does not ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.daemon import ENDED_WELL, DaemonFailed
from imaginator.rpc.client import RpcError
from tests.faults.conftest import running
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.faulty import WAITS, Watcher, at_rest, ended, failure, health, let_go_on, page, record, submit
from tests.support.live import Live, leftovers
from tests.support.printed import COUNTS
from tests.support.small_disk import SmallDisk, read_only_over, small_disk
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap
from tests.support.wholeness import catalogue_faults, object_faults

pytestmark = pytest.mark.integration

UNWRITABLE = "cannot be written: "
SCRIPT = f"#!/bin/sh\n{WAITS}\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 64 MB."""
    with small_disk(tmp_path, "disk", 64) as disk:
        yield disk


@pytest.fixture
def live(disk: SmallDisk, tmp_path: Path) -> Iterator[Live]:
    """A daemon with its state on that disk, and two streams whose builds wait; one fails then."""
    site = new_site(tmp_path / "site")
    site.state = disk.root / "state"
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    with running(site) as live:
        live.build("small")
        live.add_stream("works", {"manifest": OVER_SMALL, "scripts/it": SCRIPT})
        live.add_stream("fails", {"manifest": OVER_SMALL, "scripts/it": f"{SCRIPT}exit 3\n"})
        yield live
        assert [] == leftovers(site)
        assert [] == [*object_faults(site.state / "objects"), *catalogue_faults(site.state)]


def begun(live: Live) -> tuple[str, str]:
    """A build of each stream, in its script."""
    builds = submit(live, "works"), submit(live, "fails")
    at_rest(live, 2)
    return builds


def unwell(live: Live) -> str:
    """What the daemon says when it says that it is not well; the status page is there, and says it too."""
    poll(lambda: health(live)[0] == 503, "the daemon to say that it is not well")
    said = health(live)[1]
    code, shown = page(live, "")
    assert (200, True) == (code, "New builds wait" in shown and said.strip() in shown)
    return said


def test_a_start(live: Live, disk: SmallDisk) -> None:
    """It says why it cannot, in one line, with a status that is not 0."""
    live.daemon.stop()
    disk.remount("ro")
    with pytest.raises(DaemonFailed) as caught:
        live.daemon.start()
    disk.remount("rw")
    live.daemon.start()

    expected = f"imaginator: [Errno 30] Read-only file system: '{live.site.state}'"
    assert expected == str(caught.value)
    assert "succeeded" == live.build("small")["State"]
    COUNTS["a start on a disk that is read-only"] += 1


def test_for_a_while(live: Live) -> None:
    """Builds fail when they write, new ones wait; all goes on by itself, and what could not be removed then goes."""
    works, fails = begun(live)
    with Watcher(live.daemon.url):
        with read_only_over(live.site.state):
            said = unwell(live)
            let_go_on(live, 2)
            failures = failure(live, works)[1], failure(live, fails)[1]
            queued = submit(live, "small")
        found = ended(live, queued)

    assert f"{live.site.state} {UNWRITABLE}Read-only file system\n" == said
    assert failures[0].startswith("Read-only file system: ")
    assert failures[1].startswith("scripts/it: exit status 3")
    assert "succeeded" == found["State"]
    poll(lambda: health(live) == (200, "ok\n"), "the daemon to be well")
    COUNTS["a state directory that is read-only for a while"] += 1


def test_a_disk_that_has_failed(live: Live, disk: SmallDisk) -> None:
    """Nothing is told that cannot be written down. With the disk mended the next daemon runs those builds again."""
    builds = begun(live)
    with Watcher(live.daemon.url):
        disk.fail()
        let_go_on(live, 2)
        said = unwell(live)
        with pytest.raises(RpcError, match=UNWRITABLE):
            submit(live, "small")
        states = [record(live, build)["State"] for build in builds]
    status = live.daemon.stop()
    disk.repair()
    live.daemon.start()
    let_go_on(live, 2)
    found = [ended(live, build) for build in builds]

    assert UNWRITABLE in said
    assert (["running"] * 2, ENDED_WELL) == (states, status)
    assert [("succeeded", 2), ("failed", 2)] == [(one["State"], one["Attempt"]) for one in found]
    COUNTS["a disk that has failed"] += 1
