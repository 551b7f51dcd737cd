"""Streams that keep failing are tried less and less often."""

from __future__ import annotations

from twisted.internet.task import Clock

from imaginator.schedule.patience import LONGEST, Patience

HOUR = 3600.0


def waited(patience: Patience, clock: Clock) -> int:
    """How many hours until the stream is tried again, by the hour."""
    hours = 0
    while patience.pause("web", "new"):
        clock.advance(HOUR)
        hours += 1
    return hours


def test_pauses_double_up_to_a_day() -> None:
    """After the first failure the next cycle tries again."""
    clock = Clock()
    patience, pauses = Patience(HOUR, clock), []
    for _ in range(7):
        patience.failed("web", "new")
        pauses.append(waited(patience, clock))

    assert [1, 2, 4, 8, 16, 24, 24] == pauses
    assert LONGEST == 24 * HOUR


def test_what_ends_a_pause() -> None:
    """Another reason to build, and a good build; another stream never had one."""
    patience = Patience(HOUR, Clock())
    patience.failed("web", "new")

    assert "its build failed once, it is tried again after 1970-01-01 00:30 UTC" in patience.pause("web", "new")
    assert ["", ""] == [patience.pause("web", "newer"), patience.pause("db", "new")]
    patience.failed("web", "newer")
    assert "failed once" in patience.pause("web", "newer")
    patience.forget("web")
    assert "" == patience.pause("web", "newer")


def test_without_an_interval() -> None:
    """Cycles are started by hand: whoever does so wants a try."""
    patience = Patience(0, Clock())
    patience.failed("web", "new")
    assert "" == patience.pause("web", "new")


def test_the_time_is_set_back() -> None:
    """A pause lasts as long as it was to, and its end is told by the time as it is."""
    clock = Clock()
    clock.advance(24 * HOUR)
    patience = Patience(HOUR, clock)
    patience.failed("web", "new")
    clock.wall_seconds = lambda: 0.0  # type: ignore[attr-defined]

    assert "tried again after 1970-01-01 00:30 UTC" in patience.pause("web", "new")
    clock.advance(HOUR / 2)
    assert "" == patience.pause("web", "new")
