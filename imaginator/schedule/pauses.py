"""What is disabled for a while: requests of people, or automatic builds. A restart forgets neither.

While requests are disabled, new ones are refused; builds that are queued go on, since they were promised, and so do
automatic builds. While automatic builds are disabled, a cycle extends the images that it would have rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from imaginator.model.durations import format_duration
from imaginator.model.errors import Refused
from imaginator.model.pauses import Disabled, Pause
from imaginator.store.pauses import PauseTable

LONGEST_WITHOUT_REQUESTS = 86400.0
"""Seconds for which build requests can be disabled."""

MOST_INTERVALS = 4
"""For how many intervals of automatic rebuilds these can be disabled."""

DEFAULT_INTERVAL = 3600.0
"""What stands for the interval where nothing is rebuilt periodically."""


class Pauses:
    """The pauses in force. ``interval`` is the seconds between automatic rebuilds; 0 where there are none."""

    def __init__(self, table: PauseTable, interval: float, now: Callable[[], datetime]) -> None:
        self._table = table
        self._now = now
        self._longest = {
            Disabled.AUTO_BUILDS: MOST_INTERVALS * (interval or DEFAULT_INTERVAL),
            Disabled.BUILD_REQUESTS: LONGEST_WITHOUT_REQUESTS,
        }
        self._pauses: dict[Disabled, Pause] = {}

    async def load(self) -> None:
        """Read what was ordered before a restart."""
        self._pauses = {pause.what: pause for pause in await self._table.list()}

    async def disable(self, what: Disabled, seconds: float, by: str) -> datetime | None:
        """Disable something from now on, in place of an earlier order; 0 seconds enable it, and None is returned.

        Raises `Refused` where that is too long.
        """
        longest = self._longest[what]
        if seconds > longest:
            raise Refused(f"{what} can be disabled for at most {format_duration(longest)}")
        if not seconds:
            await self._table.remove(what)
            self._pauses.pop(what, None)
            return None
        pause = Pause(what, self._now() + timedelta(seconds=seconds), by)
        await self._table.put(pause)
        self._pauses[what] = pause
        return pause.until

    def until(self, what: Disabled) -> datetime | None:
        """When a pause of this kind ends; None where it is enabled."""
        return next((pause.until for pause in self.current() if pause.what is what), None)

    def current(self) -> Sequence[Pause]:
        """What is disabled now."""
        return [pause for pause in self._pauses.values() if pause.until > self._now()]

    def check_requests(self) -> None:
        """Raise `Refused` while build requests are disabled."""
        until = self.until(Disabled.BUILD_REQUESTS)
        if until is not None:
            left = round((until - self._now()).total_seconds())
            raise Refused(f"builds disabled until {until:%d %b %Y %H:%M:%S} UTC (for {format_duration(left)})")
