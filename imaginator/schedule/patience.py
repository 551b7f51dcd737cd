"""How long a stream whose automatic build keeps failing is left alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

LONGEST = 86400.0
"""Seconds between two tries at most."""


class Failures(NamedTuple):
    """In a row, for the same reason to build; before ``until`` it is not tried again."""

    times: int
    reason: str
    until: datetime


class Patience:
    """Remembers failures. After each the pause is twice as long, beginning with one ``interval`` in seconds."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._failures: dict[str, Failures] = {}

    def failed(self, stream: str, reason: str, now: datetime) -> None:
        """A build that was made for ``reason`` has failed."""
        known = self._failures.get(stream)
        times = known.times + 1 if known and known.reason == reason else 1
        # Half an interval less: a cycle that begins a moment early is meant, too.
        seconds = min(self._interval * 2 ** min(times - 1, 32), LONGEST) - self._interval / 2
        self._failures[stream] = Failures(times, reason, now + timedelta(seconds=seconds))

    def forget(self, stream: str) -> None:
        """All is well again."""
        self._failures.pop(stream, None)

    def pause(self, stream: str, reason: str, now: datetime) -> str:
        """Why it is not tried now, in words; empty where it is: there is something new, or the pause is over."""
        known = self._failures.get(stream)
        if known is None or known.reason != reason or known.until <= now:
            return ""
        often = "once" if known.times == 1 else f"{known.times} times in a row"
        return f"its build failed {often}, it is tried again after {known.until:%Y-%m-%d %H:%M} UTC"
