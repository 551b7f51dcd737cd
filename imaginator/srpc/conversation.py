"""A connection as two who talk: what comes is awaited, and what goes waits until the peer takes it.

Nothing is read ahead of `MOST_UNREAD`, and nothing is written ahead of what the transport asks for, so that a peer who
does neither costs nothing. Each wait has its time, after which the connection is cut.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from imaginator.srpc.coders import Reading
from imaginator.srpc.decoding import NOTHING_YET
from imaginator.srpc.errors import BadGob, Broken
from imaginator.srpc.unread import Unread

MOST_UNREAD = 512 * 1024
"""Bytes that may lie here unread before the transport is told to wait."""

LONGEST_LINE = 4096
"""Bytes of a method's name, or of the words for a refusal."""

PATIENCE = 60.0
"""Seconds that the next message, or the next block of an object, may take to come whole, or to be taken."""

BLOCK = 1024 * 1024
"""Bytes of an object that are handed on at a time."""

LARGE = 64 * 1024
"""Bytes of a value that are not decoded in the reactor's thread."""

T = TypeVar("T")
Run = Callable[..., Awaitable[Any]]
"""Calls a function in another thread."""


class Conversation(Protocol):
    """One connection. ``run`` is for values that take long; ``patience`` is in seconds.

    Everything that waits raises `Broken` once the connection is gone, and has cut it when that is for the wait's end.
    """

    transport: ITCPTransport

    def __init__(self, clock: IReactorTime, run: Run, patience: float = PATIENCE) -> None:
        self._clock = clock
        self._run = run
        self._patience = patience
        self._unread = Unread()
        self._reason = ""
        self._incoming: Deferred[None] | None = None
        self._taken: Deferred[None] | None = None
        self._full = False
        self._paused = False
        self._computes = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be said."""
        return bool(self._reason)

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Hear of how much the peer takes."""
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined]  # every transport is a consumer

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Keep what has come, for whoever waits for it."""
        self._unread.add(data)
        if len(self._unread) > MOST_UNREAD and not self._paused:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[attr-defined]  # every transport is a producer
        self._wake_reader()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """End all waiting; what has come may still be read."""
        self._end(reason.getErrorMessage())

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The peer takes less than it gets."""
        self._full = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """It takes more."""
        self._full = False
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.callback(None)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """It takes no more: the connection is about to be lost, and its reason is told then."""

    def cut(self, reason: str) -> None:
        """End the connection at once, and all waiting with these words."""
        if not self._reason:
            self._end(reason)
            self.transport.abortConnection()

    def close(self) -> None:
        """End the connection once everything is sent."""
        if not self._reason:
            self._end("closed")
            self.transport.unregisterProducer()  # type: ignore[attr-defined]
            self.transport.loseConnection()

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._wake_reader()
        self.resumeProducing()

    def _wake_reader(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.callback(None)

    async def _more(self) -> None:
        """Wait until something has come."""
        if self._reason:
            raise Broken(self._reason)
        incoming: Deferred[None] = Deferred()
        self._incoming = incoming
        await incoming

    async def is_quiet(self, seconds: float) -> bool:
        """Whether nothing comes for some time, or has come and is unread."""
        if not self._unread:
            late = self._clock.callLater(seconds, self._wake_reader)
            try:
                await self._more()
            finally:
                if late.active():
                    late.cancel()
        return not self._unread

    def _take(self, count: int) -> bytes:
        """The first bytes of what has come, at most so many; the transport may go on once there is room."""
        data = self._unread.take(count)
        if self._paused and len(self._unread) < MOST_UNREAD // 2 and not self._reason:
            self._paused = False
            self.transport.resumeProducing()  # type: ignore[attr-defined]
        return data

    async def line(self, patience: float | None = None) -> str:
        """The next line, without its end."""
        return await self._within(self._line, "a line", patience)

    async def _line(self) -> str:
        while not (length := self._unread.until(b"\n")) and len(self._unread) <= LONGEST_LINE:
            await self._more()
        if not 0 < length <= LONGEST_LINE:
            self.cut(f"a line of more than {LONGEST_LINE} bytes")
            raise Broken(self._reason)
        return self._take(length).decode(errors="replace").rstrip("\r\n")

    async def value(self, reading: Reading, hint: Any) -> Any:
        """The next value of a stream."""
        if (found := self._at_hand(reading, hint)) is not NOTHING_YET:
            return found
        return await self._within(lambda: self._value(reading, hint), "a message")

    def _at_hand(self, reading: Reading, hint: Any) -> Any:
        """The next value, if it has come already and is small: most are, and waiting costs more than reading them."""
        try:
            while (count := reading.wants(self._unread)) and reading.pending + count <= LARGE:
                reading.feed(self._take(count))
                if (found := reading.next(hint)) is not NOTHING_YET:
                    return found
        except BadGob as error:
            raise self._senseless(error) from None
        return NOTHING_YET

    async def _value(self, reading: Reading, hint: Any) -> Any:
        try:
            while True:
                while not (count := reading.wants(self._unread)):
                    await self._more()
                reading.feed(self._take(count))
                if reading.ready and (found := await self._understood(reading, hint)) is not NOTHING_YET:
                    return found
        except BadGob as error:
            raise self._senseless(error) from None

    def _senseless(self, error: BadGob) -> Broken:
        self.cut(str(error))
        return Broken(str(error))

    async def _understood(self, reading: Reading, hint: Any) -> Any:
        """A value of what was fed; the peer is not to blame for the time that this takes."""
        if reading.pending <= LARGE:
            return reading.next(hint)
        self._computes = True
        try:
            return await self._run(reading.next, hint)
        finally:
            self._computes = False

    async def blocks(self, size: int) -> AsyncIterator[bytes]:
        """The next ``size`` bytes, in blocks of `BLOCK` but the last."""
        while size:
            count = min(size, BLOCK)
            at_hand = len(self._unread) >= count
            yield self._take(count) if at_hand else await self._within(partial(self._exactly, count), "an object")
            size -= count

    async def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            if not self._unread:
                await self._more()
            data += self._take(count - len(data))
        return bytes(data)

    async def say(self, data: bytes) -> None:
        """Send bytes, and wait until there is room for more."""
        if self._reason:
            raise Broken(self._reason)
        self.transport.write(data)
        if self._full:
            await self._within(self._room, "the peer to take what it is sent")
        if self._reason:
            raise Broken(self._reason)

    async def _room(self) -> None:
        if self._full and not self._reason:
            taken: Deferred[None] = Deferred()
            self._taken = taken
            await taken

    async def _within(self, wait: Callable[[], Awaitable[T]], what: str, patience: float | None = None) -> T:
        """What ``wait`` gives, which has so many seconds."""
        seconds = self._patience if patience is None else patience
        late = self._clock.callLater(seconds, self._too_late, f"waited {seconds:.0f} s for {what}")
        try:
            return await wait()
        finally:
            if late.active():
                late.cancel()

    def _too_late(self, reason: str) -> None:
        if not self._computes:
            self.cut(reason)
