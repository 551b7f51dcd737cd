"""What it takes to ask something with builder-tool, against an interpreter that imports what it cannot do without."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.figure import Figure, seconds, spread
from demo.daemon import Daemon
from demo.site import Site
from tests.support.live import Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

RUNS = 15
AIM = 2.0
BARE = (sys.executable, "-c", "import ssl, http.client, json, click")


def measure(folder: Path) -> Figure:
    """``builder-tool list-images`` from its start to its exit, by turns with the yardstick."""
    site = Site(folder)
    site.make_certificates()
    (folder / "manifests").mkdir()
    site.make_repository(folder / "manifests")
    site.configure({"small": small_bootstrap(folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site))
    live.daemon.start()
    try:
        live.build("small")
        pairs = [(_time(live.tool_command("list-images")), _time(BARE)) for _ in range(RUNS)]
    finally:
        live.close()
    ours, theirs = ([pair[place] for pair in pairs] for place in (0, 1))
    parts = [spread("builder-tool list-images", ours), spread("yardstick: its imports alone", theirs)]
    return Figure("tool-start", statistics.median(ours) / statistics.median(theirs), AIM, parts)


def _time(command: Sequence[str]) -> float:
    return seconds(partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL))
