"""Long answers in blocks, as fast as the client takes them: growing logs, and whatever worker threads produce.

One block is in the hands of the transport at a time; of what threads make, one more is ready. When the client goes
away, Klein cancels the handler, which waits either here for the client or in a source for its next block; nothing is
left behind.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer

from imaginator.web.answers import set_headers

if TYPE_CHECKING:
    from imaginator.schedule.builder import LogView
    from imaginator.store.workers import Workers

BLOCK = 64 * 1024
"""Bytes of a block; of what threads make, at least as many."""

Source = Callable[[], Awaitable[bytes]]
"""Returns the next block; an empty one is the end."""

_log = Logger()


@implementer(IPushProducer)
class Gate:
    """Open while the client takes what it gets, closed while its buffers are full."""

    def __init__(self) -> None:
        self._open = True
        self._waiting: Deferred[None] | None = None

    def pauseProducing(self) -> None:  # noqa: N802
        """The client's buffers are full."""
        self._open = False

    def resumeProducing(self) -> None:  # noqa: N802
        """The client took everything."""
        self._open = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:  # noqa: N802
        """The client went away; the handler is cancelled."""

    async def passed(self) -> None:
        """Return when the gate is open."""
        if not self._open:
            self._waiting = Deferred()
            await self._waiting


async def nothing() -> bytes:
    """The source of an empty answer."""
    return b""


async def send(request: Request, source: Source, headers: Mapping[str, str]) -> None:
    """Answer with the blocks of ``source`` under ``headers``.

    An error before the first block is raised; after that the answer is cut off, so that nobody takes it for whole.
    """
    block = await source()
    set_headers(request, headers)
    gate = Gate()
    request.registerProducer(gate, True)
    try:
        while block:
            request.write(block)
            await gate.passed()
            block = await source()
    except CancelledError:
        raise
    except Exception:
        _log.failure("an answer to {path} was cut off", path=request.path.decode("utf-8", "replace"))
        cast(ITCPTransport, request.transport).abortConnection()
    if request.channel is not None:  # the client is still there
        request.unregisterProducer()


def log_blocks(log: LogView, offset: int, follow: bool, until: int) -> Source:
    """The blocks of a build log from ``offset`` to ``until``; with ``follow`` until its build is finished."""

    async def next_block() -> bytes:
        nonlocal offset
        while True:
            last = log.finished or not follow
            block = await log.read(offset, max(0, min(BLOCK, until - offset)))
            offset += len(block)
            if block or last or offset >= until:
                return block
            await log.grown(offset)

    return next_block


class ThreadBlocks:
    """What a generator makes in a worker thread, as a `Source`: one block is made while the one before is sent.

    ``close`` ends the generator, which may hold an open file, wherever it is.
    """

    def __init__(self, parts: Generator[bytes], workers: Workers) -> None:
        self._parts = parts
        self._workers = workers
        self._ahead: Deferred[bytes | Exception] | None = None
        self._making = threading.Lock()

    async def __call__(self) -> bytes:
        """The next block, empty at the end; raises what the iterator raises."""
        block = await (self._ahead or self._workers.run(self._gather))
        if isinstance(block, Exception):
            raise block
        self._ahead = self._workers.run(self._gather) if block else None
        return block

    def _gather(self) -> bytes | Exception:
        """Small parts together; an error as a value, since nobody may be left to ask for it."""
        found: list[bytes] = []
        size = 0
        try:
            with self._making:
                for part in self._parts:
                    found.append(part)
                    size += len(part)
                    if size >= BLOCK:
                        break
        except Exception as error:
            return error
        return found[0] if len(found) == 1 else b"".join(found)

    def close(self) -> Deferred[None]:
        """End it, when the block that is being made is there."""
        return self._workers.run(self._end)

    def _end(self) -> None:
        with self._making:
            self._parts.close()
