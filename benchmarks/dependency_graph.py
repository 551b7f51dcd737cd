"""The dependency graph of many streams, cold and again with nothing changed.

That of plain directories against reading and JSON-decoding the same files in one bare loop; that of Git repositories,
on a server in a process of its own on loopback, against one bare ``git ls-remote`` a repository after the other.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.figure import Figure, seconds, spread
from benchmarks.reactor_tick_gap import described, ticking
from imaginator.build.fetch import Fetcher
from imaginator.build.sources import Sources
from imaginator.schedule.configuration import Configuration, ConfigurationParts
from imaginator.schedule.dependencies import Dependencies, DependencyParts
from imaginator.service.daemon import forget_garbage
from tests.support.git_repository import Repository
from tests.support.git_server import serving
from tests.support.store_parts import running_store

STREAMS = 10_000
REPOSITORIES = 20
STREAMS_OF_EACH = 50
RUNS = 10
MANIFEST = {
    "SourceImage": "base/Debian-12/$ARCH",
    "FilterLines": ["/usr/share/doc/.*", "/var/cache/apt/.*", "/var/log/.*"],
    "SourceImageTagsToMatch": {"release": ["stable"]},
}


class Times:
    """Of a few runs each: everything read for the first time, the same again, and the yardstick."""

    def __init__(self) -> None:
        self.cold: list[float] = []
        self.again: list[float] = []
        self.bare: list[float] = []
        self.gaps: list[float] = []

    def figures(self, name: str, cold_aim: float, again_aim: float, yardstick: str, what: str) -> list[Figure]:
        """Both figures."""
        bare = statistics.median(self.bare)
        parts = [spread(yardstick, self.bare), described("ticks meanwhile", self.gaps), what]
        return [
            Figure(f"{name}-cold", statistics.median(self.cold) / bare, cold_aim, [spread("cold", self.cold), *parts]),
            Figure(f"{name}-again", statistics.median(self.again) / bare, again_aim, [spread("again", self.again)]),
        ]


def measure(folder: Path) -> list[Figure]:
    """Both kinds, in a reactor."""
    plain, git = Times(), Times()

    async def both(reactor: Any) -> None:
        await _plain(reactor, folder, plain)
        await _git(reactor, folder, git)

    with contextlib.suppress(SystemExit):
        react(lambda reactor: Deferred.fromCoroutine(both(reactor)))
    return [
        *plain.figures("plain-graph", 2, 0.3, "bare loop of json.load", f"{STREAMS} dir:// streams"),
        *git.figures(
            "git-graph", 4, 1.5, "git ls-remote of each", f"{REPOSITORIES} repositories of {STREAMS_OF_EACH} streams"
        ),
    ]


async def _plain(reactor: Any, folder: Path, times: Times) -> None:
    names = [f"team{number % 100}/web{number}/amd64" for number in range(STREAMS)]
    paths = [folder / "manifests" / name / "manifest" for name in names]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(MANIFEST, indent=4))
    url = f"dir://{folder}/manifests"
    streams = {name: {"ManifestUrl": url, "ManifestDirectory": "$IMAGE_STREAM"} for name in names}
    opened = [str(path) for path in paths]
    await _compare(reactor, folder / "plain", streams, times, lambda: _read(opened))


def _read(paths: Sequence[str]) -> None:
    for path in paths:
        with open(path, "rb") as file:
            json.load(file)


async def _git(reactor: Any, folder: Path, times: Times) -> None:
    top = folder / "repositories"
    top.mkdir()
    streams = {}
    with serving(top) as address:
        urls = []
        for number in range(REPOSITORIES):
            files = {f"web{at}/manifest": json.dumps(MANIFEST) for at in range(STREAMS_OF_EACH)}
            files |= {f"web{at}/files/etc/{at}": "text\n" * 100 for at in range(STREAMS_OF_EACH)}
            Repository(top / f"r{number}").commit(files)
            urls.append(f"http://{address}/at/r{number}/.git")
            for at in range(STREAMS_OF_EACH):
                streams[f"r{number}/web{at}"] = {"ManifestUrl": urls[-1], "ManifestDirectory": f"web{at}"}
        await _compare(reactor, folder / "git", streams, times, lambda: _ask(urls))


def _ask(urls: Sequence[str]) -> None:
    for url in urls:
        subprocess.run(["git", "ls-remote", url, "HEAD"], stdout=subprocess.DEVNULL, check=True)


async def _compare(
    reactor: Any, folder: Path, streams: Mapping[str, object], times: Times, bare: Callable[[], None]
) -> None:
    """Take turns: each run begins with nothing known."""
    folder.mkdir()
    main, file = folder / "conf.json", folder / "streams.json"
    main.write_text(json.dumps({"ImageStreamsUrl": str(file)}))
    file.write_text(json.dumps({"Streams": streams}))
    async with running_store(folder) as parts:
        fetcher = Fetcher(reactor)
        configuration = Configuration(
            ConfigurationParts(reactor, fetcher, parts.workers, folder, str(main), None, "amd64")
        )
        await configuration.load()
        forget_garbage()
        for run in range(RUNS):
            times.bare.append(seconds(bare))
            sources = Sources(reactor, folder / f"sources{run}")
            dependencies = Dependencies(DependencyParts(reactor, configuration, parts.store, sources, parts.workers))
            with ticking() as gaps:
                times.cold.append(await _time(dependencies, len(streams)))
                times.again.append(await _time(dependencies, len(streams)))
            times.gaps += gaps


async def _time(dependencies: Dependencies, expected: int) -> float:
    start = time.perf_counter()
    graph = await dependencies.graph()
    taken = time.perf_counter() - start
    if len(graph.sources) != expected:
        raise RuntimeError(f"{len(graph.sources)} sources of {expected} streams")
    return taken
