"""Limits hold, what met them is told of, and groups that a killed daemon left go."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.sandbox.delegation import ROOT
from imaginator.sandbox.limits import FOLDER, Limits, available, daemon, remove_stale
from imaginator.sandbox.sandbox import Workspace
from tests.support.sandboxes import opened, run, small_tree

pytestmark = pytest.mark.skipif(available() != ["cpu", "memory", "pids"], reason="this host offers no control groups")

MEMORY = "sandbox: memory: the build's limit was reached, and a process killed for it"
PROCESSES = "sandbox: processes: the build has as many as it may"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A build over a small system."""
    return Workspace(tmp_path / "build", (small_tree(tmp_path / "source"),))


def groups(name: str) -> list[Path]:
    """The control groups of a build of this process, of either version."""
    ours = f"{FOLDER}/{os.getpid()}.*-{name}"
    return [*ROOT.glob(f"*/{ours}"), *ROOT.glob(ours)]


@pytest_twisted.ensureDeferred
async def test_what_met_a_limit_is_told_of(workspace: Workspace) -> None:
    """A hog in a process, one in shared memory, and a fork bomb; the next command is not blamed for them."""
    hog = "x=$(dd if=/dev/zero bs=1M count=200 | cat -v); echo ${#x}"
    shared = "dd if=/dev/zero of=/dev/shm/x bs=1M count=200"
    bomb = "i=0; while [ $i -lt 100 ]; do sleep 5 & i=$((i+1)); done"
    async with opened(workspace, limits=Limits(memory=64 << 20, processes=40)) as sandbox:
        told = [(await run(sandbox, script))[1].splitlines()[-1:] for script in (hog, shared, bomb, "exit 3")]

    assert [[MEMORY], [MEMORY], [PROCESSES], []] == told


@pytest_twisted.ensureDeferred
async def test_the_weight_of_a_build(workspace: Workspace) -> None:
    """As the kernel counts it: 1024 shares in version 1 are 100 in version 2."""
    async with opened(workspace, limits=Limits(cpu_weight=50)):
        (group,) = groups("build")
        files = {name: group / name for name in ("cpu.shares", "cpu.weight")}
        weights = {name: file.read_text().strip() for name, file in files.items() if file.exists()}

    assert weights in ({"cpu.shares": "512"}, {"cpu.weight": "50"})
    assert [] == groups("build")


def test_groups_of_a_daemon_that_is_gone(workspace: Workspace) -> None:
    """Also where a process of its build is ending yet; those of a living daemon stay, of one elsewhere for a while."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    parent = ROOT / "pids" if (ROOT / "pids").exists() else ROOT
    again = daemon(1).replace("1.", "1.9", 1)
    namespace = daemon(1).rpartition(".")[2]
    folder = parent / FOLDER / f"{gone.pid}.7.{namespace}-stale"
    used_again = folder.with_name(f"{again}-stale")
    living = folder.with_name(f"{daemon(1)}-living")
    elsewhere, long_ago = (folder.with_name(f"{gone.pid}.{number}.1-elsewhere") for number in (7, 8))
    for one in (folder, used_again, living, elsewhere, long_ago):
        one.mkdir(parents=True)
    os.utime(long_ago, (0, 0))
    with subprocess.Popen(["sleep", "0.2"]) as ending:
        (folder / "cgroup.procs").write_text(str(ending.pid))
        try:
            remove_stale()
            assert [False, False, True] == [one.exists() for one in (folder, used_again, living)]
            assert [True, False] == [one.exists() for one in (elsewhere, long_ago)]
        finally:
            living.rmdir()
            elsewhere.rmdir()


def test_nothing_is_killed_in_a_group_of_a_daemon_that_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be in a container beside this one, and its builds at work."""
    monkeypatch.setattr("imaginator.sandbox.limits.DYING", 0.05)
    folder = (ROOT / "pids" if (ROOT / "pids").exists() else ROOT) / FOLDER / "1.7-elsewhere"
    folder.mkdir(parents=True)
    with subprocess.Popen(["sleep", "1000"]) as working:
        (folder / "cgroup.procs").write_text(str(working.pid))
        try:
            remove_stale()
            assert folder.exists()
            assert working.poll() is None
        finally:
            working.kill()
            working.wait()
            folder.rmdir()
