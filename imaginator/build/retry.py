"""Trying again what needs the network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from imaginator.model.errors import BuildFailed, Unreachable

DELAYS = (1.0, 3.0, 9.0)
"""Seconds to wait before each further try."""

T = TypeVar("T")

Tell = Callable[[str], None]
"""Hears why something is tried again, and when."""


async def retried(clock: IReactorTime, attempt: Callable[[], Awaitable[T]], tell: Tell) -> T:
    """What ``attempt`` gives, tried again after each of `DELAYS`; ``tell`` hears of every failure but the last.

    Only `BuildFailed` and `Unreachable` are worth another try; the last one is raised.
    """
    for delay in DELAYS:
        try:
            return await attempt()
        except (BuildFailed, Unreachable) as error:
            tell(f"{error}\ntrying again in {delay:.0f} s")
        await deferLater(clock, delay)
    return await attempt()
