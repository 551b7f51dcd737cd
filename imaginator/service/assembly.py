"""Makes the parts of a daemon from its flags, and the tree of services from the parts."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.logger import ILogObserver, Logger, LogPublisher

from imaginator.build.engine import Engine, EngineParts
from imaginator.build.environment import PATH
from imaginator.build.fetch import Fetcher
from imaginator.build.looking import Looker, LookerParts
from imaginator.build.sources import Sources
from imaginator.build.survey import Surveyor, SurveyorParts
from imaginator.model.architectures import architecture
from imaginator.model.clock import wall_time
from imaginator.model.errors import ConfigurationError
from imaginator.model.identity import Trusted
from imaginator.rpc.jsonrpc import JsonRpc
from imaginator.rpc.operations import Operations
from imaginator.rpc.shells import ShellPage
from imaginator.sandbox.kernel.loop import forget_all_limits
from imaginator.sandbox.limits import Limits, remove_stale
from imaginator.sandbox.process import capture
from imaginator.schedule.admission import BuildLimits
from imaginator.schedule.autobuild import AutoBuild, AutoBuildParts
from imaginator.schedule.builder import Builder
from imaginator.schedule.configuration import LOCAL_INTERVAL, Configuration, ConfigurationParts
from imaginator.schedule.dependencies import Dependencies, DependencyParts
from imaginator.schedule.freshness import Freshness, FreshnessParts
from imaginator.schedule.inquiry import Inquiry
from imaginator.schedule.jobs import Jobs
from imaginator.schedule.pauses import Pauses
from imaginator.schedule.periodic import Periodic
from imaginator.schedule.queue import Queue
from imaginator.schedule.reserve import Reserve
from imaginator.schedule.runner import RunnerParts
from imaginator.schedule.shells import ShellParts, Shells
from imaginator.service.checks import check_sandbox, locked, unlimited
from imaginator.service.daemon import Daemon
from imaginator.service.listener import Certificates, Listener
from imaginator.service.log import RecentLines, file_observer, stream_observer
from imaginator.service.options import Options
from imaginator.service.tls import AbsentFile
from imaginator.store.catalogue import Catalogue
from imaginator.store.collector import Collector
from imaginator.store.history import History
from imaginator.store.images import EmbeddedStore
from imaginator.store.kept import Kept
from imaginator.store.layers import Layers
from imaginator.store.logs import LogArchive
from imaginator.store.objects import Objects
from imaginator.store.packages import Packages
from imaginator.store.pauses import PauseTable
from imaginator.store.restoring import Restorer
from imaginator.store.sieve import SieveMemory
from imaginator.store.workers import Workers
from imaginator.web.app import Web, WebParts
from imaginator.web.site import BoundedSite

WORKERS = 4
CLEAN_UP = 600.0
"""Seconds that removing the workspaces of a killed daemon may take."""

COLLECTION = 600.0
"""Seconds between two collections."""

RESERVE = 2.0
"""Seconds between two looks at what is free on the disk."""

KEPT = 10.0
"""Seconds between two looks for kept trees whose time is over."""

DAY = 86400.0

CERTIFICATES = 10.0
"""Seconds between two looks at the certificate files."""

_log = Logger()


class Assembly:
    """Every part of one daemon, made from its flags in the order in which they stand on each other."""

    def __init__(self, options: Options, reactor: Any) -> None:
        self.options = options
        self.reactor = reactor
        self.state: Path = options["state-dir"]
        self._make_directories()
        self._make_store()
        self._make_schedule()
        self._make_automation()
        self._make_pages()

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
        self.store = EmbeddedStore(self.catalogue, Objects(self.state / "objects"), self.workers)
        layers = self.state / "layers"
        restore = Restorer(self.reactor, self.store.objects)
        limit = self.options["layer-cache-size"](shutil.disk_usage(self.state).total)
        self.layers = Layers(layers, self.catalogue, self.store.nodes(), self.workers, restore, limit)
        self.kept = Kept(self.state / "kept", self.layers, self.reactor)
        self.collector = Collector(self.catalogue, self.store.objects, self.layers, self.store.holds, self.workers)
        reliefs = (self.kept.make_room, self._collect_for_room, self.layers.trim)
        self.reserve = Reserve(self.reactor, self.state, self.options["disk-reserve"], reliefs)
        self.archive = LogArchive(self.options["build-log-dir"], self.options["build-log-quota"], self.workers)
        self.packages = Packages(self.state / "packages", self.options["package-cache-size"], self.workers)
        self.history = History(self.catalogue)

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
            self.configuration, self._sandbox_limits(), self.options["build-destinations"], self.options["keep-failed"]
        )
        self.queue = Queue(self.history, self._now)
        parts = RunnerParts(
            reactor=self.reactor,
            engine=self._engine(),
            store=self.store,
            configuration=self.configuration,
            queue=self.queue,
            archive=self.archive,
            logs=self.state / "logs",
            limits=self._limits(),
            jobs=self.jobs,
            obstacle=self.reserve.obstacle,
        )
        self.pauses = Pauses(PauseTable(self.catalogue), self.options["image-rebuild-interval"], self._now)
        self.dependencies = Dependencies(
            DependencyParts(self.reactor, self.configuration, self.store, self.sources, self.workers)
        )
        store_line = f"the embedded store in {self.state}"
        self.shells = Shells(self._shell_parts())
        self.builder = Builder(parts, self.history, self.pauses, store_line, self.dependencies, self.shells)
        self.reserve.go_on = self.builder.go_on

    def _shell_parts(self) -> ShellParts:
        destinations = self.options["build-destinations"]
        return ShellParts(self.reactor, self.workers, self.kept, self.configuration, self.state, destinations)

    def _make_automation(self) -> None:
        workspaces = self.state / "builds"
        looker = Looker(
            LookerParts(workspaces, self.sources, self.fetcher, self.workers, lambda: self.configuration.redactor)
        )
        surveyor = Surveyor(
            SurveyorParts(
                reactor=self.reactor,
                directory=workspaces,
                store=self.store,
                layers=self.layers,
                workers=self.workers,
                limits=self._sandbox_limits(),
                destinations=self.options["build-destinations"],
            )
        )
        freshness = FreshnessParts(
            jobs=self.jobs,
            store=self.store,
            looker=looker,
            inquiry=Inquiry(surveyor, self.options["maximum-concurrent-builds"]),
            now=self._now,
            rebuild_unchanged=self.options["rebuild-unchanged"],
        )
        interval = self.options["image-rebuild-interval"]
        self.autobuild = AutoBuild(
            AutoBuildParts(self.builder, self.configuration, Freshness(freshness), self.pauses, interval)
        )
        self.builder.automation = self.autobuild

    def _engine(self) -> Engine:
        parts = EngineParts(
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
        return Engine(parts)

    def _sandbox_limits(self) -> Limits:
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

    def _now(self) -> datetime:
        return wall_time(self.reactor)

    def _make_pages(self) -> None:
        options = self.options
        self.recent = RecentLines(self.configuration.redact)
        trusted = Trusted(frozenset(options["trusted-users"]), frozenset(options["trusted-groups"]))
        operations = Operations(self.builder, trusted, self.configuration.redact)
        parts = WebParts(
            builder=self.builder,
            workers=self.workers,
            redact=self.configuration.redact,
            reactor=self.reactor,
            rpc=JsonRpc(operations),
            shell=ShellPage(operations),
            recent_log=self.recent.lines,
            public_downloads=options["public-downloads"],
        )
        site = BoundedSite(Web(parts).resource(), self.reactor)
        self.listener = Listener(self.reactor, self.reactor, options["listen-address"], options["port"], site)
        self.certificates = Certificates(options["ca-file"], options["cert-file"], options["key-file"])
        self.secure()

    def secure(self) -> None:
        """Read the certificates; where files are absent RPC stays closed, with the reason on the status page."""
        self._versions = self.certificates.versions()
        try:
            self.listener.secure(self.certificates)
        except AbsentFile as absent:
            self.builder.rpc_closed = str(absent)
            _log.warn("RPC is closed: {reason}", reason=str(absent))
        else:
            self.builder.rpc_closed = ""

    def daemon(self) -> Daemon:
        """The tree of services."""
        observer = LogPublisher(self.recent, self._log_observer())
        daemon = Daemon(self.reactor, observer, self.configuration.redact, load=self._load, reload=self._reload)
        self.workers.setServiceParent(daemon.foundation)
        self.catalogue.setServiceParent(daemon.foundation)
        services = (self.dependencies, self.builder, self.shells, self.autobuild, *self._periodic(), self.listener)
        for service in services:
            service.setServiceParent(daemon.serving)
        return daemon

    def _periodic(self) -> Iterator[Periodic]:
        yield Periodic(self.reactor, "configuration", LOCAL_INTERVAL, self.configuration.look)
        yield Periodic(self.reactor, "certificates", CERTIFICATES, self._look_at_certificates)
        yield Periodic(self.reactor, "collection", COLLECTION, self.collector.run)
        yield Periodic(self.reactor, "disk reserve", RESERVE, self.reserve.look)
        yield Periodic(self.reactor, "kept trees", KEPT, self.kept.expire)
        yield Periodic(self.reactor, "unused mirrors", DAY, self.sources.trim)
        interval = self.options["image-rebuild-interval"]
        if interval:
            yield Periodic(self.reactor, "automatic rebuild", interval, self.autobuild.run)

    def _log_observer(self) -> ILogObserver:
        """Standard output in the foreground, files in the background."""
        parent = self.options.parent
        redact = self.configuration.redact
        if parent is None or parent["nodaemon"]:
            return stream_observer(sys.stdout, redact)
        return file_observer(self.options["log-dir"], self.options["log-quota"], redact)

    async def _load(self) -> None:
        """What comes before serving: leftovers of a killed daemon go, and what it left to do is read."""
        await self.workers.run(remove_stale)
        await self.workers.run(forget_all_limits)
        leftovers = [str(path) for path in [*(self.state / "builds").iterdir(), *self.layers.leftovers()]]
        if leftovers:
            await capture(self.reactor, ["rm", "-rf", "--", *leftovers], {"PATH": PATH}, timeout=CLEAN_UP)
        limits = self._sandbox_limits()
        await check_sandbox(self.reactor, self.state / "builds", limits)
        for problem in unlimited(limits):
            _log.warn("{problem}", problem=problem)
        await self.kept.load()
        await self.packages.trim()
        await self.configuration.load()
        await self.builder.load()
        _log.info("image store: {store}", store=self.builder.status().store)

    async def _reload(self) -> None:
        _log.info("reading certificates and configuration again")
        self._secure_again()
        await self.configuration.reload()

    async def _look_at_certificates(self) -> None:
        if self.certificates.versions() != self._versions:
            self._secure_again()

    def _secure_again(self) -> None:
        try:
            self.secure()
        except ConfigurationError as error:
            _log.error("the certificates read before stay in force: {error}", error=str(error))
