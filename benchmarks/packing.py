"""Packing a tree of which everything is new, against hashing it on two cores and copying it."""

from __future__ import annotations

import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, seconds, spread
from benchmarks.workshop import Workshop, copied, debian_with_archives, removed, run

RUNS = 5


def measure(folder: Path) -> Figure:
    """Each run packs a fresh copy into an empty store; packing and yardstick take turns."""
    tree = debian_with_archives(folder)
    packs: list[float] = []
    yardsticks: list[float] = []

    async def work(reactor: Any) -> None:
        for number in range(RUNS):
            packs.append(await pack(reactor, tree, folder / f"store{number}"))
            yardsticks.append(seconds(lambda: hashed(tree)) + seconds(lambda: copied(tree, folder / "copy")))
            removed(folder / f"store{number}", folder / "copy")

    run(work)
    parts = [
        spread("tree to image in the store", packs),
        spread("xargs -P2 sha512sum, then cp -a", yardsticks),
        "tree: minimal Debian and a hundred large files, 324 MB, in memory",
    ]
    return Figure("pack", statistics.median(packs) / statistics.median(yardsticks), 1.0, parts)


async def pack(reactor: Any, tree: Path, store: Path) -> float:
    """How long it takes until a copy of the tree is an image with its layer."""
    async with Workshop.opened(reactor, store) as workshop:
        workspace = workshop.workspace(tree)
        start = time.perf_counter()
        await workshop.pack(workspace)
        return time.perf_counter() - start


def hashed(tree: Path) -> None:
    """SHA-512 of every regular file, two at a time."""
    find = subprocess.Popen(["find", tree, "-type", "f", "-print0"], stdout=subprocess.PIPE)
    command = ["xargs", "-0", "-P2", "sha512sum"]
    subprocess.run(command, stdin=find.stdout, stdout=subprocess.DEVNULL, check=True)
    find.wait()
