"""The tests that an image brings along: run in it, all at once, before anything of it is stored."""

from __future__ import annotations

import os

from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.python.failure import Failure

from imaginator.build import packager
from imaginator.build.construction import Access, Bounded, Construction
from imaginator.model.errors import BuildFailed

PLACE = b"/tests"

LONGEST = 10.0
"""Seconds that one test may take."""

LARGEST_OUTPUT = 4 << 20
"""Bytes of one test's output that the log keeps."""


async def run_tests(construction: Construction) -> None:
    """Run every executable below ``/tests``; raises `BuildFailed` naming each that fails or takes too long."""
    paths = await construction.tree.executables(PLACE)
    construction.monitor.note(f"run {len(paths)} tests")
    running = [ensureDeferred(_failure(construction, os.fsdecode(path))) for path in sorted(paths)]
    # A cancelled list cancels its members and still waits for their ends.
    outcomes = await DeferredList(running, consumeErrors=True)
    failures = [failure for failure in map(_told, outcomes) if failure]
    if failures:
        raise BuildFailed("\n".join(failures))


async def _failure(construction: Construction, path: str) -> str:
    """Run one test; its failure, or nothing."""
    output = Bounded(LARGEST_OUTPUT)
    access = Access(construction.network, discard=True, seconds=LONGEST)
    failure = ""
    try:
        await construction.command(f"test {path}", [packager.PATH.decode(), "run", path], access, output)
    except BuildFailed as error:
        failure = str(error)
    construction.monitor.note(f"--- test {path}: {'failed' if failure else 'passed'}")
    construction.monitor.log(output.data)
    return failure


def _told(outcome: tuple[bool, object]) -> str:
    """A test's failure, or nothing; raises what kept the test from having an outcome, such as cancellation."""
    _, result = outcome
    if isinstance(result, Failure):
        result.raiseException()
    return str(result)
