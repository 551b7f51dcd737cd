"""The whole schedule over a real store, with an engine that a test plays by hand: only time and building are not real.

A real build takes seconds and ends as its manifest says; here a test says when and how each one ends.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from imaginator.build.fetch import Fetcher
from imaginator.build.job import Job, SourceResolver, SourceWish
from imaginator.build.monitor import Monitor
from imaginator.model.build import BuildRecord, BuildRequest, Stage, State
from imaginator.model.identity import Caller
from imaginator.model.image import Image
from imaginator.model.tree import Entry, Inode, Kind, Node, encode_node
from imaginator.sandbox.limits import Limits
from imaginator.schedule.admission import BuildLimits
from imaginator.schedule.builder import Builder
from imaginator.schedule.configuration import Configuration, ConfigurationParts
from imaginator.schedule.queue import Queue
from imaginator.schedule.runner import RunnerParts
from imaginator.store.history import History
from imaginator.store.logs import LogArchive
from tests.support.store_parts import START, StoreParts, draft, running_store

OPERATOR = Caller("operator", full_access=True)
HOUR = 3600.0
EMPTY_NODE, EMPTY_NODE_DATA = encode_node(Node(()))


class HandEngine:
    """Builds what a test tells it: `jobs` are under way, `sources` says which stream is built on which."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts
        self.sources: dict[str, str] = {}
        self.started: list[str] = []
        self.jobs: dict[str, Job] = {}
        self._ends: dict[str, Deferred[None]] = {}
        self._watchers: list[tuple[Callable[[], bool], Deferred[None]]] = []

    async def build(self, job: Job, monitor: Monitor, source: SourceResolver) -> Image:
        """As `imaginator.build.engine.Engine.build`: the image, once the test has let the build end."""
        monitor.stage(Stage.SOURCE)
        if job.stream_name in self.sources:
            await source(SourceWish(self.sources[job.stream_name], "", {}, {}))
        end: Deferred[None] = Deferred()
        self.jobs[job.stream_name], self._ends[job.stream_name] = job, end
        self.started.append(job.stream_name)
        self._wake()
        monitor.log(f"building {job.stream_name}\n".encode())
        try:
            await end
        finally:
            del self.jobs[job.stream_name], self._ends[job.stream_name]
        image = draft(job.stream_name, Entry(b"", Inode(Kind.DIRECTORY, 0o755), EMPTY_NODE))
        return await self._parts.store.add(image, {EMPTY_NODE: EMPTY_NODE_DATA}, ())

    def finish(self, stream: str, error: Exception | None = None) -> None:
        """Let a build end well, or with an error."""
        end = self._ends[stream]
        if error is None:
            end.callback(None)
        else:
            end.errback(error)

    def busy(self, *streams: str) -> Deferred[None]:
        """Fires when all these are being built."""
        waiting: Deferred[None] = Deferred()
        self._watchers.append((lambda: set(streams) <= self.jobs.keys(), waiting))
        self._wake()
        return waiting.addTimeout(20, cast(Any, reactor))

    def _wake(self) -> None:
        ready = [watcher for watcher in self._watchers if watcher[0]()]
        self._watchers = [watcher for watcher in self._watchers if watcher not in ready]
        for _, waiting in ready:
            waiting.callback(None)


class SkewedClock(Clock):
    """The real reactor to threads and processes, a `Clock` that starts at `START` to everything that takes time."""

    def __init__(self) -> None:
        super().__init__()
        self.advance(START.timestamp())

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any, **kw: Any) -> Any:  # noqa: N802
        """Later by this clock; what is for the next turn of the reactor is done in its next turn."""
        if delay == 0:
            return reactor.callLater(0, callable, *args, **kw)  # type: ignore[attr-defined]
        return super().callLater(delay, callable, *args, **kw)


class Schedule:
    """A builder and its parts below ``folder``; `settings` and `streams` are files that a test may write."""

    def __init__(self, folder: Path, store: StoreParts, limits: BuildLimits) -> None:
        self.folder = folder
        self.parts = store
        self.clock = SkewedClock()
        self.engine = HandEngine(store)
        self.settings = folder / "conf.json"
        self.streams = folder / "streams.json"
        self.history = History(store.catalogue)
        self.limits = limits

    def configure(
        self, *bootstraps: str, streams: Mapping[str, dict[str, object]] | None = None, **more: object
    ) -> None:
        """Write both files."""
        settings = {
            "BootstrapStreams": {name: {"BootstrapCommand": ["true"], "PackagerType": "deb"} for name in bootstraps},
            "PackagerTypes": {"deb": {}},
            "ImageStreamsUrl": str(self.streams),
            **more,
        }
        self.settings.write_text(json.dumps(settings))
        definitions = {name: {"ManifestUrl": "dir:///nowhere", **fields} for name, fields in (streams or {}).items()}
        self.streams.write_text(json.dumps({"Streams": definitions}))

    def make_configuration(self, variables: Path | None = None) -> Configuration:
        """A configuration that has read nothing yet."""
        workers, fetcher = self.parts.workers, Fetcher(cast(Any, reactor))
        state = self.folder / "state"
        return Configuration(
            ConfigurationParts(self.clock, fetcher, workers, state, str(self.settings), variables, "amd64")
        )

    async def make_builder(self) -> Builder:
        """A builder that has taken up what the history has, as a daemon does at its start."""
        self.configuration = self.make_configuration()
        await self.configuration.load()
        self.queue = Queue(self.history, self._now)
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        parts = RunnerParts(
            reactor=cast(Any, self.clock),
            engine=cast(Any, self.engine),
            store=self.parts.store,
            configuration=self.configuration,
            queue=self.queue,
            archive=LogArchive(self.folder / "archive", 0, self.parts.workers),
            logs=logs,
            limits=self.limits,
            sandbox_limits=Limits(),
        )
        self.builder = Builder(parts, self.history, "the embedded store")
        await self.builder.load()
        self.builder.startService()
        return self.builder

    def _now(self) -> Any:
        return self.parts.now

    async def submit(self, stream: str, caller: Caller = OPERATOR, **fields: Any) -> BuildRecord:
        """Queue a build of an hour's life."""
        request = BuildRequest(stream_name=stream, **{"expires_in": HOUR, **fields})
        return await self.builder.submit(request, caller)

    async def ended(self, record: BuildRecord) -> tuple[State, str]:
        """The state that a build ends in, and the message of its failure."""
        final = await self.builder.wait(record.build_id)
        return final.state, final.failure.message if final.failure else ""


def limits(concurrent: int = 4, per_user: int = 1) -> BuildLimits:
    """The default flags' limits, of so many builds."""
    return BuildLimits(concurrent, per_user, 24 * HOUR, HOUR / 4, 24 * HOUR, 730 * HOUR)


@asynccontextmanager
async def running_schedule(folder: Path, concurrent: int = 4, per_user: int = 1) -> AsyncIterator[Schedule]:
    """A schedule whose store runs; its builder is stopped at the end."""
    async with running_store(folder / "state") as parts:
        schedule = Schedule(folder, parts, limits(concurrent, per_user))
        try:
            yield schedule
        finally:
            if hasattr(schedule, "builder") and schedule.builder.running:
                await schedule.builder.stopService()
