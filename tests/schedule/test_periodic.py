"""Periodic work never overlaps, survives its errors and ends with its service."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from imaginator.schedule.periodic import Periodic

_case = SynchronousTestCase()


class Work:
    """Counts its turns, each of which lasts until the test ends it."""

    def __init__(self) -> None:
        self.turns: list[Deferred[None]] = []
        self.cancelled = 0

    def __call__(self) -> Deferred[None]:
        """One turn."""
        self.turns.append(Deferred(self._cancel))
        return self.turns[-1]

    def _cancel(self, _: Deferred[None]) -> None:
        self.cancelled += 1


def test_a_long_turn_is_not_overlapped() -> None:
    """The turns that would have begun meanwhile are left out."""
    clock, work = Clock(), Work()
    periodic = Periodic(clock, "work", 10, work)
    periodic.startService()
    clock.pump([10, 10])
    during = len(work.turns)
    work.turns[0].callback(None)
    clock.advance(10)
    _case.successResultOf(Deferred.fromCoroutine(periodic.stopService()))

    assert (1, 2, 1) == (during, len(work.turns), work.cancelled)


def test_an_error_does_not_end_it(clean_reactor: list[Failure]) -> None:
    """It is logged, and the next turn comes."""
    clock, work = Clock(), Work()
    periodic = Periodic(clock, "work", 10, work)
    periodic.startService()
    work.turns[0].errback(ZeroDivisionError())
    clock.advance(10)
    _case.successResultOf(Deferred.fromCoroutine(periodic.stopService()))

    assert 2 == len(work.turns)
    assert [ZeroDivisionError] == [failure.type for failure in clean_reactor]
    assert [] == clock.getDelayedCalls()
    clean_reactor.clear()
