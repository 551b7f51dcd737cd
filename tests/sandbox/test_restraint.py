"""Builds that would slow down everybody are held back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from imaginator.sandbox.delegation import ROOT
from imaginator.sandbox.kernel.loop import device_of
from imaginator.sandbox.limits import FOLDER, Limits, available
from imaginator.sandbox.restraint import MUCH
from imaginator.sandbox.sandbox import Workspace
from tests.support.real_reactor import reactor
from tests.support.sandboxes import opened, run, small_tree

pytestmark = pytest.mark.skipif(available() != ["cpu", "memory", "pids"], reason="this host offers no control groups")

BOMB = "i=0; while [ $i -lt 2000 ]; do while :; do sleep 1; done & i=$((i+1)); done; echo all"
PATIENCE = 60.0


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A build over a small system."""
    return Workspace(tmp_path / "build", (small_tree(tmp_path / "source"),))


def slices() -> list[str]:
    """What each build of the name may have of the processors."""
    files = [*ROOT.glob(f"cpu/{FOLDER}/*-build/cpu.cfs_quota_us"), *ROOT.glob(f"{FOLDER}/*-build/cpu.max")]
    return [file.read_text().split()[0] for file in files]


@pytest_twisted.ensureDeferred
async def test_a_fork_bomb_gets_little_time(workspace: Workspace) -> None:
    """As long as it grows; and what it has started ends quickly when the sandbox is closed."""
    seen = set()
    async with opened(workspace, limits=Limits(processes=1000, cpu_weight=100)) as sandbox:
        seen |= set(slices())
        child = sandbox.run(["sh", "-c", BOMB], {"PATH": "/bin"}, network=False, output=lambda _: None)
        deadline = time.monotonic() + PATIENCE
        while "5000" not in seen:
            assert time.monotonic() < deadline, seen
            await deferLater(reactor, 0.02)
            seen |= set(slices())
        await child.stop("seen")
        while slices() == ["5000"]:
            assert time.monotonic() < deadline
            await deferLater(reactor, 0.02)

    assert seen in ({"-1", "5000"}, {"max", "5000"})
    assert [] == slices()


@pytest_twisted.ensureDeferred
async def test_who_writes_much_writes_past_the_cache(workspace: Workspace) -> None:
    """Nobody else is meant: the disk's device is told."""
    image = workspace.directory / "disk.img"
    async with opened(workspace, limits=Limits(disk=4 * MUCH, cpu_weight=100)) as sandbox:
        device = device_of(image)
        assert device
        direct = Path(f"/sys/block/{device}/loop/dio")
        memory = Path("/sys/class/bdi", Path(f"/sys/block/{device}/dev").read_text().strip(), "max_ratio")
        before = direct.read_text().strip(), memory.read_text().strip()
        ended, _ = await run(sandbox, f"dd if=/dev/zero of=/large bs=1M count={MUCH >> 19}")
        deadline = time.monotonic() + PATIENCE
        while direct.read_text().strip() != "1":
            assert time.monotonic() < deadline
            await deferLater(reactor, 0.02)

        limited = memory.read_text().strip()

    assert ended.ok
    assert (("0", "100"), "1", "100") == (before, limited, memory.read_text().strip())
