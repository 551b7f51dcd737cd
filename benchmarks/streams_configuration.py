"""A large streams configuration: how long until its streams can be found, and until a change of it is in force.

The change is taken over by a daemon's own watch, in a running reactor, whose longest stall is told. The yardstick is
a bare ``json.loads`` of the same bytes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.figure import Figure, seconds, spread
from benchmarks.reactor_tick_gap import described, ticking
from imaginator.build.fetch import Fetcher
from imaginator.model.streams import decode_streams
from imaginator.schedule.configuration import Configuration, ConfigurationParts
from imaginator.service.daemon import forget_garbage
from imaginator.service.works import WORKERS
from imaginator.store.workers import Workers

STREAMS = 10_000
PATTERNS = 1_000
RUNS = 10
LONGEST = 1.0
"""Seconds that each of both may take."""


def measure(folder: Path) -> list[Figure]:
    """Both, each as often as it takes for a median; the yardstick runs in turns with the first."""
    data = configuration()
    found = _first(data)
    bare, ready = [], []
    for _ in range(RUNS):
        bare.append(seconds(lambda: json.loads(data)))
        ready.append(seconds(lambda: _ready(data)))
    reloads: list[float] = []
    gaps: list[float] = []
    with contextlib.suppress(SystemExit):
        react(lambda reactor: Deferred.fromCoroutine(_reload(reactor, folder, reloads, gaps)))
    parts = [
        spread("bare json.loads of the same bytes", bare),
        f"{STREAMS} streams, {PATTERNS} patterns, {len(data) / 1e6:.1f} MB of text; {found}",
    ]
    return [
        Figure("streams-ready", statistics.median(ready) / LONGEST, 1.0, [spread("ready", ready), *parts]),
        Figure(
            "streams-reload",
            statistics.median(reloads) / LONGEST,
            1.0,
            [spread("reload with one change", reloads), described("ticks meanwhile", gaps)],
        ),
    ]


def configuration(changed: int = 0) -> bytes:
    """Streams of a few teams, and patterns for everybody's own; one of them differs for each number."""
    fields: dict[str, object] = {
        "ManifestUrl": "https://git.example.com/manifests.git",
        "ManifestDirectory": "$IMAGE_STREAM",
        "BuilderUsers": ["ann"],
        "BuilderGroups": ["eng"],
        "Variables": {"RELEASE": "12"},
    }
    streams = {f"team{number % 100}/web{number}/$ARCH": fields for number in range(STREAMS)}
    streams["team0/web0/$ARCH"] = {**fields, "Variables": {"RELEASE": str(changed)}}
    patterns = {f"user{number}/[a-z0-9/]+": fields for number in range(PATTERNS)}
    return json.dumps({"Streams": streams, "StreamPatterns": patterns}, indent=4).encode()


def _ready(data: bytes) -> None:
    """Decode and check everything, and find one stream by a pattern."""
    streams = decode_streams(data, "streams.json", "amd64")
    if streams.find(f"user{PATTERNS - 1}/web") is None:
        raise RuntimeError("a stream is not found")


def _first(data: bytes) -> str:
    """What the decoded streams hold of memory, and what decoding takes at most."""
    gc.collect()
    before, peak = _resident(), _peak()
    streams = decode_streams(data, "streams.json", "amd64")
    gc.collect()
    held, taken = _resident() - before, max(0, _peak() - peak)
    del streams
    return f"memory: {held / 1e6:.0f} MB held, {taken / 1e6:.0f} MB more at the peak than before"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def _reload(reactor: Any, folder: Path, reloads: list[float], gaps: list[float]) -> None:
    """Change one stream again and again, and let the watch of a daemon take it over."""
    main, streams = folder / "conf.json", folder / "streams.json"
    main.write_text(json.dumps({"ImageStreamsUrl": str(streams)}))
    streams.write_bytes(configuration())
    workers = Workers(WORKERS, reactor)
    workers.startService()
    parts = ConfigurationParts(reactor, Fetcher(reactor), workers, folder, str(main), None, "amd64")
    watched = Configuration(parts)
    await watched.load()
    changes = [configuration(number) for number in range(1, RUNS + 1)]
    forget_garbage()
    with ticking() as found:
        for number, change in enumerate(changes, 1):
            streams.write_bytes(change)
            start = time.perf_counter()
            await watched.look()
            reloads.append(time.perf_counter() - start)
            if watched.streams.named["team0/web0/amd64"].variables != {"RELEASE": str(number)}:
                raise RuntimeError("a change is not in force")
    gaps += found
    workers.stopService()
