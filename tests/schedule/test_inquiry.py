"""Questions to packagers: who shares an answer, who shares a failure, and what is left when nobody asks any more."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred, gatherResults

from imaginator.build.construction import Construction
from imaginator.model.errors import BuildFailed
from imaginator.model.fingerprint import Fingerprint
from imaginator.model.image import Image, Package
from imaginator.model.settings import Settings
from imaginator.schedule.inquiry import Alone, Inquiry, Line, Question, question_of
from imaginator.schedule.spare import SpareSlots
from tests.support.house import House, open_house
from tests.support.real_reactor import reactor
from tests.support.surveys import ASKABLE, PATH, hanging, places, surveyor

NAMES = ("ping", "pong")
CHANGED = "packages: ping 1 → 2, pong 1 → 2"


class Asking:
    """An inquiry with one slot over a bootstrap image; ``seen`` is the index of an image that saw ``MIRROR`` 1."""

    def __init__(self, house: House, source: Image) -> None:
        self.house = house
        self.source = source
        self.slots = SpareSlots()
        self.slots.offer = self._offer
        self.surveyor = surveyor(house)
        self.inquiry = Inquiry(reactor, self.surveyor, self.slots)
        self.lines: dict[str, Line] = {}
        self.seen = ""

    def _offer(self) -> None:
        if self.slots.wanted and not self.slots.taken:
            self.slots.grant()

    async def look(self) -> None:
        """Learn what an image saw."""
        async with self.surveyor.opened(self.source, ASKABLE, PATH) as survey:
            self.seen = survey.index
        self.surveyor.opened_so_far = 0

    def image(self, index: str | None = None) -> Image:
        """An image with version 1 of two packages, made from an index."""
        packages = tuple(Package(name, "1") for name in NAMES)
        made_from = Fingerprint(index=self.seen if index is None else index)
        return replace(self.source, packages=packages, fingerprint=made_from)

    def ask(
        self, image: Image, names: tuple[str, ...] = NAMES, alone: Alone | None = None, **more: str
    ) -> Deferred[str]:
        """How an image differs from what the packager would install, in this round."""
        question = Question(self.source, {**PATH, **more}, ASKABLE, names, alone)
        return ensureDeferred(self.inquiry.differences(image, question, self.lines))

    async def closed(self) -> None:
        """Wait until nothing is left of this round."""
        for line in self.lines.values():
            await line.closed()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house whose packager can be asked, and is not asked again where it fails."""
    monkeypatch.setattr("imaginator.build.retry.DELAYS", ())
    with open_house(tmp_path) as house:
        yield house.with_packager(ASKABLE)


@pytest_twisted.async_yield_fixture
async def asked(house: House) -> AsyncIterator[Asking]:
    """Over a new image."""
    made = Asking(house, await house.bootstrap())
    await made.look()
    yield made
    await made.closed()


@pytest_twisted.ensureDeferred
async def test_one_survey_for_all(asked: Asking) -> None:
    """Five streams share a survey, and each gets its own answer; what saw the same index is not simulated."""
    older = asked.image("older")
    answers = await gatherResults(
        [
            asked.ask(asked.image(), BROKEN="simulate"),
            asked.ask(older),
            asked.ask(older, ("ping",), VERSION="2"),
            asked.ask(older, VERSION="2"),
            asked.ask(older, ("other",), VERSION="2"),
        ]
    )

    await asked.closed()
    assert ["", "", "packages: ping 1 → 2", CHANGED, "packages: other - → 2"] == answers
    assert 3 == asked.surveyor.opened_so_far == len(asked.lines)
    assert 0 == asked.slots.taken


@pytest_twisted.ensureDeferred
async def test_as_many_as_there_may_be(asked: Asking) -> None:
    """Hundreds for whom it takes no time any more are all answered, and not from within each other."""
    depths = []

    def note(answer: str) -> str:
        depths.append(len(inspect.stack(0)))
        return answer

    answers = await gatherResults([asked.ask(asked.image()).addCallback(note) for _ in range(500)])

    assert [""] * 500 == answers
    assert max(depths) < min(depths) + 20


