"""A whole automatic cycle over streams of which nothing has changed.

The yardstick is what has to be asked in any case: one bare ``git ls-remote`` of the repository, and one bare update and
simulated upgrade by apt in a plain copy of the source image's tree.
"""

from __future__ import annotations

import shlex
import statistics
import subprocess
from pathlib import Path

from benchmarks.build_site import BuildSite
from benchmarks.figure import Figure, seconds, spread
from benchmarks.packages import ALONE, downloaded
from demo.site import BASE_STREAM
from imaginator.rpc.client import Client
from tests.support.apt_repository import Repository
from tests.support.base_tree import base_tar, unpack_command

STREAMS = 200
RUNS = 5
SOURCE = f'{{"SourceImage": "{BASE_STREAM}"}}'
SCRIPT = """set -e
{unpack}
printf %s {source} > "$1/etc/apt/sources.list"
printf %s {alone} > "$1/etc/apt/apt.conf.d/99alone"
"""


def measure(folder: Path) -> Figure:
    """Half of the streams have a package list; the first cycle builds them all."""
    repository = Repository(folder / "repository")
    for package in downloaded():
        repository.publish(package)
    manifests = {
        f"stream-{number:03}": {"manifest": SOURCE, **({"package-list": "tree\n"} if number % 2 else {})}
        for number in range(STREAMS - 1)  # and one that every site has
    }
    with repository.serve():
        bootstrap = bootstrap_of(folder, repository)
        flags = (*repository.flags, "--image-rebuild-interval", "0")
        with (
            BuildSite(folder, bootstrap, manifests=manifests, flags=flags, rebuilt=True) as site,
            site.client() as client,
        ):
            return compare(site, client, repository, folder)


def bootstrap_of(folder: Path, repository: Repository) -> list[str]:
    """The command that makes a Debian which knows one repository alone."""
    words = unpack_command(base_tar(folder))
    unpack = " ".join('"$1"' if word == "$dir" else shlex.quote(word) for word in words)
    script = folder / "bootstrap"
    script.write_text(SCRIPT.format(unpack=unpack, source=shlex.quote(repository.source), alone=shlex.quote(ALONE)))
    return ["sh", str(script), "$dir"]


def compare(site: BuildSite, client: Client, repository: Repository, folder: Path) -> Figure:
    """Cycles and yardsticks take turns."""
    everything = seconds(lambda: cycle(client))
    tree = folder / "tree"
    tree.mkdir()
    subprocess.run(["sh", str(folder / "bootstrap"), str(tree)], check=True)
    (tree / "etc/apt/sources.list").write_text(repository.local_source)
    built = len(client.call("ImageServer.ListImages")["Images"])
    cycles, bare = [], []
    for _ in range(RUNS):
        cycles.append(seconds(lambda: cycle(client)))
        bare.append(seconds(lambda: ask(site.site.repository, tree)))
    if len(client.call("ImageServer.ListImages")["Images"]) != built:
        raise RuntimeError("a stream was built although nothing has changed")
    parts = [
        spread(f"one cycle over {STREAMS} streams, nothing changed", cycles),
        spread("git ls-remote, apt-get update and a simulated upgrade", bare),
        f"the first cycle, which built everything: {everything:.1f} s",
    ]
    return Figure("auto-rebuild", statistics.median(cycles) / statistics.median(bare), 3.0, parts)


def cycle(client: Client) -> None:
    """One automatic cycle from its start to its end."""
    client.call("Imaginator.StartAutoBuilds", WaitToStart=True, WaitForComplete=True)


def ask(repository: Path, tree: Path) -> None:
    """What nobody gets around asking."""
    subprocess.run(["git", "ls-remote", str(repository), "HEAD"], check=True, capture_output=True)
    for words in (["-q", "update"], ["-q", "-s", "dist-upgrade"]):
        subprocess.run(["chroot", str(tree), "apt-get", *words], check=True, capture_output=True)
