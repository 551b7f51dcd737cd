"""``imaginator --verify-store``: checks and repairs the state directory while no daemon uses it."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.defer import CancelledError

from imaginator.model.errors import ConfigurationError, StoreCorrupt
from imaginator.sandbox.limits import Limits
from imaginator.service.checks import check_sandbox, locked
from imaginator.service.once import completed
from imaginator.store.catalogue import Catalogue
from imaginator.store.findings import Report
from imaginator.store.images import NodeCache
from imaginator.store.objects import Objects
from imaginator.store.verification import Verification
from imaginator.store.workbench import Workbench
from imaginator.store.workers import Workers

WORKERS = 2
BETWEEN_PROGRESS = 2.0
"""Seconds."""


def verify_store(state: Path, reactor: Any) -> int:
    """Check the store below ``state``, telling of it on standard output; 1 where something is left damaged, else 0.

    Runs the reactor. Raises `ImaginatorError` where there is no store, a daemon uses it, or it cannot be looked at.
    """
    if not (state / "catalogue.sqlite").is_file():
        raise ConfigurationError(str(state), "there is no store: expected a state directory with catalogue.sqlite")
    report = Report(lambda line: print(line, flush=True), Progress(sys.stderr))
    with locked(state / "lock"):
        try:
            completed(reactor, lambda: _verify(state, reactor, report))
        except CancelledError:
            raise StoreCorrupt("interrupted: not everything was looked at") from None
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(f"catalogue.sqlite: {error}") from None
    print(report.summary(), flush=True)
    return 1 if report.damaged else 0


async def _verify(state: Path, reactor: Any, report: Report) -> None:
    scratch = state / "builds" / f"verify-{secrets.token_hex(6)}"
    scratch.mkdir(mode=0o700, parents=True)
    catalogue, workers = Catalogue(state / "catalogue.sqlite", reactor), Workers(WORKERS, reactor)
    try:
        catalogue.startService()
        workers.startService()
        await check_sandbox(reactor, scratch, Limits())
        bench = Workbench(state, scratch, catalogue, workers, reactor, report)
        await Verification(bench, Objects(state / "objects"), NodeCache(catalogue)).run()
    finally:
        for service in (catalogue, workers):
            if service.running:
                service.stopService()
        shutil.rmtree(scratch, ignore_errors=True)


class Progress:
    """Tells on a terminal, every few seconds, how far the check has come."""

    def __init__(self, stream: TextIO, seconds: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._seconds = seconds
        self._told = seconds()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Note how far it is; say so where the last word was long ago."""
        if self._stream.isatty() and self._seconds() - self._told >= BETWEEN_PROGRESS:
            self._told = self._seconds()
            print(f"{what} {done} of {total}", file=self._stream, flush=True)
