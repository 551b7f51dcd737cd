"""The pages' addresses, and what stands behind each: gather, then render or stream.

Addresses are the original's where it had the page (`imaginator.web.queries` tells how they name a thing). Nothing
here acts: every handler only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from imaginator.model.clock import wall_time
from imaginator.model.errors import ImaginatorError, NotFound
from imaginator.model.names import check_build_id, check_image_name, check_stream_name, stream_of
from imaginator.store.history import BuildQuery
from imaginator.store.tar import tar_blocks
from imaginator.web.answers import (
    SafeResource,
    plain,
    require_certificate,
    set_headers,
    static_file,
    status_of,
    wants_page,
)
from imaginator.web.metrics import Numbers, exposition, stages_of
from imaginator.web.overview import newest_first, stream_lines
from imaginator.web.pages import Pages, plain_log
from imaginator.web.queries import parse_query
from imaginator.web.streaming import ThreadBlocks, log_blocks, send

if TYPE_CHECKING:
    from imaginator.schedule.builder import Builder, LogView
    from imaginator.store.workers import Workers

TAIL = 64 * 1024
"""How many bytes of a log's end a build's page shows."""

MOST_IMAGES = 1000
"""How many images one page lists."""

MOST_QUEUED = 100
"""How many queued builds the status page names."""

LAST_BUILDS = 20
"""How many builds a stream's page lists."""

HEALTH_DEADLINE = 5.0
"""Seconds that the catalogue may take to answer before the daemon is not well."""

_TEXT = {"Content-Type": "text/plain; charset=utf-8"}
_log = Logger()


class WebParts(NamedTuple):
    """What the pages are made of.

    ``redact`` replaces secrets in a text. ``rpc`` answers below ``/jsonrpc``, and ``shell`` at ``/shell``; None while
    they are closed.
    ``recent_log`` gives the daemon's last log lines. ``public_downloads`` opens images to clients without a
    certificate.
    """

    builder: Builder
    workers: Workers
    redact: Callable[[str], str]
    reactor: IReactorTime
    rpc: IResource | None = None
    recent_log: Callable[[], Sequence[str]] | None = None
    public_downloads: bool = False
    shell: IResource | None = None


