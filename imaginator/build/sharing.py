"""One piece of work for many who wait: it is nobody's, and whoever goes away changes nothing for the others."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class Shared(Generic[T]):
    """Begins ``work`` at once; `result` may be awaited by any number, before and after its end."""

    def __init__(self, work: Awaitable[T]) -> None:
        self._outcome: list[T | Failure] = []
        self._waiters: list[Deferred[T]] = []
        self._work = Deferred.fromCoroutine(self._do(work))

    async def _do(self, work: Awaitable[T]) -> None:
        try:
            self._outcome.append(await work)
        except BaseException:
            self._outcome.append(Failure())
        self._tell()

    @property
    def has_ended(self) -> bool:
        """Whether there is a result, which may be so as soon as the work has begun."""
        return bool(self._outcome)

    def result(self) -> Deferred[T]:
        """What the work gives, or raises; cancelling only forgets."""
        waiter: Deferred[T] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        if self._outcome:
            self._tell()
        return waiter

    async def end(self) -> None:
        """End the work, for all, and return when it has ended; what becomes of it is for those who wait."""
        self._work.cancel()
        with suppress(Exception, CancelledError):
            await self.result()

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(self._outcome[0])
