"""``python -m tests.escape.host TREE PLACE... [--expendable] [--groups NAME]``: be a host, and try the probes there.

Prints a line of JSON for each: place, name, outcome, detail. To be started by `twin`, in namespaces of its own, or on a
machine that is thrown away, which is what ``--expendable`` says: then everything is tried, else only what can be tried
without harm.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import react

from tests.escape.baits import baits
from tests.escape.groups import own_groups, show_own
from tests.escape.inside.probing import MARK, ORIGINAL, PROBES, SANDBOX
from tests.escape.places import RUNS

NAMESPACES = ["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]


class Outcome(NamedTuple):
    """What came of a probe in a place; see `probing.Result`."""

    place: str
    name: str
    outcome: str
    detail: str


def twin(tree: Path, places: Iterable[str]) -> Iterator[Outcome]:
    """Try the probes with a twin of the host in its place: what this process sees of the host is made for them."""
    groups = f"escape-{os.getpid()}"
    argv = ["unshare", *NAMESPACES, sys.executable, "-m", "tests.escape.host", str(tree), *places, "--groups", groups]
    environment = {**os.environ, "ESCAPE_BAIT": f"{MARK.decode()}in the environment"}
    with own_groups(groups):
        ended = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
        )
    if ended.returncode:
        raise RuntimeError(f"the twin of the host ended with status {ended.returncode}: {ended.stderr[-3000:]}")
    yield from results(ended.stdout)


def results(output: str) -> Iterator[Outcome]:
    """What the lines of JSON tell, whatever else is among them."""
    for line in output.splitlines():
        if line.startswith("["):
            yield Outcome(*json.loads(line))


def tried(place: str, expendable: bool) -> list[str]:
    """The names of the probes for a place: all for a sandbox and, on a machine that nobody needs, for the original.

    On a host, the original's place gets what is harmless, and the other places what they are to show.
    """
    harmless = [one for one in PROBES.values() if expendable or place == SANDBOX or not one.machine]
    return [one.name for one in harmless if place in (SANDBOX, ORIGINAL, one.shown_by)]


async def _main(tree: Path, places: Sequence[str], expendable: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="escape-", dir=tree.parent) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with baits(folder, expendable) as made:
            for place in places:
                made.clear()
                async for result in RUNS[place](made, tree, tried(place, expendable)):
                    print(json.dumps([place, *result]), flush=True)
                made.check()


def main(arguments: Sequence[str]) -> None:
    """Run until all places are done."""
    parser = argparse.ArgumentParser(prog="python -m tests.escape.host", description="Be a host and try the probes.")
    parser.add_argument("tree", type=Path, help="a directory, which is written to")
    parser.add_argument("places", nargs="+", choices=RUNS)
    parser.add_argument("--expendable", action="store_true", help="try in earnest what cannot be undone")
    parser.add_argument("--groups", help="the control groups in which sandboxes make theirs")
    given = parser.parse_args(arguments)
    if given.groups:
        show_own(given.groups)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what hangs up the terminal is to end nothing else

    def start(_: object) -> Deferred[None]:
        return ensureDeferred(_main(given.tree, given.places, given.expendable))

    react(start)


if __name__ == "__main__":
    main(sys.argv[1:])
