"""A busy daemon killed at many moments, and the power cut at each: every image stays whole, nothing else stays."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_twisted

from imaginator.model.build import Stage, State
from imaginator.rpc.client import Client
from imaginator.schedule.queue import INTERRUPTED
from tests.faults.conftest import running
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.live import Live, leftovers, processes, uses
from tests.support.power import Disk, new_disk
from tests.support.printed import COUNTS
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap
from tests.support.wholeness import faults, image_names

pytestmark = pytest.mark.integration

STREAMS = ("one", "two")
MAKE_UNIQUE = """#!/bin/sh
set -e
read -r id < /proc/sys/kernel/random/uuid
for file in /var/lib/own/*
do
    echo "$id" >> "$file"
done
"""

KILLS = ((Stage.BOOTSTRAP, 0.02), (Stage.SCRIPTS, 0.02), (Stage.PACK, 0.01), (Stage.PACK, 0.05), (Stage.STORE, 0.02))
"""In which stage of any build the daemon is killed, and how many seconds later at most."""


class Kill(NamedTuple):
    """The images that the daemon had told of when it was killed, and the disk as it was then."""

    images: list[str]
    cut: Path


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk whose power can be cut."""
    with new_disk(journal=True) as disk:
        yield disk


@pytest.fixture
def live(disk: Disk, tmp_path: Path) -> Iterator[Live]:
    """A daemon whose state is on that disk."""
    site = new_site(tmp_path / "site")
    site.state = disk.root / "state"
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    with running(site, "--maximum-concurrent-builds", "2") as live:
        yield live


def change_streams(live: Live, number: int) -> None:
    """Give the streams files, some of which they have in common, so that builds meet each other's objects."""
    places = [f"files/var/lib/{kind}/{place}" for kind in ("own", "shared") for place in range(40)]
    files = {place: f"{number} {place}\n" * 600 for place in places}
    for stream in STREAMS:
        live.add_stream(stream, {"manifest": OVER_SMALL, "scripts/own": MAKE_UNIQUE, **files})


def submit(client: Client) -> list[str]:
    """Queue a build of each stream; their ids."""
    wanted = {"ExpiresIn": 3600, "MaxSourceAge": 86400}
    return [client.call("Imaginator.SubmitBuild", StreamName=stream, **wanted)["BuildId"] for stream in STREAMS]


def wait_for_stage(client: Client, stage: Stage) -> None:
    """Return when a build is in ``stage``, or when none is left that could come to it."""
    while stages := [build.get("Stage") for build in builds(client) if not State(build["State"]).final]:
        if stage in stages:
            return
        time.sleep(0.005)


def builds(client: Client) -> list[dict[str, Any]]:
    """The records of all builds."""
    found: list[dict[str, Any]] = client.call("Imaginator.ListBuilds")["Builds"]
    return found


def kill(live: Live, disk: Disk, moment: tuple[Stage, float], chance: random.Random) -> Kill:
    """Kill the daemon soon after a stage has begun; nothing that it started may outlive it."""
    with live.client() as client:
        submit(client)
        wait_for_stage(client, moment[0])
        time.sleep(chance.uniform(0, moment[1]))
        images = [image["Name"] for image in client.call("ImageServer.ListImages")["Images"]]
    live.daemon.kill()
    poll(lambda: not [pid for pid, _ in processes() if uses(pid, live.site)], "the builds' processes to end")
    disk.write_back()
    return Kill(images, disk.cut())


def ended(client: Client) -> dict[str, dict[str, Any]]:
    """The builds by id, when none is left to be done."""
    poll(lambda: all(State(build["State"]).final for build in builds(client)), "the builds to end")
    return {build["BuildId"]: build for build in builds(client)}


@pytest_twisted.ensureDeferred
async def test_killed_daemons_leave_whole_images(live: Live, disk: Disk) -> None:
    """What the daemon told of outlives each kill with the power cut; the next daemon goes on and leaves nothing."""
    chance = random.Random(1)
    kills = []
    change_streams(live, 0)
    for number, moment in enumerate(KILLS, 1):
        kills.append(kill(live, disk, moment, chance))
        change_streams(live, number)
        live.daemon.start()
    with live.client() as client:
        last = submit(client)
        records = ended(client)

    assert [] == leftovers(live.site)
    failures = [record["Failure"]["Message"] for record in records.values() if record["State"] == State.FAILED]
    assert [INTERRUPTED] * len(failures) == failures
    assert {State.SUCCEEDED} == {records[build]["State"] for build in last}
    kills.append(Kill(live.images(), stopped(live, disk)))
    for images, cut in kills:
        with disk.opened(cut) as root:
            assert [] == await faults(root / "state")
            assert set(images) <= set(await image_names(root / "state"))
        COUNTS["kill -9 of the daemon with the power cut"] += 1


def stopped(live: Live, disk: Disk) -> Path:
    """Stop the daemon; the disk with everything on it."""
    live.daemon.stop()
    disk.sync()
    return disk.cut()


def test_a_killed_fetch_does_not_stop_the_next(live: Live) -> None:
    """Git, killed with the daemon while it fetches, leaves locks in the mirror; the next daemon builds."""
    stream = live.add_stream("one", {"manifest": OVER_SMALL})
    live.build(stream)
    (live.site.repository / "large").write_bytes(random.Random(1).randbytes(16 << 20))
    live.site.commit("something that takes a while to fetch")
    live.call("Imaginator.SubmitBuild", StreamName=stream, ExpiresIn=3600, MaxSourceAge=86400)
    while not any((live.site.state / "sources").rglob("shallow.lock")):
        time.sleep(0.001)

    live.daemon.kill()
    live.daemon.start()

    assert State.SUCCEEDED == live.build(stream)["State"]
    COUNTS["kill -9 of the daemon in a fetch"] += 1
