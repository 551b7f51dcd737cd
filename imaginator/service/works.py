"""Everything that builds need, made from flags: for the daemon, and for a command that builds without one."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from imaginator.build.engine import Engine, EngineParts
from imaginator.build.environment import PATH
from imaginator.build.fetch import Fetcher
from imaginator.build.sources import Sources
from imaginator.model.architectures import architecture
from imaginator.model.clock import wall_time
from imaginator.sandbox.kernel.loop import forget_all_limits
from imaginator.sandbox.limits import Limits, remove_stale
from imaginator.sandbox.process import capture
from imaginator.schedule.admission import BuildLimits
from imaginator.schedule.builder import Builder
from imaginator.schedule.configuration import Configuration, ConfigurationParts
from imaginator.schedule.dependencies import Dependencies, DependencyParts
from imaginator.schedule.jobs import Jobs
from imaginator.schedule.pauses import Pauses
from imaginator.schedule.queue import Queue
from imaginator.schedule.reserve import Reserve
from imaginator.schedule.runner import RunnerParts
from imaginator.schedule.shells import ShellParts, Shells
from imaginator.schedule.spare import SpareSlots
from imaginator.schedule.trouble import Trouble
from imaginator.service.checks import check_sandbox, locked, unlimited
from imaginator.service.upstream import image_server
from imaginator.srpc.client import Client
from imaginator.store.catalogue import Catalogue
from imaginator.store.collector import Collector
from imaginator.store.exchange import Exchange, ExchangeParts
from imaginator.store.history import History
from imaginator.store.images import EmbeddedStore
from imaginator.store.kept import Kept
from imaginator.store.layers import Layers
from imaginator.store.logs import LogArchive
from imaginator.store.objects import Objects
from imaginator.store.packages import Packages
from imaginator.store.pauses import PauseTable
from imaginator.store.remote import RemoteStore, log_reader
from imaginator.store.restoring import Restorer
from imaginator.store.sieve import SieveMemory
from imaginator.store.usage import StoreUsage
from imaginator.store.workers import Workers

WORKERS = 4
CLEAN_UP = 600.0
"""Seconds that removing the workspaces of a killed process may take."""

_log = Logger()


class Works:
    """A store, an engine over it and a builder, made in the order in which they stand on each other.

    ``options`` are the values of the daemon's flags by name. Raises `ConfigurationError` where another process uses the
    state directory. Nothing runs before the services ``workers`` and ``catalogue`` do, then the ``builder``.
    """

    def __init__(self, options: Mapping[str, Any], reactor: Any) -> None:
        self.options = options
        self.reactor = reactor
        self.state: Path = options["state-dir"]
        self._make_directories()
        self._make_store()
        self._make_schedule()

    def _make_directories(self) -> None:
        # A set-id file in a layer must not be reachable by other users of this host.
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.state.chmod(0o700)
        self.lock = locked(self.state / "lock")
        for name in ("builds", "logs", "objects"):
            (self.state / name).mkdir(mode=0o700, exist_ok=True)

    def _make_store(self) -> None:
        self.workers = Workers(WORKERS, self.reactor)
        self.catalogue = Catalogue(self.state / "catalogue.sqlite", self.reactor)
        self.upstream = image_server(self.options)
        self.store = self._store(Objects(self.state / "objects"))
        layers = self.state / "layers"
        restore = Restorer(self.reactor, self.store.objects)
        limit = self.options["layer-cache-size"](shutil.disk_usage(self.state).total)
        self.layers = Layers(layers, self.catalogue, self.store.nodes(), self.workers, restore, limit)
        self.kept = Kept(self.state / "kept", self.layers, self.reactor)
        self.collector = Collector(self.catalogue, self.store.objects, self.layers, self.store.holds, self.workers)
        reliefs = (self.kept.make_room, self._collect_for_room, self.layers.trim)
        self.reserve = Reserve(self.reactor, self.state, self.options["disk-reserve"], reliefs)
        self.trouble = Trouble(self.state, self.catalogue)
        self.archive = LogArchive(self.options["build-log-dir"], self.options["build-log-quota"], self.workers)
        self.packages = Packages(self.state / "packages", self.options["package-cache-size"], self.workers)
        self.history = History(self.catalogue)
        self.usage = StoreUsage(self.catalogue, self.store.objects, self.workers, self.now)

    def _store(self, objects: Objects) -> EmbeddedStore:
        """The store by itself, or as a cache of the image server."""
        if self.upstream is None:
            return EmbeddedStore(self.catalogue, objects, self.workers)
        client = Client(self.reactor, self.workers.run, self.upstream)
        exchange = Exchange(ExchangeParts(client, objects, self.workers, self.state / "builds"))
        logs = log_reader(self.state / "logs")
        return RemoteStore(self.catalogue, objects, self.workers, self.now, exchange, logs)

    async def _collect_for_room(self, _missing: int) -> None:
        await self.collector.run()

    def _make_schedule(self) -> None:
        self.sources = Sources(self.reactor, self.state / "sources")
        self.fetcher = Fetcher(self.reactor, sources=self.sources)
        url, variables = self.options["configuration-url"], self.options["variables-file"]
        arch = architecture(platform.machine())
        self.configuration = Configuration(
            ConfigurationParts(self.reactor, self.fetcher, self.workers, self.state, url, variables, arch)
        )
        self.jobs = Jobs(
            self.configuration, self.sandbox_limits(), self.options["build-destinations"], self.options["keep-failed"]
        )
        self.queue = Queue(self.history, self.now)
        self.queue.events.give_way = lambda wake: self.reactor.callLater(0, wake)
        self.spare = SpareSlots()
        self.parts = self._parts()
        self.engine = Engine(self.parts)
        parts = RunnerParts(
            reactor=self.reactor,
            engine=self.engine,
            store=self.store,
            configuration=self.configuration,
            queue=self.queue,
            archive=self.archive,
            logs=self.state / "logs",
            limits=self._limits(),
            jobs=self.jobs,
            spare=self.spare,
            obstacle=self.reserve.obstacle,
            trouble=self.trouble.sentence,
        )
        self.pauses = Pauses(PauseTable(self.catalogue), self.options["image-rebuild-interval"], self.now)
        self.dependencies = Dependencies(
            DependencyParts(self.reactor, self.configuration, self.store, self.sources, self.workers)
        )
        store_line = f"the embedded store in {self.state}"
        if self.upstream is not None:
            store_line = f"the image server {self.upstream}, with a cache of it in {self.state}"
        self.shells = Shells(self._shell_parts())
        self.builder = Builder(parts, self.history, self.pauses, store_line, self.dependencies, self.shells)
        self.reserve.go_on = self.trouble.go_on = self.builder.go_on

    def _shell_parts(self) -> ShellParts:
        destinations = self.options["build-destinations"]
        return ShellParts(self.reactor, self.workers, self.kept, self.configuration, self.state, destinations)

    def _parts(self) -> EngineParts:
        return EngineParts(
            reactor=self.reactor,
            state_dir=self.state,
            store=self.store,
            layers=self.layers,
            sources=self.sources,
            fetcher=self.fetcher,
            workers=self.workers,
            memory=SieveMemory(),
            packages=self.packages,
            kept=self.kept,
            verify=self.options["verify-builds"],
        )

    def sandbox_limits(self) -> Limits:
        """The operator's limits of a build."""
        names = ("build-memory", "build-processes", "build-disk", "build-inodes", "build-cpu-weight")
        return Limits(*(self.options[name] for name in names))

    def _limits(self) -> BuildLimits:
        names = (
            "maximum-concurrent-builds",
            "maximum-concurrent-builds-per-user",
            "maximum-build-duration",
            "minimum-expiration",
            "maximum-expiration",
            "maximum-expiration-privileged",
        )
        return BuildLimits(*(self.options[name] for name in names))

    def now(self) -> datetime:
        """The time, as records have it."""
        return wall_time(self.reactor)

    async def make_ready(self) -> None:
        """Remove what a killed process left here, and see whether this host can build.

        Raises `ConfigurationError` with what it lacks.
        """
        await self.workers.run(remove_stale)
        await self.workers.run(forget_all_limits)
        leftovers = [str(path) for path in [*(self.state / "builds").iterdir(), *self.layers.leftovers()]]
        if leftovers:
            await capture(self.reactor, ["rm", "-rf", "--", *leftovers], {"PATH": PATH}, timeout=CLEAN_UP)
        limits = self.sandbox_limits()
        await check_sandbox(self.reactor, self.state / "builds", limits)
        for problem in unlimited(limits):
            _log.warn("{problem}", problem=problem)
        await self.kept.load()
        await self.packages.trim()
