"""``python -m benchmarks [NAME]``: print every figure, or the one called NAME."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    auto_rebuild,
    bootstrap_overhead,
    collection,
    daemon_start,
    dependency_graph,
    difference_page,
    export,
    gob_metadata,
    hostile_neighbour,
    image_difference,
    log_line,
    lost_layer,
    many_files,
    object_upload,
    one_file_build,
    packages,
    packing,
    pages,
    parallel_builds,
    queue,
    reactor_tick_gap,
    remote_build,
    rpc_calls,
    sandbox_cost,
    source_fetch,
    streams_configuration,
    tls_connections,
    tool_start,
)
from benchmarks.figure import Figure

FIGURES: dict[str, Callable[[Path], Figure | Sequence[Figure]]] = {
    "one-file-build": one_file_build.measure,
    "many-files": many_files.measure,
    "image-difference": image_difference.measure,
    "packages": packages.measure,
    "pack": packing.measure,
    "lost-layer": lost_layer.measure,
    "bootstrap-overhead": bootstrap_overhead.measure,
    "collection": collection.measure,
    "export": export.measure,
    "reactor-tick-gap": reactor_tick_gap.measure,
    "rpc-calls": rpc_calls.measure,
    "pages": pages.measure,
    "log-line": log_line.measure,
    "difference-page": difference_page.measure,
    "sandbox-cost": sandbox_cost.measure,
    "source-fetch": source_fetch.measure,
    "auto-rebuild": auto_rebuild.measure,
    "streams-configuration": streams_configuration.measure,
    "dependency-graph": dependency_graph.measure,
    "queue": queue.measure,
    "parallel-builds": parallel_builds.measure,
    "tls-connections": tls_connections.measure,
    "tool-start": tool_start.measure,
    "daemon-start": daemon_start.measure,
    "gob-metadata": gob_metadata.measure,
    "object-upload": object_upload.measure,
    "remote-build": remote_build.measure,
    "hostile-neighbour": hostile_neighbour.measure,
}
MEMORY = Path("/dev/shm")
"""Trees live in memory: on an ext4 without a journal, creating files slows down for minutes after many were deleted."""


def main() -> None:
    """Measure and print; exits 2 for an unknown name."""
    names = sys.argv[1:] or list(FIGURES)
    if unknown := [name for name in names if name not in FIGURES]:
        print(f"no figure called {', '.join(unknown)}; there are: {', '.join(FIGURES)}", file=sys.stderr)
        sys.exit(2)
    if len(names) == 1:
        measure(names[0])
        return
    for name in names:
        # A process each: the reactor runs once in one, and memory is to be its own.
        subprocess.run([sys.executable, "-m", "benchmarks", name], check=True)


def measure(name: str) -> None:
    """Print the figures of one name."""
    with tempfile.TemporaryDirectory(prefix="imaginator-bench-", dir=MEMORY) as folder:
        found = FIGURES[name](Path(folder))
    for figure in [found] if isinstance(found, Figure) else found:
        print(figure, flush=True)


if __name__ == "__main__":
    main()
