"""The daemon's clock is set by a day, forward and back, while it builds and between builds."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from demo.daemon import Daemon
from imaginator.rpc.client import RpcError
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll, wait_for_text
from tests.support.faulty import Watcher, ended, record, submit
from tests.support.live import PROVING, Live
from tests.support.printed import COUNTS
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap
from tests.support.stepped_clock import SteppedClock, forget_the_dead

pytestmark = pytest.mark.integration

DAY = 86400
STEPS = (DAY, 0, -DAY, 0)
"""Where the clock is set to, in this order: forward, back, back, forward."""

LONG = {"ExpiresIn": 10 * DAY, "MaxSourceAge": 10 * DAY}


class Timed:
    """A daemon, its clock, and a gate that holds scripts up which wait for it."""

    def __init__(self, live: Live, clock: SteppedClock, gate: Path) -> None:
        self.live = live
        self._clock = clock
        self._gate = gate

    def page(self, path: str = "") -> str:
        """A page of the daemon's."""
        with urllib.request.urlopen(f"{self.live.daemon.url}{path}") as answer:
            return str(answer.read().decode())

    def now(self) -> float:
        """What the daemon takes for the time, in seconds since 1970."""
        with urllib.request.urlopen(f"{self.live.daemon.url}healthz") as answer:
            return parsedate_to_datetime(answer.headers["Date"]).timestamp()

    def step(self, seconds: float) -> None:
        """Set the clock, by a day or two, and wait until the daemon goes by it."""
        before = self.now()
        self._clock.set(seconds)
        poll(lambda: abs(self.now() - before) > DAY / 2, "the clock to be set")
        COUNTS["the clock set by a day"] += 1

    def add_held(self, name: str) -> str:
        """A stream whose script waits for the gate to be opened."""
        script = f"#!/bin/sh\necho started\nuntil test -e {self._gate}/open; do sleep 0.05; done\n"
        return self.live.add_stream(name, {"manifest": OVER_SMALL, "scripts/held": script})

    def open_gate(self) -> None:
        """Let the scripts end."""
        (self._gate / "open").touch()

    def latest(self, stream: str) -> str:
        """The name of a stream's latest image."""
        return str(self.live.call("ImageServer.FindLatestImage", StreamName=stream)["ImageName"])


@contextmanager
def started(folder: Path, *flags: str, **fields: object) -> Iterator[Timed]:
    """A daemon that goes by a clock of its own, with more flags and fields of its main configuration."""
    site = new_site(folder / "site")
    gate = folder / "gate"
    gate.mkdir()
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER, BindMounts=[str(gate)], **fields)
    clock = SteppedClock(folder / "clock")
    live = Live(site, Daemon(site, *PROVING, *flags, **clock.environment))
    live.daemon.start()
    live.add_stream("quick", {"manifest": OVER_SMALL})
    try:
        with Watcher(live.daemon.url):
            yield Timed(live, clock, gate)
    finally:
        live.close()
        forget_the_dead()


def test_builds_run_and_queued(tmp_path: Path) -> None:
    """A running build has as much time as ever, queued ones keep their order, and configurations are looked at."""
    with started(tmp_path, "--maximum-concurrent-builds", "1") as timed:
        live = timed.live
        live.build("small", **LONG)
        held = submit(live, timed.add_held("held"), MaximumBuildDuration=600)
        wait_for_text(live, held, "started")
        queued = []
        for number, step in enumerate((DAY, -DAY, 0)):
            queued.append(submit(live, live.add_stream(f"queued-{number}", {"manifest": OVER_SMALL})))
            timed.step(step)
            if step:
                name = live.add_stream(f"new-{number}", {"manifest": OVER_SMALL})
                poll(lambda name=name: name in timed.page("showImageStreams"), "the configuration to be looked at")
            assert "running" == record(live, held)["State"]
            assert [1 + place for place in range(len(queued))] == [record(live, build)["Place"] for build in queued]
        timed.open_gate()
        found = [ended(live, build) for build in (held, *queued)]

    assert ["succeeded"] * len(found) == [build["State"] for build in found]
    starts = [build["StartedAt"] for build in found]
    assert sorted(starts) == starts


def test_a_build_that_ends_before_it_has_begun(tmp_path: Path) -> None:
    """It took the time that it took, neither less than none nor a day."""
    with started(tmp_path) as timed:
        live = timed.live
        live.build("small", **LONG)
        timed.step(DAY)
        held = submit(live, timed.add_held("held"), MaximumBuildDuration=600)
        wait_for_text(live, held, "started")
        timed.step(0)
        running = timed.page(f"showBuild?{held}")
        timed.open_gate()
        found = ended(live, held)
        page = timed.page(f"showBuild?{held}")

    assert ">0 ms</time></dd>" in running
    assert ("succeeded", True) == (found["State"], found["FinishedAt"] < found["StartedAt"])
    assert 0 <= sum(stage["Seconds"] for stage in found["Stages"]) < DAY / 2
    assert "<dt>Duration</dt>" in page
    assert "<dt>Duration</dt><dd>0 ms</dd>" not in page


def test_images(tmp_path: Path) -> None:
    """The latest is the one made last, under a name of its own; those whose time is over are there again, set back."""
    with started(tmp_path) as timed:
        live = timed.live
        live.build("small", **LONG)
        live.add_stream("brief", {"manifest": OVER_SMALL})
        brief = live.build("brief", ExpiresIn=DAY / 2, MaxSourceAge=10 * DAY)["ImageName"]
        names = [live.build("quick", **LONG)["ImageName"]]
        for step in STEPS:
            timed.step(step)
            assert names[-1] == timed.latest("quick")
            assert (step != DAY) == (brief in live.images())
            if step == DAY:
                with pytest.raises(RpcError, match="brief"):
                    timed.latest("brief")
            names.append(live.build("quick", **LONG)["ImageName"])
            assert names[-1] == timed.latest("quick")

        assert sorted(set(names)) == names
        assert names == live.images("quick")
        assert brief == timed.latest("brief")


def test_automatic_rebuilds(tmp_path: Path) -> None:
    """They go on in either direction; a cycle that ends before it has begun took the time that it took."""
    flags = ("--image-rebuild-interval", "1s", "--rebuild-unchanged", "on")
    with started(tmp_path, *flags, ImageStreamsToAutoRebuild=["held"]) as timed:
        live = timed.live
        timed.step(DAY)
        timed.add_held("held")
        poll(lambda: running(live, "held"), "the build to begin")
        timed.step(0)
        timed.open_gate()
        seen: set[str] = set()
        for step in (None, None, DAY, None, None):
            poll(lambda seen=seen: not set(live.images("held")) <= seen, "an image of the next cycle")
            seen = set(live.images("held"))
            if step is not None:
                timed.step(step)
        log = live.daemon.log.read_text()

    assert "automatic rebuild: 2 streams looked at, 2 built, 0 extended, 0 failed, in " in log
    assert ", in -" not in log


def running(live: Live, stream: str) -> bool:
    """Whether a build of a stream has come to its script."""
    builds = live.call("Imaginator.ListBuilds", StreamName=stream, State="running")["Builds"]
    return any("started" in live.log(build["BuildId"]) for build in builds)
