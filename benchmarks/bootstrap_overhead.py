"""What a bootstrap build adds to its command, against reading and hashing the same tree once."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.build_site import DebianSite, size_of
from benchmarks.figure import Figure, seconds, spread
from benchmarks.one_file_build import hash_all
from demo.site import BASE_STREAM

RUNS = 3


def measure(folder: Path) -> Figure:
    """The first build stores every object, as a real first bootstrap does; later ones are printed beside it."""
    with DebianSite(folder) as debian, debian.client() as client:
        tree = debian.unpack(folder / "tree")
        overheads, hashes = [], []
        for _ in range(RUNS):
            stages = debian.build(client, BASE_STREAM)["Stages"]
            overheads.append(sum(stage["Seconds"] for stage in stages if stage["Stage"] != "bootstrap"))
            hashes.append(seconds(lambda: hash_all(tree)))
        parts = [
            "last build: " + ", ".join(f"{stage['Stage']} {stage['Seconds'] * 1000:.0f} ms" for stage in stages),
            spread("all steps but the command", overheads),
            spread("sha512sum of every file", hashes),
            f"tree: {size_of(debian.tar)}",
        ]
    return Figure("bootstrap-overhead", overheads[0] / statistics.median(hashes), 2.0, parts)
