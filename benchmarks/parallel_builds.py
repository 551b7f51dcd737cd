"""Streams whose script burns a second of CPU, all to be built: two builds at a time against one at a time."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.build_site import BuildSite, stream_of
from benchmarks.figure import Figure, seconds
from demo.site import BASE_STREAM
from imaginator.model.build import State
from imaginator.rpc.client import Client
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

STREAMS = 40
BURN = """#!/bin/sh
turn=0
while [ $turn -lt 500000 ]
do
    turn=$((turn + 1))
done
"""
"""A second or so of one processor."""
LOOK = 0.05
"""Seconds between two looks at a build."""

WISHES = {"ExpiresIn": 3600, "MaxSourceAge": 86400}


def measure(folder: Path) -> Figure:
    """Each daemon has built nothing but the source image before."""
    alone = _build_all(folder / "one", 1)
    together = _build_all(folder / "two", 2)
    parts = [
        f"{STREAMS} builds, two at a time: {together:.1f} s",
        f"yardstick: the same, one at a time: {alone:.1f} s, {alone / STREAMS:.2f} s each",
    ]
    return Figure("parallel-builds", together / alone, 0.6, parts)


def _build_all(folder: Path, at_once: int) -> float:
    """The seconds from submitting all builds until the last has ended."""
    folder.mkdir()
    manifest = {"manifest": f'{{"SourceImage": "{BASE_STREAM}"}}', "scripts/burn": BURN}
    manifests = {f"burn-{number:02}": manifest for number in range(STREAMS)}
    flags = ("--maximum-concurrent-builds", str(at_once))
    with BuildSite(folder, small_bootstrap(folder), SMALL_PACKAGER, manifests, flags) as site, site.client() as client:
        site.build(client, BASE_STREAM)
        return seconds(lambda: _all_built(client, [stream_of(name) for name in manifests]))


def _all_built(client: Client, streams: list[str]) -> None:
    builds = [client.call("Imaginator.SubmitBuild", StreamName=stream, **WISHES)["BuildId"] for stream in streams]
    for build_id in builds:
        record = client.call("Imaginator.GetBuild", BuildId=build_id)
        while record["FinishedAt"] is None:
            time.sleep(LOOK)
            record = client.call("Imaginator.GetBuild", BuildId=build_id)
        if record["State"] != State.SUCCEEDED:
            raise RuntimeError(f"{build_id}: {record['Failure']}")
