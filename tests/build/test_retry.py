"""Trying again."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from imaginator.build.retry import DELAYS, retried
from imaginator.model.errors import BuildFailed, ConfigurationError, Unreachable


class Flaky:
    """Fails so many times before it succeeds."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.calls = 0
        self.told: list[str] = []
        self._failures = failures
        self._error = error

    async def attempt(self) -> str:
        """Fail, or not."""
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return "done"


def start(flaky: Flaky, clock: Clock) -> Deferred[str]:
    """Begin, and let all the delays pass."""
    result = ensureDeferred(retried(clock, flaky.attempt, flaky.told.append))
    for delay in DELAYS:
        clock.advance(delay)
    return result


def test_success_after_failures() -> None:
    """What works in the end is a success; each failure was told."""
    flaky = Flaky(2, BuildFailed("no mirror"))
    results: list[str] = []
    start(flaky, Clock()).addCallback(results.append)

    assert (["done"], 3, 2) == (results, flaky.calls, len(flaky.told))
    assert "no mirror\ntrying again in 1 s" == flaky.told[0]


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (BuildFailed("x"), len(DELAYS) + 1),
        (Unreachable("x", "y"), len(DELAYS) + 1),
        (ConfigurationError("x", "y"), 1),
    ],
)
def test_lasting_failure(error: Exception, calls: int) -> None:
    """A lasting failure is raised after the last try, one that no try can mend at once."""
    flaky = Flaky(99, error)
    failures: list[Failure] = []
    start(flaky, Clock()).addErrback(failures.append)

    assert ([error], calls) == ([failure.value for failure in failures], flaky.calls)


def test_cancelled_in_a_pause() -> None:
    """It ends at once, and nothing is tried again."""
    flaky, clock = Flaky(99, BuildFailed("x")), Clock()
    failures: list[Failure] = []
    result = ensureDeferred(retried(clock, flaky.attempt, flaky.told.append)).addErrback(failures.append)
    clock.advance(DELAYS[0])
    result.cancel()

    assert [CancelledError] == [failure.type for failure in failures]
    assert ([], 2) == (clock.getDelayedCalls(), flaky.calls)
