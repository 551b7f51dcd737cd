"""Surveys over a system that is nothing but busybox, whose packager believes what its environment says.

``MIRROR`` is what the mirror has, ``VERSION`` the version of all packages there, and ``BROKEN`` and ``HANGS`` name the
step that fails or never ends: ``update`` or ``simulate``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.task import deferLater

from imaginator.build.survey import Prepare, Survey, Surveyor, SurveyorParts
from imaginator.model.destinations import EVERYWHERE
from imaginator.model.image import Image
from imaginator.model.packagers import PackagerType
from imaginator.sandbox.limits import Limits
from tests.support.house import PACKAGER, House
from tests.support.real_reactor import reactor

STEP = """
step={step}
if test "${{HANGS-}}" = $step
then
    mkdir -p /var
    echo > /var/hanging
    trap '' TERM
    sleep 3600 &
    while true; do sleep 3600; done
fi
test "${{BROKEN-}}" != $step || {{ echo "no $step today" >&2; exit 7; }}
"""
UPDATE = STEP.format(step="update") + 'mkdir -p /var; echo "${MIRROR-1}" > /var/index; cat /etc/own >> /var/index || :'
SIMULATE = STEP.format(step="simulate") + 'for name; do echo "$name ${VERSION-1}"; done'

ASKABLE: PackagerType = replace(
    PACKAGER,
    update_command=("sh", "-c", UPDATE),
    index_command=("cat", "/var/index"),
    simulate_command=("sh", "-c", SIMULATE, "simulate"),
)
"""Installs version 1 of everything."""

PATH = {"PATH": "/bin"}


class Counting(Surveyor):
    """Counts the surveys that it opens."""

    opened_so_far = 0

    @asynccontextmanager
    async def opened(
        self, image: Image, packager: PackagerType, environment: dict[str, str], prepare: Prepare | None = None
    ) -> AsyncIterator[Survey]:
        """A survey, counted."""
        self.opened_so_far += 1
        async with super().opened(image, packager, environment, prepare) as survey:
            yield survey


def places(house: House) -> Path:
    """Where surveys have their workspaces."""
    directory = house.directory / "state/builds"
    directory.mkdir(exist_ok=True)
    return directory


def surveyor(house: House) -> Counting:
    """Opens surveys beside the builds of a house."""
    rest: Any = (places(house), house.store, house.layers, house.workers, Limits(), EVERYWHERE)
    return Counting(SurveyorParts(reactor, *rest))


async def hanging(house: House) -> None:
    """Return when a packager hangs."""
    while not list(places(house).glob("survey-*/upper/var/hanging")):
        await deferLater(reactor, 0.01)
