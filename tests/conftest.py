"""What every test gets: a reactor that is left as it was found."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from twisted.internet.defer import CancelledError
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer


@pytest.fixture(autouse=True)
def clean_reactor() -> Iterator[list[Failure]]:
    """No test leaves delayed calls or unnoticed failures behind; one that expects failures clears the list."""
    from twisted.internet import reactor

    before = set(reactor.getDelayedCalls())
    failures: list[Failure] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None and not failure.check(CancelledError):
            failures.append(failure)

    globalLogPublisher.addObserver(observe)
    yield failures
    gc.collect()  # a Deferred's unhandled failure is logged when the Deferred is collected
    globalLogPublisher.removeObserver(observe)
    left = [call for call in reactor.getDelayedCalls() if call not in before]
    for call in left:
        call.cancel()
    assert not failures, failures
    assert not left, left
