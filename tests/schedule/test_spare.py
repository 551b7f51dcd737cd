"""Slots that no build wants: for surveys, which count as builds do and come after them."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import deferLater

from imaginator.model.build import State
from imaginator.model.errors import Refused
from tests.support.building import LIMITS, Building, building
from tests.support.real_reactor import reactor

TWO = LIMITS._replace(concurrent=2)


class Guest:
    """Takes a slot when it can, until it is let go."""

    def __init__(self, system: Building) -> None:
        self.inside = False
        self._over: Deferred[None] = Deferred()
        self.life = ensureDeferred(self._live(system))

    async def _live(self, system: Building) -> None:
        async with system.spare.turn():
            self.inside = True
            await self._over
        self.inside = False

    def go(self) -> None:
        """Give the slot back."""
        self._over.callback(None)


@pytest_twisted.ensureDeferred
async def test_builds_and_surveys_together(tmp_path: Path) -> None:
    """Never more than the maximum at work; builds that wait come first, whoever waits longer."""
    async with building(tmp_path, TWO) as system:
        guests = [Guest(system) for _ in range(3)]
        before = [guest.inside for guest in guests]
        build = await system.submit("web")
        waiting = (await system.builder.get(build)).state
        with pytest.raises(Refused, match="busy"):
            await system.submit("db", fail_if_busy=True)
        guests[0].go()
        await system.engine.begun("web")
        while_building = [guest.inside for guest in guests]
        guests[1].go()
        between = [guest.inside for guest in guests]
        system.engine.finish("web")
        await system.builder.wait(build)
        guests[2].go()

    assert [True, True, False] == before
    assert State.QUEUED is waiting
    assert [False, True, False] == while_building
    assert [False, False, True] == between
    assert 0 == system.spare.taken


@pytest_twisted.ensureDeferred
async def test_the_disk_is_short(tmp_path: Path) -> None:
    """Surveys write, too: they wait as builds do, and go on with them."""
    async with building(tmp_path, TWO) as system:
        system.obstacle = "the disk is short"
        guest = Guest(system)
        before = guest.inside
        system.obstacle = ""
        system.builder.go_on()

        assert (False, True) == (before, guest.inside)
        guest.go()


@pytest_twisted.ensureDeferred
async def test_who_does_not_wait_any_more(tmp_path: Path) -> None:
    """Takes no slot of others."""
    async with building(tmp_path, TWO._replace(concurrent=1)) as system:
        first, second, third = (Guest(system) for _ in range(3))
        second.life.cancel()
        with pytest.raises(CancelledError):
            await second.life
        first.go()
        await deferLater(reactor, 0)

        assert (False, True, 1) == (second.inside, third.inside, system.spare.taken)
        third.life.cancel()
        with pytest.raises(CancelledError):
            await third.life
        assert 0 == system.spare.taken
