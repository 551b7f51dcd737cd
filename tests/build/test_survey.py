"""Surveys of a real image: what a packager says, how it fails, and that nothing is left of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults

from imaginator.build.construction import Construction
from imaginator.model.errors import BuildFailed, TimedOut
from imaginator.model.image import Image
from tests.support.house import House
from tests.support.surveys import ASKABLE, PATH, Counting, hanging, places, surveyor


@pytest.fixture
def askable(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house whose packager can be asked, and is not asked again where it fails."""
    monkeypatch.setattr("imaginator.build.retry.DELAYS", ())
    return house.with_packager(ASKABLE)


async def told(surveys: Counting, image: Image, more: Mapping[str, str] = {}) -> tuple[str, dict[str, str]]:
    """The index, and what two packages would be."""
    async with surveys.opened(image, ASKABLE, {**PATH, **more}) as survey:
        return survey.index, {**await survey.plan(["ping", "pong"])}


def asked(surveys: Counting, image: Image, more: Mapping[str, str] = {}) -> Deferred[tuple[str, dict[str, str]]]:
    """The same, begun."""
    return ensureDeferred(told(surveys, image, more))


@pytest_twisted.ensureDeferred
async def test_what_a_packager_says(askable: House) -> None:
    """Its index is named, and told from another one; the plan is today's; the image is as before."""
    image, surveys = await askable.bootstrap(), surveyor(askable)
    before = askable.tree(image)

    first, again = await told(surveys, image), await told(surveys, image)
    newer = await told(surveys, image, {"MIRROR": "2", "VERSION": "1.1"})

    assert first == again
    assert first[0] != newer[0]
    assert ({"ping": "1", "pong": "1"}, {"ping": "1.1", "pong": "1.1"}) == (first[1], newer[1])
    assert before == askable.tree(image)
    assert [] == list(places(askable).iterdir())


@pytest_twisted.ensureDeferred
async def test_side_by_side(askable: House) -> None:
    """Surveys of one image see nothing of each other; one that fails leaves the others alone."""
    image, surveys = await askable.bootstrap(), surveyor(askable)
    good = [asked(surveys, image, {"VERSION": str(number)}) for number in range(3)]
    bad = asked(surveys, image, {"BROKEN": "update"})

    with pytest.raises(BuildFailed, match="package update: exit status 7\nno update today"):
        await bad
    plans = [plan["ping"] for _, plan in await gatherResults(good)]

    assert ["0", "1", "2"] == plans


@pytest.mark.parametrize(
    ("packager", "more", "problem"),
    [
        ({}, {"BROKEN": "simulate"}, "package run: exit status 7\nno simulate today"),
        ({}, {"VERSION": "1 of 2"}, "SimulateCommand printed 'ping 1 of 2': expected a name and a version"),
        ({"simulate_command": ()}, {}, "its packager type has no SimulateCommand"),
        ({"index_command": ("cat", "/absent")}, {}, "IndexCommand fails"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_packagers_that_cannot_tell(
    askable: House, packager: dict[str, tuple[str, ...]], more: dict[str, str], problem: str
) -> None:
    """Each is named, and nothing is taken for an answer."""
    image, surveys = await askable.bootstrap(), surveyor(askable)

    with pytest.raises(BuildFailed, match=problem):
        async with surveys.opened(image, replace(ASKABLE, **packager), {**PATH, **more}) as survey:
            await survey.plan(["ping"])


@pytest.mark.parametrize("step", ["update", "simulate"])
@pytest_twisted.ensureDeferred
async def test_one_that_hangs(askable: House, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """It gets some time, and ends then with everything in it, whatever it does about signals."""
    monkeypatch.setattr("imaginator.build.survey.PATIENCE", 2.0)
    image, surveys = await askable.bootstrap(), surveyor(askable)

    with pytest.raises(TimedOut, match="the packager has not answered after 2s"):
        await told(surveys, image, {"HANGS": step})

    assert [] == list(places(askable).iterdir())


@pytest.mark.parametrize("step", ["update", "simulate"])
@pytest_twisted.ensureDeferred
async def test_one_that_is_cancelled(askable: House, step: str) -> None:
    """When that is over nothing is left of it, and others go on."""
    image, surveys = await askable.bootstrap(), surveyor(askable)
    doomed = asked(surveys, image, {"HANGS": step})
    await hanging(askable)

    doomed.cancel()
    with pytest.raises(CancelledError):
        await doomed

    assert [] == list(places(askable).iterdir())
    assert "1" == (await told(surveys, image))[1]["ping"]


@pytest_twisted.ensureDeferred
async def test_a_tree_of_ones_own(askable: House) -> None:
    """What is prepared is there before the packager looks, and can be removed however deep it is."""
    image, surveys = await askable.bootstrap(), surveyor(askable)

    async def prepare(construction: Construction) -> None:
        script = "echo own > /etc/own; i=0; while [ $i -lt 1500 ]; do mkdir d; cd d; i=$((i + 1)); done"
        await construction.command("prepare", ["sh", "-c", script])

    async with surveys.opened(image, ASKABLE, PATH, prepare) as survey:
        own = survey.index

    assert own != (await told(surveys, image))[0]
    assert [] == list(places(askable).iterdir())


@pytest_twisted.ensureDeferred
async def test_no_room_for_a_workspace(askable: House) -> None:
    """It is the survey's failure, which its stream is told of."""
    image, surveys = await askable.bootstrap(), surveyor(askable)
    (places(askable) / "survey-1").mkdir()

    with pytest.raises(BuildFailed, match="File exists: .*survey-1"):
        await told(surveys, image)
