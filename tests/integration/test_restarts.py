"""The daemon is killed and started again: nobody who waits for a build need care."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.daemon import Daemon
from imaginator.model.build import State
from imaginator.schedule.queue import INTERRUPTED
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.live import Live
from tests.support.ports import free_port
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

SLOW = {"manifest": OVER_SMALL, "scripts/slow": "#!/bin/sh\necho at work\nsleep 2\n"}
WISHES = {"ExpiresIn": 3600, "MaxSourceAge": 86400}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A daemon that builds one at a time, at a port that it takes again when it is started again."""
    site = new_site(tmp_path / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, "--maximum-concurrent-builds", "1", "--port", str(free_port())))
    live.daemon.start()
    live.build("small")
    live.add_stream("slow", SLOW)
    yield live
    live.close()


def begin(live: Live, *arguments: str) -> subprocess.Popen[str]:
    """Start ``builder-tool build-image`` and let it run."""
    return subprocess.Popen(
        live.tool_command("build-image", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def states(live: Live) -> dict[str, tuple[str, str | None, int]]:
    """The state, stage and number of starts of each stream's last build."""
    builds = live.call("Imaginator.ListBuilds")["Builds"]
    return {
        build["Request"]["StreamName"]: (build["State"], build["Stage"], build["Attempt"]) for build in reversed(builds)
    }


def kill_at_work(live: Live, attempt: int) -> None:
    """Kill the daemon while the slow build's script runs for this time."""
    poll(lambda: states(live).get("slow") == ("running", "scripts", attempt), "the script")
    live.daemon.kill()


def test_the_tool_outlives_a_kill(live: Live) -> None:
    """It says that the daemon is away, goes on with the same build, and shows its second run and the image."""
    tool = begin(live, "--always-show-build-log", "slow")
    kill_at_work(live, 1)
    said = ""
    while "the daemon is away" not in said:
        said += tool.stderr.readline()  # type: ignore[union-attr]
    live.daemon.start()
    out, rest = tool.communicate(timeout=60)
    (build,) = live.call("Imaginator.ListBuilds", StreamName="slow")["Builds"]

    assert (0, f"{build['ImageName']}\n") == (tool.returncode, out)
    assert ("succeeded", 2) == (build["State"], build["Attempt"])
    assert ["=== fetch", "at work"] == [line for line in rest.splitlines() if line in ("=== fetch", "at work")]


def test_two_kills(live: Live) -> None:
    """A build that the daemon's end interrupts twice has failed, and whoever waits learns why."""
    tool = begin(live, "slow")
    for attempt in (1, 2):
        kill_at_work(live, attempt)
        live.daemon.start()
    out, said = tool.communicate(timeout=60)

    assert (1, "") == (tool.returncode, out)
    assert f"{INTERRUPTED}\n" in said


def test_what_waited_and_what_was_queued(live: Live) -> None:
    """After a kill all of it is still there; only what worked has spent a start."""
    live.add_stream("top", {"manifest": '{"SourceImage": "slow"}'})
    with live.client() as client:
        client.call("Imaginator.SubmitBuild", StreamName="top", **WISHES)
        poll(lambda: states(live).get("slow") == ("running", "scripts", 1), "the source's script")
        client.call("Imaginator.SubmitBuild", StreamName="small", **WISHES)
        waiting = client.call("Imaginator.ListBuilds", State="waiting")["Builds"]
    before = states(live)
    live.daemon.kill()
    live.daemon.start()
    poll(lambda: {State(state) for state, _, _ in states(live).values()} == {State.SUCCEEDED}, "all builds")

    assert ["top"] == [build["Request"]["StreamName"] for build in waiting]
    assert (("waiting", 1), ("queued", 0)) == tuple((before[name][0], before[name][2]) for name in ("top", "small"))
    assert {"top": 1, "slow": 2, "small": 1} == {name: attempt for name, (_, _, attempt) in states(live).items()}
