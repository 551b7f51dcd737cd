"""The disk's reserve: builds wait, room is made, builds go on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from imaginator.model.build import State
from imaginator.model.durations import parse_share
from imaginator.schedule.reserve import BETWEEN_RELIEFS, Relief, Reserve
from tests.support.building import ROOT, building

MB = 1 << 20


class Disk:
    """A tmpfs of 8 MB, of which 6 are taken, with a reserve of half of it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.clock = Clock()
        self.asked: list[int] = []
        self.went_on = 0
        self.take("one", 3)
        self.take("two", 3)

    def take(self, name: str, megabytes: int) -> None:
        """Write a file."""
        (self.place / name).write_bytes(bytes(megabytes * MB))

    def reserve(self, *reliefs: Relief, wanted: str = "50%") -> Reserve:
        """The reserve, which counts how often builds were told to go on."""
        reserve = Reserve(self.clock, self.place, partial(parse_share, wanted), reliefs)
        reserve.go_on = self.goes_on
        return reserve

    def goes_on(self) -> None:
        """Builds may start again."""
        self.went_on += 1

    def relief(self, action: Callable[[], object]) -> Relief:
        """Does something to make room, and remembers how much was wanted."""

        async def make_room(missing: int) -> None:
            self.asked.append(missing)
            action()

        return make_room


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place], check=True)
    yield Disk(place)
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def look(reserve: Reserve) -> None:
    """One look, which has ended when this returns."""
    ended: list[object] = []
    ensureDeferred(reserve.look()).addBoth(ended.append)
    assert [None] == ended


def test_reason_and_end(disk: Disk, said: list[str]) -> None:
    """A sentence while there is too little, a line of the log when that begins and when it ends; builds go on once."""
    reserve = disk.reserve()
    for _ in range(3):
        look(reserve)
    reason = reserve.obstacle()
    (disk.place / "one").unlink()
    for _ in range(3):
        look(reserve)

    assert f"2.0 MiB (25.0 %) free on {disk.place}, the reserve is 4.0 MiB (50.0 %)" == reason
    assert ("", 1) == (reserve.obstacle(), disk.went_on)
    assert ["new builds wait", "new builds go on"] == [line.partition(":")[0] for line in said]


@pytest.mark.parametrize("wanted", ["0", "1M", "25%"])
def test_enough(disk: Disk, wanted: str) -> None:
    """Neither a sentence nor a relief; 0 asks for none."""
    reserve = disk.reserve(disk.relief(lambda: None), wanted=wanted)
    look(reserve)

    assert ("", [], 0) == (reserve.obstacle(), disk.asked, disk.went_on)


def test_a_shortage_between_two_looks(disk: Disk) -> None:
    """A build that met it is started by the next look all the same."""
    reserve = disk.reserve()
    assert reserve.obstacle()
    (disk.place / "one").unlink()
    look(reserve)

    assert 1 == disk.went_on


def test_room_is_made_at_once(disk: Disk) -> None:
    """What can be spared goes, in its order, until there is enough; then builds go on."""
    nothing, one, two = (disk.relief(action) for action in (lambda: None, (disk.place / "one").unlink, pytest.fail))
    look(disk.reserve(nothing, one, two))

    assert ([2 * MB, 2 * MB], 1) == (disk.asked, disk.went_on)


def test_reliefs_that_do_not_help(disk: Disk, clean_reactor: list[Failure]) -> None:
    """They are tried again after a while, not at each look; one that fails keeps none of the others from it."""

    def fail() -> None:
        raise OSError("disk full")

    reserve = disk.reserve(disk.relief(fail), disk.relief(lambda: None))
    for seconds in (0, 1, BETWEEN_RELIEFS):
        disk.clock.advance(seconds)
        look(reserve)

    assert [2 * MB] * 4 == disk.asked
    assert 2 == len(clean_reactor)
    clean_reactor.clear()


def test_a_daemon_that_stops_while_room_is_made(disk: Disk) -> None:
    """What is under way ends, and nothing more is begun."""

    async def endless(_missing: int) -> None:
        await Deferred()

    looking = ensureDeferred(disk.reserve(endless, disk.relief(pytest.fail)).look())
    looking.cancel()
    ended: list[Failure] = []
    looking.addErrback(ended.append)

    assert [True] == [failure.check(CancelledError) is not None for failure in ended]


@pytest_twisted.ensureDeferred
async def test_new_builds_wait_and_running_ones_go_on(tmp_path: Path) -> None:
    """A build that waits for its source gets its slot back; what is new stays queued until nothing is in the way."""
    async with building(tmp_path) as system:
        system.engine.sources["web"] = "base"
        web = await system.submit("web")
        await system.engine.begun("base")
        system.obstacle = "2 % free, the reserve is 5 %"
        waiting = await system.submit("db")
        system.engine.finish("base")
        await system.engine.begun("web")
        system.engine.finish("web")
        ended = await system.builder.wait(web)

        assert (State.SUCCEEDED, State.QUEUED) == (ended.state, (await system.builder.get(waiting)).state)
        assert system.obstacle == system.builder.status().obstacle
        system.obstacle = ""
        begun: Deferred[None] = ensureDeferred(system.engine.begun("db"))
        system.builder.go_on()
        await begun
        await system.builder.cancel(waiting, ROOT)