@pytest_twisted.ensureDeferred
async def test_a_failure_is_shared(asked: Asking) -> None:
    """A mirror that does not answer is tried once a round for all who need it, and keeps nobody else."""
    bad = DeferredList([asked.ask(asked.image(), BROKEN="update") for _ in range(3)], consumeErrors=True)
    good = asked.ask(asked.image("older"), VERSION="2")

    problems = [str(getattr(failure, "value", failure)) for _, failure in await bad]

    assert CHANGED == await good
    assert ["package update: exit status 7\nno update today"] * 3 == problems
    assert 2 == asked.surveyor.opened_so_far
    await asked.closed()
    asked.lines.clear()
    assert "" == await asked.ask(asked.image())


@pytest_twisted.ensureDeferred
async def test_an_answer_that_fails(asked: Asking) -> None:
    """It is that of one list alone: the next one is asked over the same survey."""
    bad = asked.ask(asked.image("older"), ("1 2",))
    good = asked.ask(asked.image("older"))

    with pytest.raises(BuildFailed, match="expected a name and a version"):
        await bad
    assert "" == await good
    assert 1 == asked.surveyor.opened_so_far


@pytest_twisted.ensureDeferred
async def test_one_who_goes_away(asked: Asking) -> None:
    """The next one in line asks anew, with the one slot there is; when all have gone nothing is left."""
    first = asked.ask(asked.image(), HANGS="update")
    second = asked.ask(asked.image(), HANGS="update")
    await hanging(asked.house)
    first.cancel()
    with pytest.raises(CancelledError):
        await first
    await hanging(asked.house)
    second.cancel()
    with pytest.raises(CancelledError):
        await second

    await asked.closed()
    assert [] == list(places(asked.house).iterdir())
    assert 2 == asked.surveyor.opened_so_far
    assert 0 == asked.slots.taken


@pytest_twisted.ensureDeferred
async def test_who_waits_for_a_slot_and_goes(asked: Asking) -> None:
    """Whoever goes before there is one has taken none, and opens nothing."""
    async with asked.slots.turn():
        waiting = asked.ask(asked.image())
        waiting.cancel()
        with pytest.raises(CancelledError):
            await waiting

        assert (0, 1) == (asked.surveyor.opened_so_far, asked.slots.taken)
    assert "" == await asked.ask(asked.image())


@pytest_twisted.ensureDeferred
async def test_a_stream_that_brings_something(asked: Asking) -> None:
    """It is asked alone where the index is not the one its build saw, over a tree that has what it brings."""
    brought = []

    async def prepare(construction: Construction) -> None:
        brought.append(True)
        await construction.command("prepare", ["sh", "-c", "echo own > /etc/own"])

    alone = Alone({**PATH, "VERSION": "2"}, prepare)
    async with asked.surveyor.opened(asked.source, ASKABLE, PATH, prepare) as survey:
        own = survey.index
    del brought[:]
    asked.surveyor.opened_so_far = 0

    assert "" == await asked.ask(asked.image(), alone=alone)
    assert [] == brought
    assert "" == await asked.ask(asked.image(own), alone=alone)
    assert CHANGED == await asked.ask(asked.image("older"), alone=alone)
    assert [True, True] == brought
    assert 3 == asked.surveyor.opened_so_far


def test_what_is_one_streams_alone() -> None:
    """Two streams share a survey though their names are in their environments; another variable is another one."""
    source = Image(name="base/1", root=None, created_at=None, packager_type="fake")  # type: ignore[arg-type]
    settings = Settings(
        packager_types={"fake": ASKABLE, "mute": replace(ASKABLE, index_command=(), simulate_command=())}
    )
    web = question_of(settings, source, {"IMAGE_STREAM": "web", "A": "1"})
    other = question_of(settings, source, {"IMAGE_STREAM": "other", "MANIFEST_GIT_COMMIT_ID": "12", "A": "1"})
    more = question_of(settings, source, {"A": "2"})

    assert web is not None
    assert other is not None
    assert more is not None
    assert web.survey == other.survey != more.survey
    assert question_of(settings, replace(source, packager_type="mute"), {}) is None
    assert question_of(settings, replace(source, packager_type="gone"), {}) is None
