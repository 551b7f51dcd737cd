"""Turns: in order, no more at a time than there are, and none lost."""

from __future__ import annotations

import inspect
import sys

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from imaginator.build.turns import Turns
from imaginator.model.errors import NotFound


class Crowd:
    """Some who want a turn, and leave it when they are let go; ``inside`` has their numbers."""

    def __init__(self, size: int) -> None:
        self.clock = Clock()
        self.turns = Turns(self.clock, size)
        self.inside: list[int] = []
        self._over: dict[int, Deferred[None]] = {}

    def come(self, number: int) -> Deferred[None]:
        """One more."""
        self._over[number] = Deferred()
        return ensureDeferred(self._stay(number))

    async def _stay(self, number: int) -> None:
        async with self.turns.turn():
            self.inside.append(number)
            try:
                await self._over[number]
            finally:
                self.inside.remove(number)

    def go(self, number: int) -> None:
        """Let one leave, and the reactor have a turn."""
        self._over[number].callback(None)
        self.clock.advance(0)


def test_in_order() -> None:
    """Never more than there are turns; who comes while others wait is behind them."""
    crowd = Crowd(2)
    for number in range(4):
        crowd.come(number)
    seen = [list(crowd.inside)]
    for number in range(2):
        crowd.go(number)
        crowd.come(number + 4)
        seen.append(list(crowd.inside))

    assert [[0, 1], [1, 2], [2, 3]] == seen
    for number in (2, 3, 4, 5):
        crowd.go(number)
    assert [] == crowd.inside
    crowd.come(6)
    assert [6] == crowd.inside


def test_work_that_takes_no_time() -> None:
    """However many wait for it, all get there, and each from the reactor."""
    crowd = Crowd(1)
    crowd.come(0)
    done = []
    depths = set()

    async def pass_through(number: int) -> None:
        async with crowd.turns.turn():
            done.append(number)
            depths.add(len(inspect.stack(0)))

    count = 2 * sys.getrecursionlimit()
    waiting = [ensureDeferred(pass_through(number)) for number in range(count)]
    crowd.go(0)
    crowd.clock.pump([0] * count)

    assert 1 == len(depths)
    assert list(range(count)) == done
    assert all(one.called for one in waiting)


def test_who_goes_while_waiting() -> None:
    """The next one is not kept by that, even where it was the other's turn already."""
    crowd = Crowd(1)
    crowd.come(0)
    impatient, patient = crowd.come(1), crowd.come(2)
    crowd._over[0].callback(None)
    impatient.addErrback(lambda failure: failure.trap(CancelledError))
    impatient.cancel()
    crowd.clock.advance(0)

    assert [2] == crowd.inside
    assert not patient.called


def test_work_that_fails() -> None:
    """Its turn is somebody else's afterwards."""
    crowd = Crowd(1)

    async def fail() -> None:
        async with crowd.turns.turn():
            raise NotFound("it")

    failures: list[Failure] = []
    ensureDeferred(fail()).addErrback(failures.append)
    crowd.come(0)

    assert [NotFound] == [failure.type for failure in failures]
    assert [0] == crowd.inside
