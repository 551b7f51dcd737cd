"""The pages of streams: all of them, one, and the drawing of which builds on which."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from twisted.web.server import Request

from imaginator.model.build import BuildRecord, State
from imaginator.model.errors import NotFound
from imaginator.model.graph import Graph
from imaginator.model.names import check_stream_name, stream_of
from imaginator.store.history import BuildQuery
from imaginator.web.acting import may_act
from imaginator.web.cached import CachedPage
from imaginator.web.drawing import drawing
from imaginator.web.overview import newest_first, stream_lines
from imaginator.web.pages import Pages
from imaginator.web.queries import all_fields, parse_query
from imaginator.web.view import View, WebParts

LAST_BUILDS = 50
"""Of how many builds a stream's page has a bar; it lists the latest of them."""

LISTED = 20

MOST_DRAWN = 2000
"""Streams that are drawn at most."""


class StreamPages(View):
    """The pages of streams."""

    def __init__(self, parts: WebParts, pages: Pages, started: datetime) -> None:
        super().__init__(parts, pages, started)
        self._all = CachedPage(parts.reactor)

    async def all(self, request: Request) -> bytes:
        """Every stream with its latest image, and why that was made, or has been left as it is."""
        return await self._all.answer(request, self._builder.version(), self._make_all)

    async def _make_all(self) -> bytes:
        images = await self._store.list()
        lines = stream_lines(self._builder.streams, images, self._builder.automation.verdicts)
        return await self.made_by_worker("streams.html", lines=lines)

    async def one(self, request: Request) -> bytes:
        """One stream: its latest image in short, its images and its last builds."""
        name = check_stream_name(parse_query(request.uri).name)
        images = newest_first(image for image in await self._store.list(name) if stream_of(image.name) == name)
        configured = name in self._builder.streams
        if not (configured or images):
            raise NotFound(f"unknown stream: {name}")
        found = await self._builder.builds(BuildQuery(stream_name=name, limit=LAST_BUILDS))
        builds = [build for build in found if build.request.stream_name == name]
        return self.page(
            request,
            "stream.html",
            name=name,
            configured=configured,
            images=images,
            verdict=self._builder.automation.verdicts.get(name),
            latest=await self._store.get(images[0].name) if images else None,
            builds=builds[:LISTED],
            strip=builds[::-1],
            longest=max(map(self.seconds, builds), default=0),
            seconds=self.seconds,
            acts=may_act(request),
        )

    def seconds(self, record: BuildRecord) -> float:
        """How long a build took, or has taken so far."""
        if record.started_at is None:
            return 0
        return max(((record.finished_at or self.now()) - record.started_at).total_seconds(), 0)

    async def graph(self, request: Request) -> None:
        """Which stream builds on which, drawn; without those that are excluded, or those alone that are included."""
        fields = all_fields(request.uri)
        includes, excludes = _names(fields.get("include", ())), _names(fields.get("exclude", ()))
        known = await self._builder.dependencies.choose(math.inf, excludes, includes)
        count = len(known.graph.names)
        drawn = await self._parts.workers.run(drawing, known.graph) if count <= MOST_DRAWN else None
        await self.long_page(
            request,
            "graph.html",
            known=known,
            drawn=drawn,
            count=count,
            includes=" ".join(includes),
            excludes=" ".join(excludes),
            states=self._kinds(known.graph, await self._builder.last_states()),
            links=self._builder.quick_links(),
            acts=may_act(request),
        )

    def _kinds(self, graph: Graph, states: Mapping[str, State]) -> dict[str, str]:
        """How each stream is drawn."""
        kinds = {name: states[name].value if name in states else "never" for name in graph.names}
        return kinds | dict.fromkeys(graph.unbuildable.union(graph.errors), "unbuildable")


def _names(values: Sequence[str]) -> list[str]:
    return [name for value in values for name in value.replace(",", " ").split()]
