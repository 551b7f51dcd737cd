"""``python3 -m tests.escape.inside WORLD PROBE...``: try probes, and print a line of JSON for each."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.escape.inside import devices, exhaustion, kernel, mounts, network, processes
from tests.escape.inside.probing import World, run

MODULES = (devices, mounts, processes, kernel, network, exhaustion)
"""Importing them is what fills `probing.PROBES`."""

if __name__ == "__main__":
    run(sys.argv[2:], World.load(Path(sys.argv[1])))
