"""Making room: what was used longest ago goes first, until the rest is within a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Kept(NamedTuple, Generic[T]):
    """Something that takes room: when it was used last, in any unit that sorts, and its size in bytes."""

    used: float
    what: T
    size: int


def make_room(kept: Iterable[Kept[T]], limit: int, remove: Callable[[T], bool]) -> None:
    """Call ``remove`` on what was used longest ago until the rest takes at most ``limit`` bytes.

    ``remove`` returns False for what has to stay.
    """
    oldest_first = sorted(kept, key=lambda one: one.used)
    excess = sum(one.size for one in oldest_first) - limit
    for one in oldest_first:
        if excess <= 0:
            return
        if remove(one.what):
            excess -= one.size
