"""Slots that no build wants just now, for what the daemon does of its own accord: its surveys.

They count as builds do towards what works at a time, so that cycles do not add to the load that the operator allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from twisted.internet.defer import Deferred


class SpareSlots:
    """``taken`` says how many are used; ``offer`` is called whenever there may be some for somebody."""

    def __init__(self) -> None:
        self.taken = 0
        self.offer: Callable[[], None] = lambda: None
        self._waiting: deque[Deferred[None]] = deque()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for a slot, first come, first served, and holds it as long as the context is."""
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        self.offer()
        await turn
        try:
            yield
        finally:
            self.taken -= 1
            self.offer()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for one."""
        return bool(self._waiting)

    def grant(self) -> None:
        """Give a slot to whoever has waited longest."""
        self.taken += 1
        self._waiting.popleft().callback(None)
