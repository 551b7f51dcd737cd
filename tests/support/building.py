"""A builder over the real catalogue, queue, archive and configuration, whose engine a test moves by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from imaginator.build.fetch import Fetcher
from imaginator.build.job import Job, SourceResolver, SourceWish
from imaginator.build.monitor import Monitor
from imaginator.build.sources import Sources
from imaginator.model.build import BuildRequest, Stage
from imaginator.model.identity import Caller
from imaginator.model.image import Image
from imaginator.model.tree import Entry, Inode, Kind
from imaginator.sandbox.limits import Limits
from imaginator.schedule.admission import BuildLimits
from imaginator.schedule.builder import Builder
from imaginator.schedule.configuration import Configuration, ConfigurationParts
from imaginator.schedule.dependencies import Dependencies, DependencyParts
from imaginator.schedule.jobs import Jobs
from imaginator.schedule.pauses import Pauses
from imaginator.schedule.queue import Queue
from imaginator.schedule.runner import RunnerParts
from imaginator.schedule.shells import ShellParts, Shells
from imaginator.schedule.spare import SpareSlots
from imaginator.schedule.trouble import Trouble
from imaginator.store.history import History
from imaginator.store.images import EmbeddedStore
from imaginator.store.kept import Kept
from imaginator.store.logs import LogArchive
from imaginator.store.pauses import PauseTable
from tests.support.store_parts import Forest, StoreParts, running_store

HOUR = 3600.0
ROOT = Caller("root", full_access=True)
ALICE = Caller("alice")
LIMITS = BuildLimits(
    concurrent=4,
    concurrent_per_user=1,
    maximum_duration=24 * HOUR,
    minimum_expiration=900.0,
    maximum_expiration=24 * HOUR,
    maximum_expiration_privileged=730 * HOUR,
)
STREAMS = ("web", "db", "base", "deep")


def request(stream: str = "web", **fields: Any) -> BuildRequest:
    """A request for an image that lives for an hour."""
    return BuildRequest(stream_name=stream, **{"expires_in": HOUR, **fields})


async def add_image(store: EmbeddedStore, stream: str, now: datetime, **fields: Any) -> Image:
    """An image of an empty tree."""
    forest = Forest()
    root: Entry = forest.plant({b"/": Inode(Kind.DIRECTORY, 0o755)})
    return await store.add(Image(name=stream, root=root, created_at=now, **fields), forest.nodes, [])


class FakeEngine:
    """Builds last until a test calls `finish` or `fail`.

    ``sources`` says on what a stream's manifest builds, ``tags`` what the images of a stream get.
    """

    def __init__(self, store: EmbeddedStore, now: Callable[[], datetime]) -> None:
        self.sources: dict[str, str | SourceWish] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.jobs: list[Job] = []
        self.found: list[Image] = []
        self.cleaned: list[str] = []
        self._store = store
        self._now = now
        self._working: dict[str, Deferred[None]] = {}
        self._expected: dict[str, Deferred[None]] = {}

    async def build(self, job: Job, monitor: Monitor, source: SourceResolver, _failed: Callable[[], bool]) -> Image:
        """An image, when the test lets it be."""
        name = job.stream_name
        self.jobs.append(job)
        monitor.stage(Stage.FETCH)
        monitor.log(b"building " + name.encode() + b"\n")
        try:
            if name in self.sources:
                wish = self.sources[name]
                self.found.append(await source(SourceWish(wish, "", {}, {}) if isinstance(wish, str) else wish))
            await self._work(name)
        finally:
            self.cleaned.append(name)
        return await add_image(self._store, name, self._now(), tags=self.tags.get(name, {}))

    async def _work(self, name: str) -> None:
        working: Deferred[None] = Deferred()
        self._working[name] = working
        if name in self._expected:
            # Later: the test must not go on inside the build.
            cast(IReactorTime, reactor).callLater(0, self._expected.pop(name).callback, None)
        try:
            await working
        finally:
            del self._working[name]

    @property
    def working(self) -> set[str]:
        """The streams whose builds are at work; those that wait for a source are not."""
        return set(self._working)

    async def begun(self, *names: str) -> None:
        """Return when builds of all these streams are at work."""
        for name in names:
            if name not in self._working:
                self._expected[name] = Deferred()
                await self._expected[name]

    def finish(self, name: str) -> None:
        """Let a build succeed."""
        self._working[name].callback(None)

    def fail(self, name: str, error: Exception) -> None:
        """Let a build fail."""
        self._working[name].errback(error)


class Files:
    """The configuration's files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.main = folder / "conf.json"
        self.streams = folder / "streams.json"
        self.variables = folder / "variables"
        self.write_main({"boot": "deb"}, {"deb": {}})
        self.write_streams(STREAMS)
        self.variables.write_text("TOKEN=correct-horse\n")

    def write_main(self, bootstraps: Mapping[str, str], packagers: Mapping[str, Any], **fields: Any) -> None:
        """Bootstrap streams with their packager types, which are given too."""
        streams = {
            name: {"BootstrapCommand": ["true"], "PackagerType": packager} for name, packager in bootstraps.items()
        }
        settings = {"BootstrapStreams": streams, "PackagerTypes": packagers, "ImageStreamsUrl": str(self.streams)}
        self.main.write_text(json.dumps({**settings, **fields}))

    def write_streams(self, names: Iterable[str]) -> None:
        """Streams that alice may build, and the members of the group builders."""
        stream = {"ManifestUrl": "dir:///manifests", "BuilderUsers": ["alice", "bob"], "BuilderGroups": ["builders"]}
        self.streams.write_text(json.dumps({"Streams": dict.fromkeys(names, stream)}))


