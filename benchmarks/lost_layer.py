"""Restoring a layer that was lost from the objects, against copying the same tree."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, seconds, spread
from benchmarks.workshop import Workshop, copied, debian_with_archives, removed, run

RUNS = 5


def measure(folder: Path) -> Figure:
    """The layer is removed before each run; restoring and copying take turns."""
    tree = debian_with_archives(folder)
    restores: list[float] = []
    copies: list[float] = []

    async def work(reactor: Any) -> None:
        async with Workshop.opened(reactor, folder / "store") as workshop:
            image = await workshop.pack(workshop.workspace(tree))
            for _ in range(RUNS):
                removed(*(folder / "store/layers").iterdir())
                start = time.perf_counter()
                await workshop.layers.lowers(image)
                restores.append(time.perf_counter() - start)
                copies.append(seconds(lambda: copied(tree, folder / "copy")))
                removed(folder / "copy")

    run(work)
    parts = [
        spread("image in the store to layer", restores),
        spread("cp -a of the same tree", copies),
        "tree: minimal Debian and a hundred large files, 324 MB, in memory",
    ]
    return Figure("lost-layer", statistics.median(restores) / statistics.median(copies), 1.3, parts)
