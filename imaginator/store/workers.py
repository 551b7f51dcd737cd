"""The threads for what blocks: hashing, reading objects, merging trees.

A pool of its own, because the reactor's serves name look-ups and is never stopped with a service.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

SWITCH_INTERVAL = 0.0005
"""Seconds after which a computing thread hands the interpreter to the reactor's; Python's own 5 ms would make one
tick of the reactor wait 5 ms for every blocking call in it."""

P = ParamSpec("P")
T = TypeVar("T")


class Workers(Service):
    """``size`` threads. They start with the service; stopping it waits for what they do."""

    def __init__(self, size: int, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, size, "workers")

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Start the threads, and make them give way to the reactor often."""
        super().startService()
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._pool.start()

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Finish what was begun and end the threads."""
        super().stopService()
        self._pool.stop()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """What ``function`` returns or raises, called in one of the threads; cancelling only forgets the result."""
        return deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)
