"""The page that an operator keeps open: what is being built, what waits, what failed, what came out."""

from __future__ import annotations

from datetime import datetime

from twisted.web.server import Request

from imaginator.web.cached import CachedPage
from imaginator.web.overview import rebuilds
from imaginator.web.pages import Pages
from imaginator.web.view import View, WebParts

MOST_QUEUED = 100
"""How many queued builds the page names."""


class StatusPage(View):
    """The page at ``/``."""

    def __init__(self, parts: WebParts, pages: Pages, started: datetime) -> None:
        super().__init__(parts, pages, started)
        self._page = CachedPage(parts.reactor)

    async def show(self, request: Request) -> bytes:
        """The page, made anew where something has changed."""
        version = self._builder.version(), self._parts.tls()
        return await self._page.answer(request, version, self._make)

    async def _make(self) -> bytes:
        status = self._builder.status()
        expected = {record.build_id: await self._builder.expected(record) for record in status.running}
        return await self.made_by_worker(
            "status.html",
            status=status,
            tls=self._parts.tls(),
            images=len(await self._store.list()),
            expected=expected,
            most_queued=MOST_QUEUED,
            dashboards=self._parts.dashboards,
            rebuilds=rebuilds(self._builder.automation.verdicts),
        )
