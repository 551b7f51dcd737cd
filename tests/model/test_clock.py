"""The clock of timers, and the host's."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from twisted.internet.base import ReactorBase
from twisted.internet.task import Clock

from imaginator.model.clock import make_steady, wall_seconds, wall_time


class Still(ReactorBase):
    """A reactor with timers by the host's clock, and nothing to wait for."""

    def seconds(self) -> float:
        """Looked up at each call, so that a test can set it."""
        return time.time()

    def installWaker(self) -> None:  # noqa: N802
        """None is needed."""


@pytest.mark.parametrize("step", [-86400, 86400])
def test_timers_do_not_follow_a_clock_that_is_set(step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer keeps its moment whichever way the host's clock is set; the time that people see follows it."""
    reactor = Still()
    make_steady(reactor)
    fired: list[str] = []
    reactor.callLater(0, fired.append, "due")
    later = reactor.callLater(3600, fired.append, "later")
    begun, now = reactor.seconds(), time.time()
    monkeypatch.setattr(time, "time", lambda: now + step)
    shown = wall_seconds(reactor)
    reactor.runUntilCurrent()

    assert ["due"] == fired
    assert later.active()
    assert abs(reactor.seconds() - begun) < 3600
    assert now + step == shown


def test_a_clock_that_is_no_steady_reactor() -> None:
    """Its own seconds are the time, as tests want it."""
    clock = Clock()
    clock.advance(60)

    assert datetime(1970, 1, 1, 0, 1, tzinfo=UTC) == wall_time(clock)
