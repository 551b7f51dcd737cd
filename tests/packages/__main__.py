"""Prints a table of all packages, or of those whose names hold one of the given words."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from tests.packages.catalogue import CASES, Case
from tests.packages.installing import Ground, compare, prepare


def main(words: Sequence[str] = ()) -> None:
    """Install and compare; ends the process, with status 1 where anything differs."""
    react(lambda _reactor: ensureDeferred(_all(words)))


async def _all(words: Sequence[str]) -> None:
    cases = [case for case in CASES if not words or any(word in case.packages for word in words)]
    with tempfile.TemporaryDirectory(prefix="packages-") as name:
        ground = prepare(Path(name) / "ground")
        with contextlib.suppress(RuntimeError):  # told of where the package's turn comes
            ground.debs.fetch(cases, ground.folder / "fetching")
        print(f"{'package':42} {'paths':>6} {'random':>6} {'differ':>6} {'s':>5}", flush=True)
        bad = [case.packages for case in cases if await _one(ground, case)]
    print(f"{len(cases)} installations, {len(bad)} differ: {', '.join(bad) or 'none'}", flush=True)
    if bad:
        raise SystemExit(1)


async def _one(ground: Ground, case: Case) -> bool:
    """Print one package's lines; whether it differs or fails."""
    begun = time.monotonic()
    try:
        ground.debs.fetch([case], ground.folder / "fetching")
        outcome = await compare(ground, case)
    except RuntimeError as error:
        print(f"{case.packages:42} failed: {error}", flush=True)
        return True
    counts = f"{outcome.paths:6} {len(outcome.random):6} {len(outcome.differences):6} {time.monotonic() - begun:5.0f}"
    print(
        f"{case.packages:42} {counts}",
        f"    random: {' '.join(outcome.random)}",
        *(f"    {line}" for line in outcome.differences),
        sep="\n",
        flush=True,
    )
    return bool(outcome.differences)


if __name__ == "__main__":
    main(sys.argv[1:])
