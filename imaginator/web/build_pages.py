"""The pages of builds: one build, logs, and the archive with what is searched for in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

import msgspec
from twisted.web.server import Request

from imaginator.model.build import BuildRecord, State
from imaginator.model.errors import InvalidRequest, NotFound
from imaginator.model.names import check_build_id, check_image_name, check_stream_name
from imaginator.store.history import BuildQuery
from imaginator.web.acting import may_act
from imaginator.web.answers import set_headers
from imaginator.web.events import HEADERS as EVENT_HEADERS
from imaginator.web.events import Everything, OneBuild, Position, position_of
from imaginator.web.loglines import Line, log_lines, timed
from imaginator.web.queries import parse_form, parse_query
from imaginator.web.streaming import Source, log_blocks, nothing, send
from imaginator.web.view import TEXT, View

if TYPE_CHECKING:
    from imaginator.schedule.builder import LogView

TAIL = 64 * 1024
"""How many bytes of a log's end a build's page shows."""

MOST_BUILDS = 100
"""How many builds one page lists."""

MOST_SEARCHED = 1000
"""In the logs of how many builds a text is looked for at once."""

RESULTS: Mapping[str, tuple[State, ...]] = {
    "": (),
    "good": (State.SUCCEEDED,),
    "failed": (State.FAILED, State.CANCELLED),
    "unfinished": tuple(state for state in State if not state.final),
}


class Search(NamedTuple):
    """What builds are looked for: fields of the form, empty where they do not choose."""

    stream: str = ""
    requester: str = ""
    result: str = ""
    text: str = ""
    after: str = ""

    def query(self) -> BuildQuery:
        """What the history is asked for; raises `InvalidRequest` or what names raise."""
        if self.result not in RESULTS:
            raise InvalidRequest(f"result {self.result!r}: expected one of {', '.join(filter(None, RESULTS))}")
        return BuildQuery(
            stream_name=check_stream_name(self.stream) if self.stream else "",
            states=RESULTS[self.result],
            requester=self.requester,
            after=check_build_id(self.after) if self.after else "",
            limit=MOST_SEARCHED if self.text else MOST_BUILDS,
        )

    def going_on(self, last: BuildRecord) -> str:
        """The address of what comes after a build."""
        fields = self._replace(after=last.build_id)._asdict()
        return "/showBuildLogArchive?" + urlencode({name: value for name, value in fields.items() if value})


class Tail(NamedTuple):
    """The end of a log: where it begins and ends, the number of its first line, and its lines with their times.

    ``step`` is when the last step began, in seconds since the log did.
    """

    begin: int
    end: int
    first: int
    lines: Sequence[tuple[Line, str]]
    step: float


class BuildPages(View):
    """The pages of builds."""

    async def one(self, request: Request) -> bytes:
        """One build, with the end of its log."""
        record = await self._builder.get(check_build_id(parse_query(request.uri).name))
        tail = await self._tail(record.build_id)
        return self.page(
            request,
            "build.html",
            record=record,
            kept_until=self._builder.kept_until(record.build_id),
            expected=0 if record.state.final else await self._builder.expected(record),
            tail=tail,
            acts=may_act(request),
        )

    async def _tail(self, build_id: str) -> Tail:
        """The last whole lines of a log; none where it is gone."""
        try:
            log = await self._builder.log(build_id)
        except NotFound:
            return Tail(0, 0, 1, (), 0.0)
        begin = max(log.size - TAIL, 0)
        data = await log.read(begin, TAIL)
        if begin:
            cut = data.find(b"\n") + 1
            begin, data = begin + cut, data[cut:]
        first = 1 + (await self._parts.workers.run(line_ends, log.path, begin) if begin else 0)
        marks, end = log.marks, begin + len(data)
        last = marks.at(end)
        lines = tuple(timed(log_lines(data, first), begin, marks))
        return Tail(begin, end, first, lines, last.step / 1000 if last else 0.0)

    async def log(self, request: Request) -> None:
        """The log of a build, named by its id or by its image."""
        name = parse_query(request.uri).name
        check = check_image_name if "/" in name else check_build_id
        await self._send_log(request, await self._builder.log(check(name)))

    async def times(self, request: Request) -> bytes:
        """When the lines of a part of a log were written, in JSON: its marks."""
        query = parse_query(request.uri)
        check = check_image_name if "/" in query.name else check_build_id
        log = await self._builder.log(check(query.name))
        set_headers(request, {"Content-Type": "application/json"})
        return msgspec.json.encode(log.marks.between(query.offset, query.until))

    async def current_log(self, request: Request) -> None:
        """The log of the build of a stream that runs now."""
        name = check_stream_name(parse_query(request.uri).name)
        await self._send_log(request, await self._builder.current_log(name))

    async def last_log(self, request: Request) -> None:
        """The log of the last finished build of a stream."""
        name = check_stream_name(parse_query(request.uri).name)
        await self._send_log(request, await self._builder.last_log(name))

    async def _send_log(self, request: Request, log: LogView) -> None:
        query = parse_query(request.uri)
        follow = query.follow and request.method != b"HEAD"
        await send(request, log_blocks(log, query.offset, follow, query.until), TEXT)

    async def events(self, request: Request) -> None:
        """What becomes of all builds, or of one and its log, as server-sent events."""
        query = parse_query(request.uri)
        parts = (self._builder, self._parts.reactor, self._parts.redact)
        last = position_of(request.getHeader("last-event-id") or "")
        source: Source = Everything(*parts, last)
        if query.name:
            record = await self._builder.get(check_build_id(query.name))
            source = OneBuild(*parts, record, last or Position(str(record.attempt), query.offset))
        await send(request, source if request.method != b"HEAD" else nothing, EVENT_HEADERS)

    async def archive(self, request: Request) -> bytes:
        """The builds that are searched for by the form's fields."""
        form = parse_form(request.uri)
        return await self._found(request, Search(**{name: form.get(name, "").strip() for name in Search._fields}))

    async def some(self, request: Request, result: str) -> bytes:
        """All builds of a result."""
        return await self._found(request, Search(result=result))

    async def of_stream(self, request: Request, result: str) -> bytes:
        """Those of a stream, which the address names."""
        return await self._found(request, Search(stream=parse_query(request.uri).name, result=result))

    async def of_requester(self, request: Request, result: str) -> bytes:
        """Those of a user, whom the address names."""
        return await self._found(request, Search(requester=parse_query(request.uri).name, result=result))

    async def _found(self, request: Request, search: Search) -> bytes:
        query = search.query()
        looked_at = await self._builder.builds(query)
        hits = await self._builder.mentioned(looked_at, search.text) if search.text else {}
        builds = [build for build in looked_at if build.build_id in hits] if search.text else looked_at
        more = looked_at[-1] if len(looked_at) == query.limit else None
        if len(builds) > MOST_BUILDS:
            builds = builds[:MOST_BUILDS]
            more = builds[-1]
        return self.page(
            request,
            "archive.html",
            search=search,
            results=list(filter(None, RESULTS)),
            builds=builds,
            hits=hits,
            older=search.going_on(more) if more else "",
            streams=self._streams(),
        )

    def _streams(self) -> Sequence[str]:
        return self._builder.streams[:MOST_BUILDS]


def line_ends(path: Path, size: int) -> int:
    """How many lines end in the first ``size`` bytes of a file; for a worker thread. 0 for one that is gone."""
    count = 0
    with suppress(OSError), path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            count += block.count(b"\n")
            size -= len(block)
    return count
