"""Streams that keep failing are tried less and less often."""

from __future__ import annotations

from datetime import datetime, timedelta

from imaginator.schedule.patience import LONGEST, Patience
from tests.support.fake_builder import START

HOUR = 3600.0


def waited(patience: Patience, begin: datetime) -> timedelta:
    """How long until the stream is tried again, by the hour."""
    hours = 0
    while patience.pause("web", "new", begin + timedelta(hours=hours)):
        hours += 1
    return timedelta(hours=hours)


def test_pauses_double_up_to_a_day() -> None:
    """After the first failure the next cycle tries again."""
    patience, pauses = Patience(HOUR), []
    for _ in range(7):
        patience.failed("web", "new", START)
        pauses.append(waited(patience, START) / timedelta(hours=1))

    assert [1, 2, 4, 8, 16, 24, 24] == pauses
    assert LONGEST == 24 * HOUR


def test_what_ends_a_pause() -> None:
    """Another reason to build, and a good build; another stream never had one."""
    patience = Patience(HOUR)
    patience.failed("web", "new", START)

    assert "its build failed once, it is tried again after 2026-" in patience.pause("web", "new", START)
    assert ["", ""] == [patience.pause("web", "newer", START), patience.pause("db", "new", START)]
    patience.failed("web", "newer", START)
    assert "failed once" in patience.pause("web", "newer", START)
    patience.forget("web")
    assert "" == patience.pause("web", "newer", START)


def test_without_an_interval() -> None:
    """Cycles are started by hand: whoever does so wants a try."""
    patience = Patience(0)
    patience.failed("web", "new", START)
    assert "" == patience.pause("web", "new", START)
