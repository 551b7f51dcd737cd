"""Turns at what only so many may do at a time, given in the order in which they are asked for.

Whoever has waited is woken in a turn of the reactor of its own. Twisted's locks wake the next one from within the
release, so that a hundred who wait for what takes no time end up in each other's stacks: at Python's limit of recursion
the rest is never woken, and until then nobody else is served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime


class Turns:
    """``size`` turns at a time."""

    def __init__(self, clock: IReactorTime, size: int = 1) -> None:
        self._clock = clock
        self._free = size
        self._waiting: deque[Deferred[None]] = deque()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a turn, which lasts as long as the context; whoever is cancelled meanwhile has taken none."""
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait()
        try:
            yield
        finally:
            self._free += 1
            if self._waiting:
                self._clock.callLater(0, self._give)

    def _wait(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def _give(self) -> None:
        if self._free and self._waiting:
            self._free -= 1
            self._waiting.popleft().callback(None)
