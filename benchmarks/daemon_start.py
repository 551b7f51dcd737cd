"""What a daemon's start takes, to its first answered request, against an interpreter that imports a web server's parts.

Both run from bytecode, which an installation makes. Once with an empty state directory; once with many images and
streams, as a host has them that is started again. The memory of both, some seconds after, is told.
"""

from __future__ import annotations

import compileall
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import imaginator
from benchmarks.figure import Figure, seconds, spread
from demo.daemon import Daemon
from demo.site import Site
from tests.support.live import Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

RUNS = 9
AIM = 1.5
IMAGES = 10_000
STREAMS = 1_000
IDLE = 5.0
"""Seconds after which a daemon has done what a start brings along."""
BARE = (sys.executable, "-c", "import twisted.web.server, klein, treq")


def measure(folder: Path) -> list[Figure]:
    """Both, each by turns with the yardstick."""
    compileall.compile_dir(Path(imaginator.__file__).parent, quiet=1)
    site = Site(folder)
    site.make_certificates()
    (folder / "manifests").mkdir()
    site.make_repository(folder / "manifests")
    site.configure({"small": small_bootstrap(folder)}, {}, SMALL_PACKAGER)
    empty = _figure("daemon-start", site)
    fill(site)
    return [empty, _figure("daemon-start-full", site)]


def fill(site: Site) -> None:
    """Build one image, and have the catalogue hold `IMAGES` like it, of `STREAMS` streams."""
    live = Live(site, Daemon(site))
    live.daemon.start()
    try:
        live.build("small", ExpiresIn=86400)
    finally:
        live.close()
    names = [f"many/stream-{number}" for number in range(STREAMS)]
    site.write_streams({name: site.stream(name) for name in names})
    with sqlite3.connect(site.state / "catalogue.sqlite") as catalogue:
        for number in range(IMAGES):
            _copy(catalogue, names[number % STREAMS], number // STREAMS)
    catalogue.close()


def _copy(catalogue: sqlite3.Connection, stream: str, age: int) -> None:
    name = f"{stream}/2026-01-01:00:00:{age:02}"
    catalogue.execute(
        "INSERT INTO images (name, stream, commit_id, branch, expires_at, gone_at, root, record)"
        " SELECT ?, ?, commit_id, branch, NULL, gone_at, root, record FROM images WHERE stream = 'small' LIMIT 1",
        (name, stream),
    )
    catalogue.execute(
        "INSERT INTO layers SELECT last_insert_rowid(), place, layer FROM layers"
        " WHERE image = (SELECT id FROM images WHERE stream = 'small')"
    )


def _figure(name: str, site: Site) -> Figure:
    pairs = [(_start(site), _time(BARE)) for _ in range(RUNS)]
    ours, theirs = ([pair[place] for pair in pairs] for place in (0, 1))
    parts = [
        spread("start to the first answered request", ours),
        spread("yardstick: its imports alone", theirs),
        f"resident when idle: {_idle(site):.0f} MiB",
    ]
    return Figure(name, statistics.median(ours) / statistics.median(theirs), AIM, parts)


def _start(site: Site) -> float:
    daemon = Daemon(site)
    try:
        return seconds(partial(_answered, daemon))
    finally:
        daemon.stop()


def _answered(daemon: Daemon) -> None:
    daemon.start()
    urllib.request.urlopen(f"{daemon.url}healthz").read()


def _idle(site: Site) -> float:
    """Memory of a daemon that has answered and waits, in MiB."""
    daemon = Daemon(site)
    daemon.start()
    try:
        urllib.request.urlopen(f"{daemon.url}healthz").read()
        time.sleep(IDLE)
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) / 1024
    finally:
        daemon.stop()


def _time(command: Sequence[str]) -> float:
    return seconds(partial(subprocess.run, command, check=True))
