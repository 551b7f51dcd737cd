"""What every group of pages has in common: what they show, and how a template becomes an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request

from imaginator.model.clock import wall_time
from imaginator.model.expiry import TlsState
from imaginator.model.identity import Caller
from imaginator.model.journal import Entry
from imaginator.model.settings import QuickLink
from imaginator.web.answers import set_headers
from imaginator.web.meters import Meters
from imaginator.web.pages import Pages
from imaginator.web.streaming import ThreadBlocks, send

if TYPE_CHECKING:
    from imaginator.schedule.builder import Builder
    from imaginator.store.usage import StoreUsage
    from imaginator.store.workers import Workers

HTML = {"Content-Type": "text/html; charset=utf-8"}
TEXT = {"Content-Type": "text/plain; charset=utf-8"}


class WebParts(NamedTuple):
    """What the pages are made of.

    ``redact`` replaces secrets in a text. ``rpc`` has what answers programs, by the first part of its path; it is
    empty where they are not served. ``recent_log`` gives the daemon's last log entries. ``public_downloads`` opens
    images to clients without a certificate, ``identified`` closes pages to them. ``tls`` tells of the certificates in
    force. ``caller`` is whoever sent a request that does what a method of that name does; it raises
    `NotAuthenticated` or `NotPermitted`. Without it nothing can be done here. ``meters`` has what is counted,
    ``state_dir`` is on the disk whose room is told; ``usage`` knows what the store held. ``connections`` counts those
    that are open; ``reload_errors`` those that new versions of files were refused for, by what they are.
    ``reference`` is the methods' OpenRPC document; ``dashboards`` are the operator's own, elsewhere.
    """

    builder: Builder
    workers: Workers
    redact: Callable[[str], str]
    reactor: IReactorTime
    rpc: Mapping[str, IResource] = MappingProxyType({})
    recent_log: Callable[[], Sequence[Entry]] | None = None
    public_downloads: bool = False
    identified: bool = False
    tls: Callable[[], TlsState] = TlsState
    caller: Callable[[Request, str], Caller] | None = None
    meters: Meters | None = None
    state_dir: Path = Path("/")
    usage: StoreUsage | None = None
    connections: Callable[[], int] = int
    reference: Callable[[], Mapping[str, Any]] | None = None
    dashboards: Sequence[QuickLink] = ()
    reload_errors: Callable[[], Mapping[str, int]] = dict


class View:
    """A group of pages."""

    def __init__(self, parts: WebParts, pages: Pages, started: datetime) -> None:
        self._parts = parts
        self._pages = pages
        self._started = started
        self._builder = parts.builder
        self._store = parts.builder.store

    def now(self) -> datetime:
        """The time."""
        return wall_time(self._parts.reactor)

    def page(self, request: IRequest, template: str, **values: object) -> bytes:
        """A page that is small enough to be made at once."""
        set_headers(request, HTML)
        return self._pages.render(template, **self._common(), **values)

    async def made_by_worker(self, template: str, **values: object) -> bytes:
        """A page of some size, as a whole."""
        return await self._parts.workers.run(self._pages.render, template, **self._common(), **values)

    async def long_page(self, request: Request, template: str, **values: object) -> None:
        """A page that may be long: it is made by a worker, and sent as it is made."""
        parts = self._pages.parts(template, **self._common(), **values)
        source = ThreadBlocks(parts, self._parts.workers)
        try:
            await send(request, source, HTML)
        finally:
            source.close()

    def _common(self) -> dict[str, object]:
        return {
            "has_log": self._parts.recent_log is not None,
            "has_reference": self._parts.reference is not None,
            "has_usage": self._parts.usage is not None,
            "started": self._started,
        }
