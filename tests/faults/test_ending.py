"""A build that hangs in some stage is cancelled, or comes to its maximum duration: nothing is left of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.faulty import COUNTS, Watcher, ended, failure, record, submit
from tests.support.live import Live, leftovers

pytestmark = pytest.mark.integration

HANGS = "#!/bin/sh\nsleep 3600\n"
FOLDERS = ("pre-install-scripts", "scripts", "post-cleanup-scripts", "tests")
STAGES = ("fetch", *FOLDERS)
CANCELLED, TIMED_OUT = -32007, -32008


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A Git repository's URL whose server takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}/repository"


def add_hanging(live: Live, stage: str, silent_url: str) -> str:
    """A stream whose build hangs in a stage."""
    if stage == "fetch":
        return live.add_stream(stage, {"manifest": OVER_SMALL}, ManifestUrl=silent_url)
    return live.add_stream(stage, {"manifest": OVER_SMALL, f"{stage}/hangs": HANGS})


def test_cancelled_in_each_stage(live: Live, silent_url: str) -> None:
    """The build ends as cancelled, with nothing left of it; the status page is there throughout."""
    live.build("small")
    slowest = 0.0, ""
    with Watcher(live.daemon.url):
        for stage in STAGES:
            build = submit(live, add_hanging(live, stage, silent_url))
            poll(lambda build=build, stage=stage: record(live, build).get("Stage") == stage, stage)
            begun = time.monotonic()
            live.call("Imaginator.CancelBuild", BuildId=build)
            found = ended(live, build)
            slowest = max(slowest, (time.monotonic() - begun, stage))
            assert ("cancelled", CANCELLED) == (found["State"], found["Failure"]["Code"])
            assert [] == leftovers(live.site)
            COUNTS["cancelled in a stage"] += 1
    print(f"slowest to be cancelled: {slowest[1]}, {slowest[0]:.2f} s")


@pytest.mark.parametrize("stage", ["fetch", "scripts"])
def test_maximum_duration(live: Live, silent_url: str, stage: str) -> None:
    """The build fails with how long it might take, and nothing is left."""
    live.build("small")
    build = submit(live, add_hanging(live, stage, silent_url), MaximumBuildDuration=2)

    assert (TIMED_OUT, "the build took longer than 2s") == failure(live, build)
    assert [] == leftovers(live.site)
    COUNTS["maximum duration"] += 1
