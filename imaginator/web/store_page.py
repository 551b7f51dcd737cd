"""The page of the store: what it holds, what is free beside it, and how both came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from twisted.web.server import Request

from imaginator.model.durations import format_size
from imaginator.model.errors import InvalidRequest, NotFound
from imaginator.web.charts import Chart, chart
from imaginator.web.queries import parse_form
from imaginator.web.view import View

if TYPE_CHECKING:
    from imaginator.store.usage import Usage

RANGES: Mapping[str, timedelta] = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
    "year": timedelta(days=366),
}
"""How far the page looks back, by the word in its address."""

USUAL = "week"

MOST_ROWS = 24
"""Samples that are listed in numbers."""


class StorePage(View):
    """The page at ``/showStore``."""

    async def show(self, request: Request) -> bytes:
        """The page, with as much of the past as is asked for."""
        if self._parts.usage is None:
            raise NotFound("this daemon keeps no record of its store")
        chosen = parse_form(request.uri).get("range", USUAL)
        if chosen not in RANGES:
            raise InvalidRequest(f"range {chosen!r}: expected one of {', '.join(RANGES)}")
        latest = await self._parts.usage.current()
        before = await self._parts.usage.since(self.now() - RANGES[chosen])
        samples = [*(sample for sample in before if sample.at < latest.at), latest]
        return self.page(
            request,
            "store.html",
            store=self._builder.status().store,
            chosen=chosen,
            ranges=list(RANGES),
            samples=samples,
            listed=listed(samples),
            charts=charts(samples),
        )


def listed(samples: Sequence[Usage]) -> Sequence[Usage]:
    """Some of the samples, latest first, the last and the first among them."""
    if len(samples) <= MOST_ROWS:
        return samples[::-1]
    return [samples[round(place * (len(samples) - 1) / (MOST_ROWS - 1))] for place in range(MOST_ROWS)][::-1]


def charts(samples: Sequence[Usage]) -> list[Chart]:
    """A chart of each number of at least one sample."""
    times = [sample.at.timestamp() for sample in samples]

    def over_time(name: str) -> list[tuple[float, int]]:
        return [(at, getattr(sample, name)) for at, sample in zip(times, samples, strict=True)]

    size = max(sample.size for sample in samples)
    return [
        chart("Images", over_time("images"), "{:,}".format),
        chart("Objects", over_time("objects"), "{:,}".format),
        chart("Content of the objects", over_time("object_bytes"), format_size, 1024),
        chart("Free on the disk", over_time("free"), format_size, 1024, size),
    ]
