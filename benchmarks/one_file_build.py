"""A build of a stream whose manifest only changes one file, against copying and hashing the source tree."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from pathlib import Path

from benchmarks.debian_site import STREAM, DebianSite, size_of
from benchmarks.figure import Figure, seconds, spread
from demo.site import BASE_STREAM

RUNS = 5


def measure(folder: Path) -> Figure:
    """Builds and yardsticks take turns, so that both see the same machine."""
    builds, copies = [], []
    with DebianSite(folder) as debian, debian.client() as client:
        debian.write_file("first")
        debian.build(client, BASE_STREAM)
        debian.build(client, STREAM)
        tree = debian.unpack(folder / "tree")
        for run in range(RUNS):
            debian.write_file(f"run {run}")
            builds.append(seconds(lambda: debian.build(client, STREAM)))
            copies.append(seconds(lambda: copy_and_hash(tree, folder / "copy")))
            shutil.rmtree(folder / "copy")
        parts = [
            spread("request to image in the store", builds),
            spread("cp -a and sha512sum of the source tree", copies),
            f"source image: {size_of(debian.tar)}",
        ]
    return Figure("one-file-build", statistics.median(builds) / statistics.median(copies), 0.5, parts)


def copy_and_hash(tree: Path, copy: Path) -> None:
    """The yardstick: what a builder that unpacks its source does at least."""
    subprocess.run(["cp", "-a", tree, copy], check=True)
    hash_all(tree)


def hash_all(tree: Path) -> None:
    """SHA-512 of every regular file."""
    find = subprocess.Popen(["find", tree, "-type", "f", "-print0"], stdout=subprocess.PIPE)
    subprocess.run(["xargs", "-0", "sha512sum"], stdin=find.stdout, stdout=subprocess.DEVNULL, check=True)
    find.wait()
