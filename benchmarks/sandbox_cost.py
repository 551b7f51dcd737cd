"""What a sandbox costs: preparing one with its network, and one command in it, against a bare chroot's."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, seconds, spread
from benchmarks.workshop import default_limits, run
from imaginator.sandbox.process import Tail, finish
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from tests.support.sandboxes import ENVIRONMENT, small_tree

SANDBOXES = 15
COMMANDS = 4
"""Of each kind in each sandbox."""
LONGEST_PREPARATION = 0.150
DEAREST_COMMAND = 3.0
PATIENCE = 60.0


def measure(folder: Path) -> Sequence[Figure]:
    """Sandboxes and bare chroots take turns, so that both see the same machine."""
    cost = Cost(folder, small_tree(folder / "tree"))
    run(cost.measure)
    bare = statistics.median(cost.bare)
    preparation = statistics.median(cost.preparations)
    dearest = max(map(statistics.median, (cost.offline, cost.online)))
    return [
        Figure(
            "sandbox-preparation",
            preparation / LONGEST_PREPARATION,
            1.0,
            [
                spread("no process to a sandbox whose network is up", cost.preparations),
                spread("of this, until its tree can be read", cost.openings),
                spread("closing it", cost.closings),
                "as builds have it: their default limits, a disk of their own",
            ],
        ),
        Figure(
            "sandbox-command",
            dearest / bare,
            DEAREST_COMMAND,
            [
                spread("true, without network", cost.offline),
                spread("true, with network", cost.online),
                spread("unshare -mpf chroot TREE true", cost.bare),
            ],
        ),
    ]


class Cost:
    """Times in seconds, of as many sandboxes as it takes."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self._folder = folder
        self._tree = tree
        self.openings: list[float] = []
        self.preparations: list[float] = []
        self.closings: list[float] = []
        self.offline: list[float] = []
        self.online: list[float] = []
        self.bare: list[float] = []

    async def measure(self, reactor: Any) -> None:
        """Fill the lists; the first sandbox, which finds nothing in the page cache, is left out."""
        for number in range(SANDBOXES + 1):
            workspace = Workspace(self._folder / f"build{number}", (self._tree,))
            await self._measure_one(reactor, workspace)
            if number == 0:
                self._forget()

    def _forget(self) -> None:
        for times in (self.openings, self.preparations, self.closings, self.offline, self.online, self.bare):
            times.clear()

    async def _measure_one(self, reactor: Any, workspace: Workspace) -> None:
        start = time.perf_counter()
        sandbox = await Sandbox.open(reactor, workspace, Profile.MANIFEST, default_limits())
        opened = time.perf_counter() - start
        # A network is made for the first command that asks for one: what that takes longer than later ones.
        first = await _command(sandbox, network=True)
        for _ in range(COMMANDS):
            self.offline.append(await _command(sandbox, network=False))
            self.online.append(await _command(sandbox, network=True))
            self.bare.append(seconds(self._bare_command))
        self.openings.append(opened)
        self.preparations.append(opened + max(0.0, first - statistics.median(self.online[-COMMANDS:])))
        start = time.perf_counter()
        await sandbox.close()
        self.closings.append(time.perf_counter() - start)

    def _bare_command(self) -> None:
        subprocess.run(["unshare", "-mpf", "chroot", self._tree, "/bin/true"], check=True, env=dict(os.environ))


async def _command(sandbox: Sandbox, *, network: bool) -> float:
    tail = Tail()
    start = time.perf_counter()
    ended = await finish(sandbox.run(["true"], ENVIRONMENT, output=tail, network=network), timeout=PATIENCE)
    taken = time.perf_counter() - start
    if not ended.ok:
        raise RuntimeError(f"{ended.describe()}: {tail.text()}")
    return taken
