"""The pages' addresses, and what stands behind each: gather, then render or stream.

Addresses are the original's where it had the page (`imaginator.web.queries` tells how they name a thing). Handlers of
GET only read; what a POST does is in `imaginator.web.acting`.
"""

from __future__ import annotations

import os
from datetime import datetime

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from imaginator.model.clock import wall_time
from imaginator.model.errors import ImaginatorError, NotFound
from imaginator.store.history import BuildQuery
from imaginator.web.acting import Acting
from imaginator.web.answers import (
    SafeResource,
    is_page,
    plain,
    require_certificate,
    set_headers,
    static_file,
    status_of,
    wants_page,
)
from imaginator.web.build_pages import BuildPages
from imaginator.web.image_pages import ImagePages
from imaginator.web.log_page import LogPage
from imaginator.web.meters import Meters
from imaginator.web.metrics import Numbers, exposition, stages_of
from imaginator.web.pages import Pages
from imaginator.web.reference_page import ReferencePage
from imaginator.web.status_page import StatusPage
from imaginator.web.store_page import StorePage
from imaginator.web.stream_pages import StreamPages
from imaginator.web.view import View, WebParts

HEALTH_DEADLINE = 5.0
"""Seconds that the catalogue may take to answer before the daemon is not well."""

_log = Logger()


