"""Runs the reactor for one piece of work, or for some that a caller waits for: for a command rather than a daemon."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

from imaginator.model.clock import make_steady

T = TypeVar("T")


def run(work: Callable[[Any], Coroutine[Deferred[Any], Any, T]]) -> T:
    """What ``work``, given the reactor, returns or raises; ``CancelledError`` where a signal interrupted it."""
    from twisted.internet import reactor

    make_steady(reactor)
    return completed(reactor, lambda: work(reactor))


def completed(reactor: Any, work: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T:
    """Run the reactor until ``work`` has ended; a signal that stops the reactor cancels the work, and waits for it."""
    outcome: list[Any] = []

    def begin() -> None:
        running = Deferred.fromCoroutine(work())
        ended: Deferred[None] = Deferred()

        def interrupt() -> Deferred[None]:
            running.cancel()
            return ended

        reactor.addSystemEventTrigger("before", "shutdown", interrupt)
        running.addBoth(outcome.append)
        running.addCallback(lambda _: ended.callback(None))
        running.addCallback(lambda _: _stop(reactor))

    reactor.callWhenRunning(begin)
    reactor.run()
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    result: T = outcome[0]
    return result


class Beside:
    """A context: the reactor runs in a thread, where it starts no processes; the caller's waits for its work."""

    def __enter__(self) -> Self:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        make_steady(reactor)
        self._thread = threading.Thread(target=self.reactor.run, kwargs={"installSignalHandlers": False})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reactor.callFromThread(_stop, self.reactor)
        self._thread.join()

    def wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work``, called in the reactor's thread, returns or raises."""
        result: T = blockingCallFromThread(self.reactor, lambda: ensureDeferred(work()))  # type: ignore[arg-type]
        return result


def _stop(reactor: Any) -> None:
    with contextlib.suppress(ReactorNotRunning):  # a signal was faster
        reactor.stop()