class Web:
    """The pages of one daemon; `resource` is what a site serves."""

    app = Klein()

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        self._builder = parts.builder
        self._store = parts.builder.store
        self._pages = Pages(parts.redact, self._now)
        self._started = self._now()
        self._begun = self._parts.reactor.seconds()

    def resource(self) -> SafeResource:
        """The root of the site."""
        return SafeResource(self.app)

    def _now(self) -> datetime:
        return wall_time(self._parts.reactor)

    def _page(self, request: IRequest, template: str, **values: object) -> bytes:
        set_headers(request, {"Content-Type": "text/html; charset=utf-8"})
        has_log = self._parts.recent_log is not None
        return self._pages.render(template, has_log=has_log, started=self._started, **values)

    @app.route("/", methods=["GET"])
    async def status(self, request: Request) -> bytes:
        """What is being built, what waits, what failed and what came out; errors of the configuration."""
        images = newest_first(await self._store.list())
        return self._page(request, "status.html", status=self._builder.status(), images=images, most_queued=MOST_QUEUED)

    @app.route("/showImageStreams", methods=["GET"])
    async def streams(self, request: Request) -> bytes:
        """Every stream with its latest image."""
        lines = stream_lines(self._builder.status().streams, await self._store.list())
        return self._page(request, "streams.html", lines=lines)

    @app.route("/showImageStream", methods=["GET"])
    async def stream(self, request: Request) -> bytes:
        """One stream: its latest image in short, its images and its last builds."""
        name = check_stream_name(parse_query(request.uri).name)
        images = [image for image in await self._store.list(name) if stream_of(image.name) == name]
        configured = name in self._builder.status().streams
        if not (configured or images):
            raise NotFound(f"unknown stream: {name}")
        builds = await self._builder.builds(BuildQuery(stream_name=name, limit=LAST_BUILDS))
        return self._page(
            request,
            "stream.html",
            name=name,
            configured=configured,
            images=newest_first(images),
            verdict=self._builder.automation.verdicts.get(name),
            latest=await self._store.get(newest_first(images)[0].name) if images else None,
            builds=[build for build in builds if build.request.stream_name == name],
        )

    @app.route("/listImages", methods=["GET"])
    async def images(self, request: Request) -> bytes:
        """The images, latest first; those of a stream, or of all below a name, where one is given."""
        name = parse_query(request.uri).name
        images = newest_first(await self._store.list(check_stream_name(name) if name else ""))
        return self._page(
            request, "images.html", name=name, images=images[:MOST_IMAGES], left_out=max(len(images) - MOST_IMAGES, 0)
        )

    @app.route("/showImage", methods=["GET"])
    async def image(self, request: Request) -> bytes:
        """All that is said about one image."""
        image = await self._store.get(check_image_name(parse_query(request.uri).name))
        return self._page(request, "image.html", image=image)

    @app.route("/showBuild", methods=["GET"])
    async def build(self, request: Request) -> bytes:
        """One build, with the end of its log."""
        record = await self._builder.get(check_build_id(parse_query(request.uri).name))
        begin, end, text = await self._tail(record.build_id)
        kept_until = self._builder.kept_until(record.build_id)
        return self._page(request, "build.html", record=record, kept_until=kept_until, begin=begin, end=end, text=text)

    async def _tail(self, build_id: str) -> tuple[int, int, str]:
        """The last whole lines of a log with the offsets where they begin and end; nothing where it is gone."""
        try:
            log = await self._builder.log(build_id)
        except NotFound:
            return 0, 0, ""
        begin = max(log.size - TAIL, 0)
        data = await log.read(begin, TAIL)
        whole = data.partition(b"\n")[2] if begin else data
        return begin, begin + len(data), plain_log(whole)

    @app.route("/showBuildLog", methods=["GET"])
    async def build_log(self, request: Request) -> None:
        """The log of a build, named by its id or by its image."""
        name = parse_query(request.uri).name
        check = check_image_name if "/" in name else check_build_id
        await self._send_log(request, await self._builder.log(check(name)))

    @app.route("/showCurrentBuildLog", methods=["GET"])
    async def current_log(self, request: Request) -> None:
        """The log of the build of a stream that runs now."""
        name = check_stream_name(parse_query(request.uri).name)
        await self._send_log(request, await self._builder.current_log(name))

    @app.route("/showLastBuildLog", methods=["GET"])
    async def last_log(self, request: Request) -> None:
        """The log of the last finished build of a stream."""
        name = check_stream_name(parse_query(request.uri).name)
        await self._send_log(request, await self._builder.last_log(name))

    async def _send_log(self, request: Request, log: LogView) -> None:
        query = parse_query(request.uri)
        follow = query.follow and request.method != b"HEAD"
        await send(request, log_blocks(log, query.offset, follow), _TEXT)

    @app.route("/getImage", methods=["GET"])
    async def download(self, request: Request) -> None:
        """An image as a tar archive."""
        if not self._parts.public_downloads:
            require_certificate(request)
        image = await self._store.get(check_image_name(parse_query(request.uri).name))
        file_name = image.name.replace("/", "-").replace(":", "-")
        headers = {
            "Content-Type": "application/x-tar",
            "Content-Disposition": f'attachment; filename="{file_name}.tar"',
        }
        with self._store.hold() as hold:
            await hold.image(image)
            source = ThreadBlocks(tar_blocks(image, self._store), self._parts.workers)
            try:
                await send(request, source, headers)
            finally:
                # Nobody waits for it: the client may be gone, and with it whoever asked.
                source.close()

    @app.route("/healthz", methods=["GET"])
    async def health(self, request: Request) -> bytes:
        """Whether the reactor and the catalogue work, for supervisors."""
        asked = Deferred.fromCoroutine(self._builder.builds(BuildQuery(limit=1)))
        try:
            await asked.addTimeout(HEALTH_DEADLINE, self._parts.reactor)
        except TookTooLong:
            return plain(request, f"the catalogue did not answer within {HEALTH_DEADLINE:.0f} s", 503)
        except ImaginatorError as error:
            return plain(request, self._parts.redact(str(error)), 503)
        return plain(request, "ok")

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: Request) -> bytes:
        """The figures for Prometheus."""
        status = self._builder.status()
        states = ("running", "queued", "failed", "good")
        numbers = Numbers(
            builds={state: len(getattr(status, state)) for state in states},
            stages=stages_of(status.running),
            streams=len(status.streams),
            images=len(await self._store.list()),
            configuration_errors=len(status.errors),
            rpc_open=not status.rpc_closed,
            builds_wait=bool(status.obstacle),
            uptime=self._parts.reactor.seconds() - self._begun,
        )
        set_headers(request, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
        return exposition(numbers)

    @app.route("/logs", methods=["GET"])
    def logs(self, request: Request) -> bytes:
        """The daemon's own last log lines."""
        if self._parts.recent_log is None:
            raise NotFound("this daemon keeps no log in memory")
        return self._page(request, "logs.html", lines=self._parts.recent_log())

    @app.route("/static/<name>", methods=["GET"])
    def static(self, request: Request, name: str) -> bytes:
        """The style sheet and the script."""
        return static_file(request, name)

    @app.route("/jsonrpc", branch=True)
    def rpc(self, request: Request) -> IResource | bytes:
        """The operations for programs, where they are served."""
        reason = self._builder.rpc_closed or "RPC is not served"
        return self._parts.rpc or plain(request, self._parts.redact(reason), 503)

    @app.route("/shell", methods=["POST"])
    def shell(self, request: Request) -> IResource | bytes:
        """A shell in the tree of a failed build, for programs."""
        return self._parts.shell or plain(request, "shells are not served", 503)

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
        return self._page(request, "error.html", status=status, sentence=sentence)
