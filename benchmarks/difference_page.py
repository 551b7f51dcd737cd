"""The page of what two images of 30,000 files differ in, to its first byte and to its last, against a second."""

from __future__ import annotations

import os
import shutil
import statistics
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from benchmarks.build_site import BuildSite
from benchmarks.figure import Figure, spread
from demo.site import BASE_STREAM
from tests.support.small_system import SMALL_PACKAGER

FILES = 30_000
FEW = 200
RUNS = 5
AIM = 1.0
"""Seconds."""


def measure(folder: Path) -> Figure:
    """Three images of one stream: some of the second's files are others than the first's, all of the third's are."""
    tree = make_tree(folder / "tree")
    site = BuildSite(folder, ["cp", "-a", f"{tree}/.", "$dir"], SMALL_PACKAGER)
    with site, site.client() as client:
        names = []
        for changed in (0, FEW, FILES):
            write(tree, changed, b"%d " % changed)
            names.append(site.build(client, BASE_STREAM)["ImageName"])
        few, _ = loads(site, names[0], names[1])
        all_of_them, whole = loads(site, names[0], names[2])
    parts = [
        spread(f"first byte where all {FILES} files differ", all_of_them),
        spread("the whole of that page", whole),
        spread(f"first byte where {FEW} do", few),
    ]
    return Figure("difference-page", statistics.median(all_of_them) / AIM, 1.0, parts)


def make_tree(root: Path) -> Path:
    """Small files, fifty a directory, with a shell for the packager's script."""
    (root / "bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/release").write_text("small 1\n")
    for name in ("sh", "cat"):
        (root / "bin" / name).symlink_to("busybox")
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for number in range(0, FILES, 50):
        path(root, number).parent.mkdir(parents=True)
    write(root, FILES, b"")
    return root


def path(root: Path, number: int) -> Path:
    """Where a file is."""
    return root / "usr/share" / f"{number // 5000}" / f"{number // 50:03}" / f"{number:05}"


def write(root: Path, count: int, word: bytes) -> None:
    """Give so many of the files another content."""
    for number in range(0, FILES, FILES // count) if count else ():
        path(root, number).write_bytes(word + b"%d\n" % number)


def loads(site: BuildSite, before: str, after: str) -> tuple[Sequence[float], Sequence[float]]:
    """Seconds to the first byte of the page, and to its last."""
    firsts, lasts = [], []
    for _ in range(RUNS):
        start = time.perf_counter()
        with urllib.request.urlopen(f"{site.daemon.url}showDifference?before={before}&after={after}") as answer:
            if not answer.read(1):
                raise RuntimeError("the page is empty")
            firsts.append(time.perf_counter() - start)
            with open(os.devnull, "wb") as nowhere:
                shutil.copyfileobj(answer, nowhere)
            lasts.append(time.perf_counter() - start)
    return firsts, lasts
