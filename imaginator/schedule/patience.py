"""How long a stream whose automatic build keeps failing is left alone."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from imaginator.model.clock import wall_time

LONGEST = 86400.0
"""Seconds between two tries at most."""


class Failures(NamedTuple):
    """In a row, for the same reason to build; before ``until``, in the clock's seconds, it is not tried again."""

    times: int
    reason: str
    until: float


class Patience:
    """Remembers failures. After each the pause is twice as long, beginning with one ``interval`` in seconds."""

    def __init__(self, interval: float, clock: IReactorTime) -> None:
        self._interval = interval
        self._clock = clock
        self._failures: dict[str, Failures] = {}

    def failed(self, stream: str, reason: str) -> None:
        """A build that was made for ``reason`` has failed."""
        known = self._failures.get(stream)
        times = known.times + 1 if known and known.reason == reason else 1
        # Half an interval less: a cycle that begins a moment early is meant, too.
        seconds = min(self._interval * 2 ** min(times - 1, 32), LONGEST) - self._interval / 2
        self._failures[stream] = Failures(times, reason, self._clock.seconds() + seconds)

    def forget(self, stream: str) -> None:
        """All is well again."""
        self._failures.pop(stream, None)

    def pause(self, stream: str, reason: str) -> str:
        """Why it is not tried now, in words; empty where it is: there is something new, or the pause is over."""
        known = self._failures.get(stream)
        left = known.until - self._clock.seconds() if known and known.reason == reason else 0
        if known is None or left <= 0:
            return ""
        often = "once" if known.times == 1 else f"{known.times} times in a row"
        until = wall_time(self._clock) + timedelta(seconds=left)
        return f"its build failed {often}, it is tried again after {until:%Y-%m-%d %H:%M} UTC"
