"""How much longer a build takes beside a hostile one than beside a busy one that means well.

Both are in sandboxes with the limits that a daemon's flags give by default, each with its tree on a disk of its own.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater

from benchmarks.figure import Figure, spread
from benchmarks.workshop import default_limits, run
from imaginator.model.changes import Change, Touches
from imaginator.model.tree import Kind
from imaginator.sandbox.process import Tail, finish
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from tests.support.sandboxes import ENVIRONMENT, small_tree

RUNS = 3
LONGEST = 1.30
DISK = Path("/var/tmp")
"""Where a daemon's state lies: on a real disk, which builds share."""
RAMP = 1.0
"""Seconds in which a neighbour gets going."""
PATIENCE = 300.0

WORK = """set -e
dd if=/dev/urandom of=/data.$1 bs=1M count=20 2>/dev/null
busybox sha512sum /data.$1 >/dev/null
head -c 4000000 /data.$1 | busybox gzip >/data.$1.gz
mkdir /many.$1
i=0
while [ $i -lt 200 ]
do
    cp /etc/passwd /many.$1/$i
    i=$((i + 1))
done
"""
"""What a build does: it reads, writes and computes, and starts many small programs."""

BUSY = f"""
n=$1
while :
do
    n=$((n + 1))
    sh -c '{WORK}' work $n
    rm -r /many.$n /data.$n /data.$n.gz
done
"""

COPIES = """
i=0
while [ $i -lt 16 ]
do
    i=$((i + 1))
    ( while :; do {}; done ) &
done
wait
"""
QUIET = "exec >/dev/null 2>&1\n"
CPU = COPIES.format(":")
MEMORY = COPIES.format("dd if=/dev/zero of=/dev/null bs=2000M")
FILLER = COPIES.format("dd if=/dev/zero of=/filler.$i bs=1M; rm /filler.$i")
FORKS = COPIES.format("""busybox awk 'BEGIN { while (1) system("while :; do sleep 1 & done") }'""")

WELL_BEHAVED = "a busy build"
NEIGHBOURS = {
    # As many jobs at a time as there are processors, as make(1) is called in builds.
    WELL_BEHAVED: [BUSY.replace("$1", str(job * 1_000_000), 1) for job in range(os.cpu_count() or 1)],
    "CPU": [CPU],
    "memory": [MEMORY],
    "disk": [FILLER],
    "forks": [FORKS],
    "all four at once": [CPU, MEMORY, FILLER, FORKS],
}


def measure(folder: Path) -> Figure:
    """Neighbours take turns; the worst hostile one counts."""
    with tempfile.TemporaryDirectory(prefix="imaginator-bench-", dir=DISK) as disk:
        street = Street(Path(disk), small_tree(folder / "tree"))
        run(street.measure)
    medians = {name: statistics.median(times) for name, times in street.times.items()}
    usual = medians.pop(WELL_BEHAVED)
    parts = [
        f"{spread(f'beside {name}', times)}; the neighbour had {street.taken[name]}"
        for name, times in street.times.items()
    ]
    return Figure("hostile-neighbour", max(medians.values()) / usual, LONGEST, parts)


class Street:
    """Where two builds live side by side, time after time; ``times`` are in seconds, by neighbour."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self._folder = folder
        self._tree = tree
        self._builds = 0
        self.times: dict[str, list[float]] = {name: [] for name in NEIGHBOURS}
        self.taken: dict[str, str] = {}

    async def measure(self, reactor: Any) -> None:
        """Fill the lists."""
        for _ in range(RUNS):
            for name, scripts in NEIGHBOURS.items():
                async with self._opened(reactor) as neighbour:
                    for script in scripts:
                        start(neighbour, script)
                    await deferLater(reactor, RAMP, lambda: None)
                    self.times[name].append(await self._build(reactor))
                    self.taken[name] = taken(neighbour)

    async def _build(self, reactor: Any) -> float:
        begin = time.perf_counter()
        async with self._opened(reactor) as sandbox:
            tail = Tail()
            child = sandbox.run(["sh", "-c", WORK, "work", "0"], ENVIRONMENT, output=tail, network=False)
            ended = await finish(child, timeout=PATIENCE)
            if not ended.ok:
                raise RuntimeError(f"{ended.describe()}: {tail.text()}")
            files = [change.path for change in await sandbox.tree.scan() if is_file(change)]
            await sandbox.tree.collect(files, self._folder / f"objects{self._builds}")
            await sandbox.tree.finish(Touches())
        return time.perf_counter() - begin

    @asynccontextmanager
    async def _opened(self, reactor: Any) -> AsyncIterator[Sandbox]:
        self._builds += 1
        workspace = Workspace(self._folder / f"build{self._builds}", (self._tree,))
        sandbox = await Sandbox.open(reactor, workspace, Profile.MANIFEST, default_limits())
        try:
            yield sandbox
        finally:
            await sandbox.close()
            shutil.rmtree(workspace.directory)


def start(sandbox: Sandbox, script: str) -> None:
    """Let a script run until the sandbox is closed."""
    sandbox.run(["sh", "-c", QUIET + script], ENVIRONMENT, output=lambda _: None, network=False)


def is_file(change: Change) -> bool:
    """Whether a change is of a file with content."""
    return change.inode is not None and change.inode.kind is Kind.REGULAR


def taken(sandbox: Sandbox) -> str:
    """What the control groups of a sandbox count at the moment."""
    groups = sandbox._preparation._groups
    folders = [Path(entrance).parent for entrance in groups.entrances] if groups else []
    processes, memory = counted(folders, "pids.current"), counted(folders, "memory.usage_in_bytes", "memory.current")
    return f"{processes} processes and {memory >> 20} MiB"


def counted(folders: Sequence[Path], *names: str) -> int:
    """A counter, which the versions of control groups name differently; 0 where there is none."""
    found = [path for folder in folders for name in names if (path := folder / name).exists()]
    return int(found[0].read_text()) if found else 0
