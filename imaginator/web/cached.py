"""Pages that many look at: made when what they show has changed, not when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.web.http import CACHED
from twisted.web.server import Request

from imaginator.build.turns import Turns
from imaginator.web.answers import set_headers
from imaginator.web.view import HTML

LONGEST = 10.0
"""Seconds after which a page is made anew all the same: ages in it have changed, and what expires by itself."""


class Made(NamedTuple):
    """A page as it was made: of which version, when, and a tag for those who have it already."""

    version: object
    at: float
    body: bytes
    tag: bytes


class CachedPage:
    """One page."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._turn = Turns(clock)
        self._made: Made | None = None

    async def answer(self, request: Request, version: object, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The page of a version, which ``make`` makes; nothing but its status where the client has it."""
        made = self._known(version)
        if made is None:
            async with self._turn.turn():
                made = self._known(version) or await self._make(version, make)
        set_headers(request, {**HTML, "Cache-Control": "no-cache"})
        if request.setETag(made.tag) is CACHED:
            return b""
        set_headers(request, {"Content-Length": str(len(made.body))})
        return made.body

    def _known(self, version: object) -> Made | None:
        made = self._made
        fresh = made is not None and made.version == version and 0 <= self._clock.seconds() - made.at < LONGEST
        return made if fresh else None

    async def _make(self, version: object, make: Callable[[], Awaitable[bytes]]) -> Made:
        at, body = self._clock.seconds(), await make()
        tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'.encode()
        self._made = Made(version, at, body, tag)
        return self._made
