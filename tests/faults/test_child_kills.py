"""What a build has started is killed (SIGKILL), one process at a time: the build says so, and the next one succeeds.

``IMAGINATOR_KILLS=COUNT`` (``make faults``) sets how many: a tenth of each kind. ``IMAGINATOR_SEED`` repeats moments.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from imaginator.model.build import State
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.faulty import Watcher, ended, submit
from tests.support.kills import Process, below, lives, processes
from tests.support.live import Live, leftovers
from tests.support.printed import COUNTS

pytestmark = pytest.mark.integration

KILLS = max(1, int(os.environ.get("IMAGINATOR_KILLS", "10")) // 10)
"""Of each kind."""
SEED = int(os.environ.get("IMAGINATOR_SEED", "1"))
ATTEMPTS = 20
"""How many builds it may take to hit a process once: some live for milliseconds."""
BEGUN = 1.0
"""Seconds after the request at which a process is looked for, at most."""

SCRIPT = "#!/bin/sh\nsleep 0.2\n"
FILES = {
    "manifest": OVER_SMALL,
    "package-list": "tree\n",
    **{f"{kind}/it": SCRIPT for kind in ("pre-install-scripts", "scripts", "post-cleanup-scripts", "tests")},
}
CLEAR = re.compile(r"killed|has ended")
Find = Callable[[int], list[Process]]


class Kind(NamedTuple):
    """A kind of process, and how to find those of a daemon; ``brief`` ones are looked for at once."""

    name: str
    find: Find
    brief: bool = False


def at(depth: int, name: str = "python") -> Find:
    """What finds the processes so far below the daemon; those of the builds' commands are not of one name."""

    def find(daemon: int) -> list[Process]:
        table = processes()
        level = [table[daemon]]
        for _ in range(depth):
            parents = {process.pid for process in level}
            level = [process for process in table.values() if process.parent in parents]
        return [process for process in level if name in ("", process.name)]

    return find


def called(name: str) -> Find:
    """What finds the programs of a name below the daemon."""
    return lambda daemon: [process for process in below(daemon, processes()) if process.name == name]


EVERYWHERE = (
    Kind("holder", at(1)),
    Kind("attendant", at(2)),
    Kind("launcher", at(3)),
    Kind("init", at(4)),
    Kind("command", at(5, "")),
)
OF_MANIFESTS = (
    Kind("slirp4netns", called("slirp4netns")),
    Kind("git", called("git"), brief=True),
    Kind("mkfs.ext4", called("mkfs.ext4"), brief=True),
    Kind("nft", called("nft"), brief=True),
)
CASES = [*(("small", kind) for kind in EVERYWHERE), *(("over", kind) for kind in (*EVERYWHERE, *OF_MANIFESTS))]


def kill(live: Live, build: str, kind: Kind) -> bool:
    """Kill a process of a kind as soon as there is one; whether there was, before the build's end."""
    while not (found := kind.find(live.daemon.pid)):
        if not (live.site.state / "logs" / build).exists() and not queued(live, build):
            return False
    hit = lives(found[0])
    if hit:
        os.kill(found[0].pid, signal.SIGKILL)
    return hit


def queued(live: Live, build: str) -> bool:
    """Whether a build has not begun."""
    return bool(live.call("Imaginator.GetBuild", BuildId=build)["State"] == State.QUEUED)


def killed(live: Live, stream: str, kind: Kind, chance: random.Random) -> dict[str, Any]:
    """The record of a build of which a process was killed."""
    for _ in range(ATTEMPTS):
        build = submit(live, stream)
        time.sleep(0 if kind.brief else chance.uniform(0, BEGUN))
        hit = kill(live, build, kind)
        found = ended(live, build)
        if hit:
            return found
        assert "succeeded" == found["State"], found
    raise AssertionError(f"no {kind.name} was hit in {ATTEMPTS} builds")


@pytest.fixture
def slow(live: Live) -> Live:
    """A daemon with a bootstrap and a manifest that take a while."""
    bootstrap = live.site.folder / "small-bootstrap"
    bootstrap.write_text(bootstrap.read_text() + "sleep 0.5\n")
    live.add_stream("over", FILES)
    live.build("small")
    return live


@pytest.mark.timeout(0 if KILLS > 1 else 180)
def test_killed_processes_of_builds(slow: Live) -> None:
    """Each build fails in a sentence that tells of it, or did not need what was killed; nothing is left of it."""
    chance = random.Random(SEED)
    with Watcher(slow.daemon.url) as watcher:
        for stream, kind in CASES * KILLS:
            found = killed(slow, stream, kind, chance)
            said = found["Failure"]["Message"] if found["State"] == "failed" else ""
            poll(lambda: [] == leftovers(slow.site), "everything of the build to go")
            print(f"{kind.name} of {stream}: {found['State']} {said!r}")
            assert found["State"] == "succeeded" or CLEAR.search(said), found
            assert "succeeded" == slow.build(stream)["State"]
            COUNTS[f"kill -9 of a build's {kind.name}: {found['State']}"] += 1
    print(f"status page: {watcher.seen} times, {watcher.slowest:.2f} s at most")
