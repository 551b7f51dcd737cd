"""Ten thousand queued builds: what submitting one costs, how soon the next starts, and how long a restart takes.

Builder, queue and catalogue are the daemon's own, on a real disk; only the engine is one whose builds end when told.
"""

from __future__ import annotations

import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Sequence
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults

from benchmarks.figure import Figure, seconds, spread
from benchmarks.workshop import run
from demo.daemon import Daemon
from demo.site import Site
from imaginator.rpc.client import Client, Credentials
from imaginator.service.daemon import forget_garbage
from tests.support.building import LIMITS, Building, building
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

BUILDS = 10_000
CLIENTS = 100
"""How many submit at once."""
COMMITS = 500
STARTS = 30
RESTARTS = 5
LONGEST_RESTART = 2.0
DISK = Path("/var/tmp")
"""Where a daemon's state lies: on a disk that takes its time to make things durable."""


def measure(_folder: Path) -> Sequence[Figure]:
    """Submissions and starts in this process, the restart with a daemon that finds what they left."""
    with tempfile.TemporaryDirectory(dir=DISK) as name:
        folder = Path(name)
        figures: list[Figure] = []

        async def work(_reactor: object) -> None:
            figures.extend(await _in_process(folder))

        run(work)
        return [*figures, _restart(folder)]


async def _in_process(folder: Path) -> Sequence[Figure]:
    streams = [f"stream/{number}" for number in range(BUILDS + 2 * STARTS + 2)]
    async with building(folder, LIMITS._replace(concurrent=1)) as system:
        system.files.write_streams(streams)
        await system.configuration.reload()
        few = await _starts_with_one_queued(system, streams[: STARTS + 1])
        system.obstacle = "nothing is to start"
        alone = [await _timed(system.submit(stream)) for stream in streams[STARTS + 1 : 2 * STARTS + 1]]
        forget_garbage()
        together = await _timed(_submit_together(system, streams[2 * STARTS + 1 :]))
        many = await _starts_with_many_queued(system)
        bare = _commits(folder)
    each = together / (BUILDS + 1)
    return [
        Figure(
            "queue-submit",
            each / statistics.median(bare),
            2.0,
            [
                f"{BUILDS} submissions, {CLIENTS} at once: {each * 1000:.2f} ms each, {1 / each:.0f} a second",
                spread("one submission while nobody else submits", alone),
                spread("yardstick: a bare INSERT of the same bytes, with its commit on the disk", bare),
            ],
        ),
        Figure(
            "queue-start",
            statistics.median(many) / statistics.median(few),
            1.5,
            [
                spread(f"from the end of a build until the next is at work, {BUILDS} queued", many),
                spread("yardstick: the same with one queued", few),
            ],
        ),
    ]


async def _timed(work: Awaitable[object]) -> float:
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def _submit_together(system: Building, streams: Sequence[str]) -> None:
    waiting = iter(streams)

    async def client() -> None:
        for stream in waiting:
            await system.submit(stream)

    await gatherResults([Deferred.fromCoroutine(client()) for _ in range(CLIENTS)])


async def _starts_with_one_queued(system: Building, streams: Sequence[str]) -> list[float]:
    times = []
    await system.submit(streams[0])
    await system.engine.begun(streams[0])
    for running, queued in pairwise(streams):
        await system.submit(queued)
        times.append(await _timed(_next(system, running, queued)))
    last = system.builder.status().running[0].build_id
    system.engine.finish(streams[-1])
    await system.builder.wait(last)
    return times


async def _starts_with_many_queued(system: Building) -> list[float]:
    streams = [record.request.stream_name for record in system.builder.status().queued[: STARTS + 1]]
    system.obstacle = ""
    system.builder.go_on()
    await system.engine.begun(streams[0])
    return [await _timed(_next(system, running, queued)) for running, queued in pairwise(streams)]


async def _next(system: Building, running: str, queued: str) -> None:
    system.engine.finish(running)
    await system.engine.begun(queued)


def _commits(folder: Path) -> list[float]:
    """The seconds of bare commits of the queue's own rows into a file beside the catalogue."""
    with closing(sqlite3.connect(folder / "catalogue.sqlite")) as catalogue:
        (schema,) = catalogue.execute("SELECT sql FROM sqlite_schema WHERE name = 'builds'").fetchone()
        rows = catalogue.execute("SELECT * FROM builds ORDER BY id DESC LIMIT ?", (COMMITS,)).fetchall()
    with closing(sqlite3.connect(folder / "bare.sqlite", isolation_level=None)) as bare:
        bare.execute("PRAGMA journal_mode=WAL")
        bare.execute("PRAGMA synchronous=FULL")
        bare.execute(schema)
        marks = ", ".join("?" * len(rows[0]))
        insert = f"INSERT INTO builds VALUES ({marks})"
        return [seconds(partial(bare.execute, insert, row)) for row in rows]


def _restart(folder: Path) -> Figure:
    """The seconds from the start of twistd until it listens, with the queue and without."""
    site = Site(folder / "site")
    site.make_certificates()
    (folder / "manifests").mkdir()
    site.make_repository(folder / "manifests")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    daemon = Daemon(site, "--maximum-concurrent-builds", "0")
    empty = [_started(daemon, site, 0) for _ in range(RESTARTS)]
    shutil.copy(folder / "catalogue.sqlite", site.state / "catalogue.sqlite")
    full = [_started(daemon, site, BUILDS) for _ in range(RESTARTS)]
    parts = [spread(f"with {BUILDS} queued", full), spread("with an empty queue", empty), "listening, from its start"]
    return Figure("queue-restart", statistics.median(full) / LONGEST_RESTART, 1.0, parts)


def _started(daemon: Daemon, site: Site, queued: int) -> float:
    """Start and kill a daemon that has so many builds queued at least; the seconds until it listened."""
    taken = seconds(daemon.start)
    certificate, key = site.certificate("user")
    with Client("127.0.0.1", daemon.port, Credentials(certificate, key, site.authority)) as client:
        last = client.call("Imaginator.ListBuilds", State="queued", Limit=1)["Builds"]
    if queued and last[0]["Place"] < queued - STARTS:
        raise RuntimeError(f"{last[0]['Place']} builds are queued, not {queued}")
    daemon.kill()
    return taken
