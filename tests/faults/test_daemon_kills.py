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

from imaginator.model.build import Stage, State
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.faulty import COUNTS, ended, record, submit
from tests.support.live import Live, leftovers, processes, uses
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


def kill_in(live: Live, build: str, stage: Stage, pause: float) -> None:
    """Kill the daemon so long after it is seen in a stage, or in any later one that it came to."""
    with live.client() as client:
        while True:
            seen = client.call("Imaginator.GetBuild", BuildId=build)
            if seen.get("Stage") == stage or State(seen["State"]).final:
                break
    time.sleep(pause)
    live.daemon.kill()
    poll(lambda: not [pid for pid, _ in processes() if uses(pid, live.site)], "the builds' processes to end")
    COUNTS["kill -9 of the daemon"] += 1


def verified(live: Live) -> str:
    """The last line of ``imaginator --verify-store`` for a daemon that is stopped."""
    command = [str(Path(sys.executable).with_name("imaginator")), *live.site.daemon_flags(), "--verify-store"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return result.stdout


@pytest.mark.timeout(0 if KILLS > 10 else 180)
def test_killed_at_every_stage(live: Live) -> None:
    """After each restart the build is run again under its id; in the end no object, mount or workspace has no owner."""
    chance = random.Random(SEED)
    moments = [stage for stage in Stage if stage is not Stage.BOOTSTRAP]
    for number in range(KILLS):
        live.add_stream("killed", {**FILES, "files/etc/one": f"{number}\n" * 1000})
        build = submit(live, "killed")
        kill_in(live, build, moments[number % len(moments)], chance.uniform(0, 0.1))
        live.daemon.start()
        found = ended(live, build)
        assert "succeeded" == found["State"], found
        assert record(live, build)["ImageName"] in live.images("killed")
        assert [] == leftovers(live.site)
    live.daemon.stop()
    said = verified(live)
    damage = catalogue_faults(live.site.state)
    live.daemon.start()

    assert [] == damage
    assert "all is well" in said
    assert "leftover" not in said
