"""A manifest fetched when nothing has changed on the server, against one bare ``git ls-remote`` of it.

The server is `git http-backend` on the loopback address, in a process of its own: on any other network both wait longer
for the same requests. What is fetched is checked out too, since that is what a build gets.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.figure import Figure, seconds, spread
from imaginator.build.sources import SourceLocation, Sources
from imaginator.model.redaction import Redactor
from tests.support.git_repository import Repository

RUNS = 40
STREAMS = 200
FILES = 10


def measure(folder: Path) -> Figure:
    """Both take turns, so that they see the same machine; a commit id asked for needs no server."""
    repository = make_repository(folder / "repository")
    turns: dict[str, list[float]] = {"first": [], "fetch": [], "commit": [], "bare": []}
    with serving(folder) as address, contextlib.suppress(SystemExit):
        url = f"http://{address}/at/repository/.git"
        react(lambda reactor: Deferred.fromCoroutine(compare(reactor, folder, url, repository.first, turns)))
    fetches, bare = turns["fetch"], turns["bare"]
    parts = [
        spread("fetch of an unchanged repository, checked out", fetches),
        spread("the same by commit id, asking no server", turns["commit"]),
        spread("git ls-remote", bare),
        spread("the first fetch", turns["first"]),
        f"repository: {STREAMS} manifests of {FILES} files",
    ]
    return Figure("source-fetch", statistics.median(fetches) / statistics.median(bare), 1.5, parts)


def make_repository(directory: Path) -> Repository:
    """Many small manifests in one repository."""
    repository = Repository(directory)
    names = [f"stream{stream}/files/etc/{file}" for stream in range(STREAMS) for file in range(FILES)]
    repository.first = repository.commit({name: f"{name}\n" * 50 for name in names})
    return repository


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The server's host and port."""
    command = [sys.executable, "-m", "tests.support.git_server", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"127.0.0.1:{server.stdout.readline().strip()}"
        server.communicate()


async def compare(reactor: Any, folder: Path, url: str, commit: str, turns: dict[str, list[float]]) -> None:
    """Take turns, after a first fetch that brings everything."""
    sources = Sources(reactor, folder / "sources")
    count = 0

    async def fetch(branch: str, times: list[float]) -> None:
        nonlocal count
        count += 1
        start = time.perf_counter()
        await sources.fetch(SourceLocation(url, url, "stream7", branch), folder / f"out{count}", Redactor({}))
        times.append(time.perf_counter() - start)

    await fetch("", turns["first"])
    for _ in range(RUNS):
        await fetch("", turns["fetch"])
        turns["bare"].append(seconds(lambda: subprocess.run(["git", "ls-remote", url], stdout=subprocess.DEVNULL)))
        await fetch(commit, turns["commit"])
