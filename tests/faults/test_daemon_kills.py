"""The daemon killed (SIGKILL) at many moments of a real build: nothing is left, and the build is run again.

``IMAGINATOR_KILLS=COUNT`` (``make faults``) sets how often; ``IMAGINATOR_SEED`` repeats some moments.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.daemon import ENDED_WELL
from imaginator.model.build import Stage, State
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.faulty import WAITS, at_rest, ended, let_go_on, record, submit
from tests.support.live import Live, leftovers, processes, uses
from tests.support.printed import COUNTS
from tests.support.wholeness import catalogue_faults

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("IMAGINATOR_KILLS", "10"))
SEED = int(os.environ.get("IMAGINATOR_SEED", "1"))
SCRIPT = "#!/bin/sh\nsleep 0.2\n"
FILES = {
    "manifest": OVER_SMALL,
    "package-list": "tree\n",
    "files/etc/one": "one\n",
    "post-install-files/etc/two": "two\n",
    **{f"{kind}/it": SCRIPT for kind in ("pre-install-scripts", "scripts", "post-cleanup-scripts", "tests")},
}


def ask(live: Live, stage: Stage, number: int) -> str:
    """Queue a build that will come to a stage, over files that no build has had; its id."""
    if stage is Stage.BOOTSTRAP:
        return submit(live, "small")
    live.add_stream("killed", {**FILES, "files/etc/one": f"{number}\n" * 1000})
    return submit(live, "killed")


def kill_in(live: Live, build: str, stage: Stage, pause: float) -> bool:
    """Kill the daemon so long after a build is in a stage; whether it was still at work when that was last seen."""
    with live.client() as client:
        seen = client.call("Imaginator.GetBuild", BuildId=build)
        while seen.get("Stage") != stage and not State(seen["State"]).final:
            seen = client.call("Imaginator.GetBuild", BuildId=build)
    time.sleep(pause)
    live.daemon.kill()
    poll(lambda: not [pid for pid, _ in processes() if uses(pid, live.site)], "the builds' processes to end")
    return not State(seen["State"]).final


def test_a_daemon_that_is_stopped(live: Live) -> None:
    """It ends its builds; the next one takes them up, as if they had not begun."""
    live.add_stream("slow", {"manifest": OVER_SMALL, "scripts/slow": f"#!/bin/sh\n{WAITS}\n"})
    build = submit(live, "slow")
    at_rest(live)
    status = live.daemon.stop()
    left = leftovers(live.site)
    live.daemon.start()
    let_go_on(live)

    assert (ENDED_WELL, []) == (status, left)
    assert ("succeeded", 1) == (ended(live, build)["State"], record(live, build)["Attempt"])
    COUNTS["SIGTERM to the daemon in a build"] += 1


def verified(live: Live) -> str:
    """The last line of ``imaginator --verify-store`` for a daemon that is stopped."""
    command = [str(Path(sys.executable).with_name("imaginator")), *live.site.daemon_flags(), "--verify-store"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return result.stdout


@pytest.mark.timeout(0 if KILLS > 10 else 180)
def test_killed_at_every_stage(live: Live) -> None:
    """After each restart the build is run once more, under its id; in the end nothing has no owner.

    A stage may be over before it is seen, or the build before the kill: only builds that were interrupted count.
    """
    chance = random.Random(SEED)
    stages = list(Stage)
    interrupted = tried = 0
    while interrupted < KILLS:
        assert tried < 5 * KILLS, "hardly any build was interrupted"
        build = ask(live, stages[tried % len(stages)], tried)
        hit = kill_in(live, build, stages[tried % len(stages)], chance.uniform(0, 0.1))
        tried += 1
        live.daemon.start()
        found = ended(live, build)
        assert "succeeded" == found["State"], found
        assert found["ImageName"] in live.images()
        assert [] == leftovers(live.site)
        if hit and found["Attempt"] == 2:
            interrupted += 1
            COUNTS["kill -9 of the daemon in a build"] += 1
    live.daemon.stop()
    said = verified(live)
    damage = catalogue_faults(live.site.state)
    live.daemon.start()

    assert [] == damage
    assert said.endswith("all is well\n")
    assert "needed by no image" not in said
    assert "leftover" not in said