class Web:
    """The pages of one daemon; `resource` is what a site serves."""

    app = Klein()

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._builder = parts.builder
        self._store = parts.builder.store
        common = (parts, Pages(parts.redact, self._now), self._now())
        self._view = View(*common)
        self._status = StatusPage(*common)
        self._acting = Acting(*common)
        self._streams = StreamPages(*common)
        self._images = ImagePages(*common)
        self._builds = BuildPages(*common)
        self._journal = LogPage(*common)
        self._reference = ReferencePage(*common)
        self._stored = StorePage(*common)
        self._begun = self._parts.reactor.seconds()

    def resource(self) -> SafeResource:
        """The root of the site."""
        return SafeResource(self.app, self._refuse)

    def _refuse(self, request: IRequest) -> bytes | None:
        """The answer to whoever may not see the pages."""
        try:
            if self._parts.identified and is_page(request):
                require_certificate(request, "pages")
        except ImaginatorError as error:
            return self._error(request, status_of(error), str(error))
        return None

    def _now(self) -> datetime:
        return wall_time(self._parts.reactor)

    @app.route("/", methods=["GET"])
    async def status(self, request: Request) -> bytes:
        """What is being built, what waits, what failed and what came out; errors of the configuration."""
        return await self._status.show(request)

    @app.route("/showImageStreams", methods=["GET"])
    async def streams(self, request: Request) -> bytes:
        """Every stream with its latest image."""
        return await self._streams.all(request)

    @app.route("/showImageStream", methods=["GET"])
    async def stream(self, request: Request) -> bytes:
        """One stream: its latest image in short, its images and its last builds."""
        return await self._streams.one(request)

    @app.route("/showDirectedGraph", methods=["GET"])
    async def graph(self, request: Request) -> None:
        """Which stream builds on which, drawn."""
        await self._streams.graph(request)

    @app.route("/showDirectedGraph", methods=["POST"])
    async def regenerate_graph(self, request: Request) -> bytes:
        """Find that out anew."""
        return await self._acting.regenerate(request)

    @app.route("/cancelBuild", methods=["POST"])
    async def cancel_build(self, request: Request) -> bytes:
        """End a build."""
        return await self._acting.cancel(request)

    @app.route("/buildNow", methods=["POST"])
    async def build_now(self, request: Request) -> bytes:
        """Build a stream now."""
        return await self._acting.build(request)

    @app.route("/listImages", methods=["GET"])
    async def images(self, request: Request) -> bytes:
        """The images, latest first."""
        return await self._images.all(request)

    @app.route("/showStore", methods=["GET"])
    async def show_store(self, request: Request) -> bytes:
        """What the store holds, now and before."""
        return await self._stored.show(request)

    @app.route("/showImage", methods=["GET"])
    async def image(self, request: Request) -> bytes | None:
        """All that is said about one image, or the files at a path of it."""
        return await self._images.one(request)

    @app.route("/showDifference", methods=["GET"])
    async def difference(self, request: Request) -> None:
        """What two images differ in."""
        await self._images.difference(request)

    @app.route("/getImage", methods=["GET"])
    async def download(self, request: Request) -> None:
        """An image as a tar archive."""
        await self._images.download(request)

    @app.route("/getFile", methods=["GET"])
    async def content(self, request: Request) -> None:
        """The content of one file of an image."""
        await self._images.content(request)

    @app.route("/showBuild", methods=["GET"])
    async def build(self, request: Request) -> bytes:
        """One build, with the end of its log."""
        return await self._builds.one(request)

    @app.route("/showBuildLog", methods=["GET"])
    async def build_log(self, request: Request) -> None:
        """The log of a build, named by its id or by its image."""
        await self._builds.log(request)

    @app.route("/showBuildTimes", methods=["GET"])
    async def build_times(self, request: Request) -> bytes:
        """When the lines of a build's log were written."""
        return await self._builds.times(request)

    @app.route("/showCurrentBuildLog", methods=["GET"])
    async def current_log(self, request: Request) -> None:
        """The log of the build of a stream that runs now."""
        await self._builds.current_log(request)

    @app.route("/showLastBuildLog", methods=["GET"])
    async def last_log(self, request: Request) -> None:
        """The log of the last finished build of a stream."""
        await self._builds.last_log(request)

    @app.route("/events", methods=["GET"])
    async def events(self, request: Request) -> None:
        """What becomes of all builds, or of one and its log, as server-sent events."""
        await self._builds.events(request)

    @app.route("/showBuildLogArchive", methods=["GET"])
    async def archive(self, request: Request) -> bytes:
        """The builds that are searched for."""
        return await self._builds.archive(request)

    @app.route("/show<kind>Builds", methods=["GET"])
    async def some_builds(self, request: Request, kind: str) -> bytes:
        """All builds of a result: ``showErrorBuilds`` and its like."""
        return await self._builds.some(request, _result(kind))

    @app.route("/showStream<kind>Builds", methods=["GET"])
    async def builds_of_stream(self, request: Request, kind: str) -> bytes:
        """Those of a stream."""
        return await self._builds.of_stream(request, _result(kind))

    @app.route("/showRequestor<kind>Builds", methods=["GET"])
    async def builds_of_requester(self, request: Request, kind: str) -> bytes:
        """Those of a user."""
        return await self._builds.of_requester(request, _result(kind))

    @app.route("/healthz", methods=["GET"])
    async def health(self, request: Request) -> bytes:
        """Whether the reactor and the catalogue work, and all can be written down, for supervisors."""
        asked = Deferred.fromCoroutine(self._builder.builds(BuildQuery(limit=1)))
        try:
            await asked.addTimeout(HEALTH_DEADLINE, self._parts.reactor)
        except TookTooLong:
            return plain(request, f"the catalogue did not answer within {HEALTH_DEADLINE:.0f} s", 503)
        except ImaginatorError as error:
            return plain(request, self._parts.redact(str(error)), 503)
        trouble = self._builder.status().trouble
        return plain(request, self._parts.redact(trouble) or "ok", 503 if trouble else 200)

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: Request) -> bytes:
        """The figures for Prometheus."""
        status, disk = self._builder.status(), os.statvfs(self._parts.state_dir)
        states = ("running", "queued", "failed", "good")
        numbers = Numbers(
            builds={state: len(getattr(status, state)) for state in states},
            stages=stages_of(status.running),
            streams=len(status.streams),
            images=len(await self._store.list()),
            configuration_errors=len(status.errors),
            rpc_open=not status.rpc_closed,
            builds_wait=bool(status.obstacle),
            tls=self._parts.tls(),
            uptime=self._parts.reactor.seconds() - self._begun,
            free=disk.f_bavail * disk.f_frsize,
            size=disk.f_blocks * disk.f_frsize,
            usage=self._parts.usage.latest if self._parts.usage else None,
            connections=self._parts.connections(),
            reload_errors=self._parts.reload_errors(),
        )
        set_headers(request, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
        return exposition(numbers, self._parts.meters or Meters())

    @app.route("/logs", methods=["GET"])
    async def logs(self, request: Request) -> bytes:
        """The daemon's own last log entries."""
        return await self._journal.show(request)

    @app.route("/logs/dump", methods=["GET"])
    def dumped_log(self, request: Request) -> bytes:
        """The same as plain text."""
        return self._journal.dump(request)

    @app.route("/showMethods", methods=["GET"])
    async def methods(self, request: Request) -> bytes:
        """The operations for programs."""
        return await self._reference.show(request)

    @app.route("/static/<name>", methods=["GET"])
    def static(self, request: Request, name: str) -> bytes:
        """The style sheet and the script."""
        return static_file(request, name)

    @app.route("/jsonrpc", branch=True)
    @app.route("/RPC2", branch=True)
    @app.route("/shell", branch=True)
    def rpc(self, request: Request) -> IResource | bytes:
        """The operations for programs, where they are served."""
        reason = self._builder.rpc_closed or "RPC is not served"
        name = request.path.decode("latin-1").split("/")[1]
        return self._parts.rpc.get(name) or plain(request, self._parts.redact(reason), 503)

    @app.handle_errors(ImaginatorError)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """An error that has a sentence: show it."""
        error = failure.value
        assert isinstance(error, ImaginatorError)
        return self._error(request, status_of(error), str(error))

    @app.handle_errors(HTTPException)
    def no_such_page(self, request: IRequest, failure: Failure) -> bytes:
        """An address that is none of the above, or something other than reading one."""
        if isinstance(failure.value, MethodNotAllowed):
            set_headers(request, {"Allow": "GET, HEAD"})
            return self._error(request, 405, "This page can only be read.")
        return self._error(request, 404, "There is no such page.")

    @app.handle_errors(Exception)
    def broken(self, request: IRequest, failure: Failure) -> bytes:
        """A fault of the program: the log has it, the client learns no more than that."""
        _log.failure("answering {path}", failure, path=request.path.decode("utf-8", "replace"))
        return self._error(request, 500, "The page could not be made; the daemon's log says why.")

    def _error(self, request: IRequest, status: int, sentence: str) -> bytes:
        if not wants_page(request):
            return plain(request, self._parts.redact(sentence), status)
        request.setResponseCode(status)
        return self._view.page(request, "error.html", status=status, sentence=sentence)


def _result(kind: str) -> str:
    """The result that the original's addresses mean; raises `NotFound` for other words."""
    try:
        return {"All": "", "Good": "good", "Error": "failed"}[kind]
    except KeyError:
        raise NotFound("There is no such page.") from None
