"""Two packages installed by a package list, against the same apt-get commands in a plain copy of the tree."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks.build_site import DebianSite, stream_of
from benchmarks.figure import Figure, seconds, spread
from demo.site import BASE_STREAM
from tests.support.apt_repository import Repository
from tests.support.base_tree import cache_folder

RUNS = 5
NAMES = ("tree", "less")
STREAM = stream_of("packages")
DISK = Path("/var/tmp")
ALONE = 'Acquire::http::Proxy "DIRECT";\nDir::Etc::SourceParts "-";\nAcquire::Languages "none";\n'
"""Neither the host's proxy nor any other repository (apt.conf(5))."""


def measure(folder: Path) -> Figure:
    """Both on the disk, both from one repository on the loopback address; builds and yardsticks take turns."""
    with tempfile.TemporaryDirectory(prefix="imaginator-bench-", dir=DISK) as name:
        disk = Path(name)
        repository = Repository(disk / "repository")
        for package in downloaded():
            repository.publish(package)
        with repository.serve(), DebianSite(disk, {"packages": manifest(repository)}, repository.flags) as debian:
            return compare(debian, repository, disk)


def compare(debian: DebianSite, repository: Repository, disk: Path) -> Figure:
    """Build, then install by hand, a few times."""
    tree = debian.unpack(disk / "tree")
    builds: list[float] = []
    installs: list[float] = []
    copies: list[float] = []
    with debian.client() as client:
        debian.build(client, BASE_STREAM)
        stages = debian.build(client, STREAM)["Stages"]
        for _ in range(RUNS):
            builds.append(seconds(lambda: debian.build(client, STREAM)))
            copies.append(seconds(lambda: subprocess.run(["cp", "-a", tree, disk / "copy"], check=True)))
            install(disk / "copy", repository, installs)
            shutil.rmtree(disk / "copy")
    parts = [
        spread("request to image in the store", builds),
        spread("apt-get update, upgrade, install in a plain copy", installs),
        f"{spread('making that copy', copies)}, not counted",
        "a build: " + ", ".join(f"{stage['Stage']} {stage['Seconds'] * 1000:.0f} ms" for stage in stages),
    ]
    return Figure("packages", statistics.median(builds) / statistics.median(installs), 1.0, parts)


def downloaded() -> list[Path]:
    """The packages, fetched once by this host's own apt into the user's cache."""
    folder = cache_folder() / "packages"
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        if not list(folder.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", name], cwd=folder, check=True, capture_output=True)
    return [path for name in NAMES for path in folder.glob(f"{name}_*.deb")]


def manifest(repository: Repository) -> dict[str, str]:
    """One that lists the packages, with the repository as the only one."""
    return {
        "manifest": f'{{"SourceImage": "{BASE_STREAM}"}}',
        "package-list": "".join(f"{name}\n" for name in NAMES),
        "files/etc/apt/sources.list": repository.source,
        "files/etc/apt/apt.conf.d/99alone": ALONE,
    }


def install(tree: Path, repository: Repository, times: list[float]) -> None:
    """What the build's packager does, by hand."""
    (tree / "etc/apt/sources.list").write_text(repository.local_source)
    (tree / "etc/apt/apt.conf.d/99alone").write_text(ALONE)
    quiet = ["chroot", str(tree), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    commands = [[*quiet, "update"], [*quiet, "upgrade"], [*quiet, "install", "--no-install-recommends", *NAMES]]
    times.append(seconds(lambda: [subprocess.run(argv, check=True, capture_output=True) for argv in commands]))
