"""Two clocks: one for timers, which nobody sets, and the host's, which tells people what time it is.

Twisted's timers follow the host's clock. Set forward by a day, it would end every build as having taken too long; set
back, no timer would fire for a day. So the daemon makes its reactor *steady*.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

_WALL = "wall_seconds"


def make_steady(reactor: Any) -> None:
    """Let ``reactor.seconds()`` count the time that passes from now on, however the host's clock is set.

    It begins at the host's time, so that timers that were set before keep their moments.
    """
    begun = time.time() - time.monotonic()
    reactor.seconds = lambda: begun + time.monotonic()
    setattr(reactor, _WALL, lambda: time.time())


def wall_seconds(clock: Any) -> float:
    """What the host's clock says, in seconds since 1970; ``clock`` itself where it is not a steady reactor."""
    seconds: float = getattr(clock, _WALL, clock.seconds)()
    return seconds


def wall_time(clock: Any) -> datetime:
    """The same as a moment."""
    return datetime.fromtimestamp(wall_seconds(clock), UTC)
