"""Builds of one changed file over ever larger images: what a build costs must not grow with what it does not change."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.build_site import STREAM, BuildSite
from benchmarks.figure import Figure, seconds, spread
from demo.site import BASE_STREAM

RUNS = 5
AIMS = {50_000: 1.3, 200_000: 1.6}
SMALLEST = 10_000
PACKER = {
    "CleanPatterns": ["/var/cache/.*", "/tmp/.*"],
    "ListCommand": {"ArgList": ["/bin/busybox", "true"]},
}


def measure(folder: Path) -> Sequence[Figure]:
    """A daemon a size; the sizes take turns. The first build over each source is left out."""
    with ExitStack() as stack:
        sites = {count: stack.enter_context(site_of(folder / str(count), count)) for count in (SMALLEST, *AIMS)}
        first = {count: prepare(site) for count, site in sites.items()}
        peaks = {count: site.peak_memory() for count, site in sites.items()}
        times: dict[int, list[float]] = {count: [] for count in sites}
        for run in range(RUNS):
            for count, site in sites.items():
                times[count].append(build(site, f"run {run}"))
        later = {count: site.peak_memory() for count, site in sites.items()}
    return [figure(count, times, {"first": first, "bootstrap peak": peaks, "later peak": later}) for count in AIMS]


def figure(count: int, times: Mapping[int, Sequence[float]], beside: Mapping[str, Mapping[int, float]]) -> Figure:
    """The ratio of one size to the smallest."""
    parts = [
        spread(f"second and later builds over {count} files", times[count]),
        spread(f"second and later builds over {SMALLEST} files", times[SMALLEST]),
        f"first build over the source: {beside['first'][count] * 1000:.0f} ms",
        f"peak memory of the daemon: {beside['bootstrap peak'][count]:.0f} MB in the bootstrap and the first build,"
        f" {beside['later peak'][count]:.0f} MB in later builds",
    ]
    ratio = statistics.median(times[count]) / statistics.median(times[SMALLEST])
    return Figure(f"one-file-build-over-{count}", ratio, AIMS[count], parts)


def site_of(folder: Path, count: int) -> BuildSite:
    """A site whose base image has so many files."""
    folder.mkdir()
    tree = make_tree(folder / "tree", count)
    return BuildSite(folder, ["cp", "-a", f"{tree}/.", "$dir"], PACKER)


def make_tree(root: Path, count: int) -> Path:
    """Small files in directories of ten, as deep as a Debian's, with a shell for the packager's script."""
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    for number in range(count):
        directory = root / f"usr/share/{number // 1000:03}/{number // 10 % 100:02}"
        if number % 10 == 0:
            directory.mkdir(parents=True)
        (directory / f"{number:06}").write_text(f"{number}\n")
    return root


def prepare(site: BuildSite) -> float:
    """Make the base image; how long the first build over it takes."""
    with site.client() as client:
        site.build(client, BASE_STREAM)
    return build(site, "first")


def build(site: BuildSite, text: str) -> float:
    """How long a build of another text takes."""
    site.write_file(text)
    with site.client() as client:
        return seconds(lambda: site.build(client, STREAM))
