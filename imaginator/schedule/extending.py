"""Extensions of images, many in one write: what comes while one is being written goes into the next together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Extension(NamedTuple):
    """An image to extend, and what fires when that is written down."""

    name: str
    written: Deferred[None]


class Extensions:
    """Has images extended by ``write``, which gets their names."""

    def __init__(self, write: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[Extension] = []
        self._is_writing = False

    async def add(self, name: str) -> None:
        """Extend an image; raises what writing raises. Whoever is cancelled only forgets."""
        extension = Extension(name, Deferred())
        self._waiting.append(extension)
        if not self._is_writing:
            self._is_writing = True
            Deferred.fromCoroutine(self._work())
        await extension.written

    async def _work(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting, []
            outcome = await self._outcome([extension.name for extension in some])
            for extension in some:
                if not extension.written.called:
                    extension.written.callback(outcome)
        self._is_writing = False

    async def _outcome(self, names: Sequence[str]) -> Failure | None:
        try:
            await self._write(names)
        except Exception:
            return Failure()
        return None
