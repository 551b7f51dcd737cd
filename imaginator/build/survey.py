"""Asks the packager of an image what it would install now, in a sandbox over that image, of which nothing is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from imaginator.build.construction import Construction
from imaginator.build.recipe import DEVICES, SYSTEM_MOUNTS, index_state, let_resolve, require_packager
from imaginator.build.removing import Remover
from imaginator.model.build import Stage
from imaginator.model.destinations import Destinations
from imaginator.model.durations import format_duration
from imaginator.model.errors import BuildFailed, TimedOut
from imaginator.model.image import Image
from imaginator.model.packagers import PackagerType
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.process import Reactor
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from imaginator.store.interface import ImageStore
from imaginator.store.layers import Layers
from imaginator.store.workers import Workers

GONE = "-"
"""The version of a package that would be removed."""

PATIENCE = 1800.0
"""Seconds in which a packager has to bring its index up to date, and to answer: a round waits for all of them."""

T = TypeVar("T")

_log = Logger()

Prepare = Callable[[Construction], Awaitable[None]]
"""Makes a tree ready for its packager."""

Plan = Mapping[str, str]
"""The versions of packages that the packager would install, by name."""


class SurveyorParts(NamedTuple):
    """What surveys share; their workspaces are made below ``directory``, on the file system of the store."""

    reactor: Reactor
    directory: Path
    store: ImageStore
    layers: Layers
    workers: Workers
    limits: Limits
    destinations: Destinations


class Quiet:
    """A monitor that keeps what is said out of everybody's way."""

    def stage(self, stage: Stage) -> None:
        """Surveys have none."""

    def log(self, data: bytes) -> None:
        """The end of what failed is part of the error."""

    def note(self, text: str) -> None:
        """Tell whoever looks for it."""
        _log.debug("survey: {text}", text=text)


class Survey:
    """A packager that can be asked; ``index`` is the state of its package index, empty where nobody can tell."""

    def __init__(self, construction: Construction, packager: PackagerType, index: str, clock: IReactorTime) -> None:
        self.index = index
        self._construction = construction
        self._packager = packager
        self._clock = clock

    async def plan(self, packages: Sequence[str]) -> Plan:
        """What an upgrade and then the installation of ``packages`` would bring; raises `BuildFailed` or `TimedOut`."""
        command = self._packager.simulate_command
        if not command:
            raise BuildFailed("its packager type has no SimulateCommand")
        return parse_plan(await in_time(self._clock, self._construction.packager_answer("run", *command, *packages)))


class Surveyor:
    """Opens surveys."""

    def __init__(self, parts: SurveyorParts) -> None:
        self._parts = parts
        self._remover = Remover(parts.reactor, parts.workers)
        self._count = 0

    @asynccontextmanager
    async def opened(
        self, image: Image, packager: PackagerType, environment: dict[str, str], prepare: Prepare | None = None
    ) -> AsyncIterator[Survey]:
        """A survey over ``image``, its package index brought up to date; raises `BuildFailed` or `TimedOut`.

        ``prepare`` is called before with the tree. Nothing is left of it when the context is left.
        """
        self._count += 1
        directory = self._parts.directory / f"survey-{self._count}"
        try:
            directory.mkdir(mode=0o700)
            with self._parts.store.hold() as hold:
                await hold.image(image)
                async with self._parts.layers.lent(image) as (_, lowers), self._sandbox(directory, lowers) as sandbox:
                    clock = self._parts.reactor
                    construction = Construction(clock, sandbox, Quiet(), environment, network=True)
                    index = await in_time(clock, _index(construction, packager, prepare))
                    yield Survey(construction, packager, index, clock)
        except OSError as error:
            raise BuildFailed(f"{error.strerror or error}: {error.filename or directory}") from error
        finally:
            await self._remover.remove(directory, _told_trouble)

    @asynccontextmanager
    async def _sandbox(self, directory: Path, lowers: tuple[Path, ...]) -> AsyncIterator[Sandbox]:
        parts = self._parts
        workspace = Workspace(directory, lowers)
        sandbox = await Sandbox.open(
            parts.reactor, workspace, Profile.MANIFEST, parts.limits, destinations=parts.destinations
        )
        try:
            yield sandbox
        finally:
            await sandbox.close()


async def _index(construction: Construction, packager: PackagerType, prepare: Prepare | None) -> str:
    """The state of the package index, brought up to date."""
    await require_packager(construction)
    await construction.tree.make_mount_points([DEVICES, *SYSTEM_MOUNTS])
    if prepare is None:
        await let_resolve(construction)
    else:
        await prepare(construction)
    await construction.packager_online("update")
    index = await index_state(construction, packager.index_command)
    if packager.index_command and not index:
        raise BuildFailed("IndexCommand fails: the state of the package index is not known")
    return index


async def in_time(clock: IReactorTime, work: Coroutine[Deferred[Any], Any, T]) -> T:
    """What ``work`` gives within `PATIENCE`; raises `TimedOut` when it has ended, cancelled for taking longer."""
    try:
        return await Deferred.fromCoroutine(work).addTimeout(PATIENCE, clock)
    except TimeoutError:
        raise TimedOut(f"the packager has not answered after {format_duration(PATIENCE)}") from None


def _told_trouble(words: str) -> None:
    _log.error("survey: {words}", words=words)


def parse_plan(output: bytes) -> dict[str, str]:
    """The plan that a ``SimulateCommand`` printed; names lose the architecture that some packagers add.

    Raises `BuildFailed` for a line that has not two fields.
    """
    plan = {}
    for line in output.decode(errors="replace").splitlines():
        fields = line.split()
        if len(fields) != 2:
            raise BuildFailed(f"SimulateCommand printed {line[:200]!r}: expected a name and a version")
        plan[fields[0].partition(":")[0]] = fields[1]
    return plan


def deviations(plan: Plan, image: Image) -> list[str]:
    """How the packages of ``image`` differ from those that a plan would bring, a few words each."""
    have = {package.name.partition(":")[0]: package.version for package in image.packages}
    return [
        f"{name} {have.get(name, GONE)} → {version}"
        for name, version in sorted(plan.items())
        if _without_zero(have.get(name, GONE)) != _without_zero(version)
    ]


def _without_zero(version: str) -> str:
    """A version without an epoch of 0, which is none: dnf leaves it out, and rpm does not."""
    return version.removeprefix("0:")
