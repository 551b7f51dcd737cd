"""A build of a stream whose manifest only changes one file, against copying and hashing the source tree."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.build_site import STREAM, BuildSite, DebianSite, size_of
from benchmarks.figure import Figure, seconds, spread
from demo.site import BASE_STREAM

RUNS = 5
DISK = Path("/var/tmp")


def measure(folder: Path) -> Figure:
    """Builds and yardsticks take turns, so that both see the same machine; builds on the disk are printed beside."""
    copies: list[float] = []
    with DebianSite(folder) as debian, tempfile.TemporaryDirectory(prefix="imaginator-bench-", dir=DISK) as disk:
        tree = debian.unpack(folder / "tree")

        def copy() -> None:
            copies.append(seconds(lambda: copy_and_hash(tree, folder / "copy")))
            shutil.rmtree(folder / "copy")

        builds = build_repeatedly(debian, copy)
        with DebianSite(Path(disk)) as slower:
            parts = [
                spread("request to image in the store", builds),
                spread("the same with everything on the disk", build_repeatedly(slower, lambda: None)),
                spread("cp -a and sha512sum of the source tree", copies),
                f"source image: {size_of(debian.tar)}",
            ]
    return Figure("one-file-build", statistics.median(builds) / statistics.median(copies), 0.15, parts)


def build_repeatedly(site: BuildSite, between: Callable[[], None]) -> list[float]:
    """How long builds of one changed file take, the first over a source left out."""
    builds = []
    with site.client() as client:
        site.write_file("first")
        site.build(client, BASE_STREAM)
        site.build(client, STREAM)
        for run in range(RUNS):
            site.write_file(f"run {run}")
            builds.append(seconds(lambda: site.build(client, STREAM)))
            between()
    return builds


def copy_and_hash(tree: Path, copy: Path) -> None:
    """The yardstick: what a builder that unpacks its source does at least."""
    subprocess.run(["cp", "-a", tree, copy], check=True)
    hash_all(tree)


def hash_all(tree: Path) -> None:
    """SHA-512 of every regular file."""
    find = subprocess.Popen(["find", tree, "-type", "f", "-print0"], stdout=subprocess.PIPE)
    subprocess.run(["xargs", "-0", "sha512sum"], stdin=find.stdout, stdout=subprocess.DEVNULL, check=True)
    find.wait()