def make_configuration(parts: StoreParts, files: Files, clock: Any = reactor, url: str = "") -> Configuration:
    """The configuration of ``files``, whose copies lie beside the store."""
    return Configuration(
        ConfigurationParts(
            reactor=clock,
            fetcher=Fetcher(cast(Any, reactor), sources=Sources(cast(Any, reactor), parts.directory / "sources")),
            workers=parts.workers,
            state_dir=parts.directory,
            url=url or str(files.main),
            variables=files.variables,
            arch="amd64",
        )
    )


class Building:
    """One daemon's builder below ``folder``; its time is ``clock``'s."""

    def __init__(self, folder: Path, parts: StoreParts, limits: BuildLimits, clock: Any, log_quota: int) -> None:
        self.clock = clock
        self.store = parts.store
        self.workers = parts.workers
        self.engine = FakeEngine(parts.store, self.now)
        self.files = Files(folder)
        self.configuration = make_configuration(parts, self.files, clock)
        self.history = History(parts.catalogue)
        self.archive = LogArchive(folder / "archive", log_quota, parts.workers)
        self.logs = folder / "logs"
        self.logs.mkdir(exist_ok=True)
        self.obstacle = ""
        self.spare = SpareSlots()
        sources = Sources(cast(Any, reactor), parts.directory / "sources")
        self.dependencies = Dependencies(
            DependencyParts(clock, self.configuration, parts.store, sources, parts.workers)
        )
        self.pauses = Pauses(PauseTable(parts.catalogue), HOUR, self.now)
        self.trouble = Trouble(folder, parts.catalogue)
        self.builder = Builder(
            RunnerParts(
                reactor=clock,
                engine=cast(Any, self.engine),
                store=parts.store,
                configuration=self.configuration,
                queue=Queue(self.history, self.now),
                archive=self.archive,
                logs=self.logs,
                limits=limits,
                jobs=Jobs(self.configuration, Limits(0, 0)),
                spare=self.spare,
                obstacle=lambda: self.obstacle,
                trouble=self.trouble.sentence,
            ),
            self.history,
            self.pauses,
            "a store for tests",
            self.dependencies,
            self._shells(folder, parts, clock),
        )

    def _shells(self, folder: Path, parts: StoreParts, clock: Any) -> Shells:
        self.kept = Kept(folder / "kept", cast(Any, None), clock)
        return Shells(ShellParts(clock, parts.workers, self.kept, self.configuration, folder))

    def now(self) -> datetime:
        """The clock's time."""
        return datetime.fromtimestamp(self.clock.seconds(), UTC)

    async def submit(self, stream: str = "web", caller: Caller = ROOT, **fields: Any) -> str:
        """Ask for a build; its id."""
        return (await self.builder.submit(request(stream, **fields), caller)).build_id


@asynccontextmanager
async def building(
    folder: Path, limits: BuildLimits = LIMITS, clock: Any = reactor, log_quota: int = 0
) -> AsyncIterator[Building]:
    """A builder that runs; another one over the same folder is the daemon's next start."""
    async with running_store(folder) as parts:
        system = Building(folder, parts, limits, clock, log_quota)
        await system.configuration.load()
        await system.builder.load()
        system.builder.startService()
        try:
            yield system
        finally:
            await system.builder.stopService()
