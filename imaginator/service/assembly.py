"""Makes the parts of a daemon from its flags, and the tree of services from the parts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from twisted.logger import ILogObserver, Logger, LogPublisher

from imaginator.build.looking import Looker, LookerParts
from imaginator.build.survey import Surveyor, SurveyorParts
from imaginator.model.build import BuildRecord
from imaginator.model.identity import Trusted
from imaginator.rpc.callers import Callers
from imaginator.rpc.jsonrpc import JsonRpc
from imaginator.rpc.methods import description
from imaginator.rpc.operations import Operations
from imaginator.rpc.served import ServedParts, builds_served, images_served
from imaginator.rpc.shells import ShellPage
from imaginator.rpc.xmlrpc import XmlRpc
from imaginator.schedule.autobuild import AutoBuild, AutoBuildParts
from imaginator.schedule.configuration import LOCAL_INTERVAL
from imaginator.schedule.freshness import Freshness, FreshnessParts
from imaginator.schedule.inquiry import Inquiry
from imaginator.schedule.periodic import Periodic
from imaginator.service.buildnews import tell_end
from imaginator.service.credentials import Files
from imaginator.service.daemon import Daemon
from imaginator.service.lateness import Lateness
from imaginator.service.listener import Listener, Place
from imaginator.service.log import RecentEntries, file_observer, stream_observer
from imaginator.service.options import Options
from imaginator.service.renewal import Renewal
from imaginator.service.watchdog import Watchdog
from imaginator.service.works import Works
from imaginator.srpc.server import Serving
from imaginator.store.usage import INTERVAL
from imaginator.web.app import Web
from imaginator.web.meters import Meters
from imaginator.web.site import BoundedSite
from imaginator.web.view import WebParts

COLLECTION = 600.0
"""Seconds between two collections."""

TROUBLE = 2.0
"""Seconds between two looks at whether the state directory can be written."""

RESERVE = 2.0
"""Seconds between two looks at what is free on the disk."""

KEPT = 10.0
"""Seconds between two looks for kept trees whose time is over."""

DAY = 86400.0

CERTIFICATES = 2.0
"""Seconds between two looks at the certificate files."""

_log = Logger()


class Assembly(Works):
    """Every part of one daemon, made from its flags."""

    options: Options

    def __init__(self, options: Options, reactor: Any) -> None:
        super().__init__(options, reactor)
        self.meters = Meters()
        self.queue.events.listener = self._build_changed
        self._make_automation()
        self._make_pages()

    def _build_changed(self, record: BuildRecord) -> None:
        self.meters.build_changed(record)
        tell_end(record)

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
                limits=self.sandbox_limits(),
                destinations=self.options["build-destinations"],
            )
        )
        freshness = FreshnessParts(
            clock=self.reactor,
            jobs=self.jobs,
            store=self.store,
            looker=looker,
            inquiry=Inquiry(self.reactor, surveyor, self.spare),
            now=self.now,
            rebuild_unchanged=self.options["rebuild-unchanged"],
        )
        interval = self.options["image-rebuild-interval"]
        self.autobuild = AutoBuild(
            AutoBuildParts(self.builder, self.configuration, Freshness(freshness), self.pauses, interval, self.reactor)
        )
        self.builder.automation = self.autobuild

    def _make_pages(self) -> None:
        options = self.options
        self.recent = RecentEntries(self.configuration.redact)
        trusted = Trusted(frozenset(options["trusted-users"]), frozenset(options["trusted-groups"]))
        callers = Callers(trusted)
        operations = Operations(self.builder, callers, self.configuration.redact, self.meters.called)
        parts = WebParts(
            builder=self.builder,
            workers=self.workers,
            redact=self.configuration.redact,
            reactor=self.reactor,
            rpc={"jsonrpc": JsonRpc(operations), "RPC2": XmlRpc(operations), "shell": ShellPage(operations)},
            recent_log=self.recent.entries,
            public_downloads=options["public-downloads"],
            caller=callers.of_request,
            meters=self.meters,
            state_dir=self.state,
            usage=self.usage,
            reference=description,
            dashboards=options["dashboards"],
            connections=lambda: self.site.crowd.count,
            reload_errors=self._reload_errors,
            identified=options["pages"],
            tls=lambda: self.renewal.state,
        )
        self.site = BoundedSite(Web(parts).resource(), self.reactor)
        served = ServedParts(self.reactor, self.builder, self.workers, operations, callers, self.configuration.redact)
        self.listeners = [
            self._listener(Place(options["listen-address"], options["port"]), builds_served(served, self.site.crowd)),
            *self._image_listener(served),
        ]
        self._renew_certificates()

    def _image_listener(self, served: ServedParts) -> Iterator[Listener]:
        """The port for images, where one is given."""
        port, plaintext = self.options["serve-images-port"], self.options["serve-images-plaintext"]
        if port is not None:
            place = Place(self.options["listen-address"], port, "serving images", plaintext, may_be_inherited=False)
            images = images_served(served, self.site.crowd, self.store, self.state, plaintext=plaintext)
            yield self._listener(place, images)

    def _listener(self, place: Place, calls: Serving) -> Listener:
        listener = Listener(self.reactor, self.reactor, place, self.site, calls)
        listener.refusals.count = self.meters.handshake_refused
        return listener

    def _reload_errors(self) -> dict[str, int]:
        return {"configuration": self.configuration.refusals, "certificates": self.renewal.refusals}

    def _renew_certificates(self) -> None:
        files = Files(*(self.options[f"{name}-file"] for name in ("ca", "cert", "key", "crl")))
        self.renewal = Renewal(files, self.listeners, self.workers, self.now, self._close_rpc)
        self.renewal.begin()

    def _close_rpc(self, reason: str) -> None:
        self.builder.rpc_closed = reason

    def daemon(self) -> Daemon:
        """The tree of services."""
        observer = LogPublisher(self.recent, self._log_observer())
        daemon = Daemon(self.reactor, observer, self.configuration.redact, load=self._load, reload=self._reload)
        self.workers.setServiceParent(daemon.foundation)
        self.catalogue.setServiceParent(daemon.foundation)
        lateness = Lateness(self.reactor, self.meters.timer_was_late)
        services = (self.dependencies, self.builder, self.shells, self.autobuild, *self._periodic(), lateness)
        for service in (*services, *self.listeners, Watchdog(self.reactor)):
            service.setServiceParent(daemon.serving)
        return daemon

    def _periodic(self) -> Iterator[Periodic]:
        yield Periodic(self.reactor, "configuration", LOCAL_INTERVAL, self.configuration.look)
        yield Periodic(self.reactor, "certificates", CERTIFICATES, self.renewal.look)
        yield Periodic(self.reactor, "expiry of certificates", DAY, self.renewal.tell)
        yield Periodic(self.reactor, "collection", COLLECTION, self.collector.run)
        yield Periodic(self.reactor, "trouble", TROUBLE, self.trouble.look)
        yield Periodic(self.reactor, "disk reserve", RESERVE, self.reserve.look)
        yield Periodic(self.reactor, "kept trees", KEPT, self.kept.expire)
        yield Periodic(self.reactor, "use of the store", INTERVAL, self.usage.sample)
        yield Periodic(self.reactor, "unused mirrors", DAY, self.sources.trim)
        interval = self.options["image-rebuild-interval"]
        if interval:
            yield Periodic(self.reactor, "automatic rebuild", interval, self.autobuild.run)

    def _log_observer(self) -> ILogObserver:
        """Standard output in the foreground, files in the background or where they are asked for."""
        parent = self.options.parent
        redact = self.configuration.redact
        if (parent is None or parent["nodaemon"]) and not self.options["log-files"]:
            return stream_observer(sys.stdout, redact)
        return file_observer(self.options["log-dir"], self.options["log-quota"], redact)

    async def _load(self) -> None:
        """What comes before serving: leftovers of a killed daemon go, and what it left to do is read."""
        await self.make_ready()
        await self.configuration.load()
        await self.builder.load()
        _log.info("image store: {store}", store=self.builder.status().store)

    async def _reload(self) -> None:
        _log.info("reading certificates and configuration again")
        await self.renewal.read()
        await self.configuration.reload()
