"""The tests that an image brings along: run in it, all at once, before anything of it is stored."""

from __future__ import annotations

import os

from imaginator.build import packager
from imaginator.build.construction import Access, Bounded, Construction, together
from imaginator.model.errors import BuildFailed

PLACE = b"/tests"

LONGEST = 10.0
"""Seconds that one test may take."""

LARGEST_OUTPUT = 4 << 20
"""Bytes of one test's output that the log keeps."""


async def run_tests(construction: Construction, network: bool) -> None:
    """Run every executable below ``/tests``, maybe with network.

    Raises `BuildFailed` naming each that fails or takes too long.
    """
    paths = await construction.tree.executables(PLACE)
    construction.monitor.note(f"run {len(paths)} tests")
    outcomes = await together(*(_failure(construction, os.fsdecode(path), network) for path in sorted(paths)))
    failures = [failure for failure in outcomes if failure]
    if failures:
        raise BuildFailed("\n".join(failures))


async def _failure(construction: Construction, path: str, network: bool) -> str:
    """Run one test; its failure, or nothing."""
    output = Bounded(LARGEST_OUTPUT)
    access = Access(network, discard=True, seconds=LONGEST)
    failure = ""
    try:
        await construction.command(f"test {path}", [packager.PATH.decode(), "run", path], access, output)
    except BuildFailed as error:
        failure = str(error)
    construction.monitor.note(f"--- test {path}: {'failed' if failure else 'passed'}")
    construction.monitor.log(output.data)
    return failure
