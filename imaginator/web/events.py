"""Builds watched by server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

``/events`` tells of all builds: first of those that have not ended, then of every change. ``/events?ID`` tells of one
build, and its log while it grows. Every event has an id to resume from, which a browser sends by itself when it
connects again:

======  ===============================  ===============================================================
Event   Data, in JSON                    Id
======  ===============================  ===============================================================
build   a `BuildEvent`                   ERA-NUMBER of the change; of one build ATTEMPT-OFFSET of its log
log     ``Text``, from ``Offset`` on     ATTEMPT-OFFSET of what follows it
end     nothing: no more will come       the same
======  ===============================  ===============================================================

One who does not read is waited for, at the cost of one block, and goes on with what is there when it reads again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from twisted.internet.defer import CancelledError, Deferred, FailureGroup, race
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from imaginator.model.build import BuildRecord, Stage, State
from imaginator.model.codec import to_json
from imaginator.model.errors import NotFound
from imaginator.web.streaming import BLOCK

if TYPE_CHECKING:
    from imaginator.schedule.builder import Builder, LogView

HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}

QUIET = 15.0
"""Seconds after which a comment shows that the connection still stands: proxies close silent ones after a minute."""

MOST_QUEUED = 100
"""Of how many queued builds `Everything` tells at the beginning; of others when they change."""

_COMMENT = b":\n\n"
_ID = re.compile(r"([0-9a-f]{1,16})-([0-9]{1,18})", re.ASCII)

Redact = Callable[[str], str]


class BuildEvent(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A build as watchers see it; ``message`` says why it failed."""

    build_id: str
    stream_name: str
    requester: str
    state: State
    stage: Stage | None
    attempt: int
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    image_name: str
    message: str
    reason: str


class Position(NamedTuple):
    """What an id says: the era or the attempt, and how far the watcher has come in it."""

    part: str
    number: int

    def __str__(self) -> str:
        return f"{self.part}-{self.number}"


def position_of(text: str) -> Position | None:
    """The position that an id tells; None for what is none."""
    match = _ID.fullmatch(text)
    return Position(match[1], int(match[2])) if match else None


def event(kind: str, position: Position, data: object, redact: Redact = str) -> bytes:
    """One event. In JSON its data has no line ends, which would end it."""
    text = redact(to_json(data).decode())
    return f"event: {kind}\nid: {position}\ndata: {text}\n\n".encode()


def build_event(record: BuildRecord) -> BuildEvent:
    """What is told of a build."""
    own = {name: getattr(record, name) for name in BuildEvent.__struct_fields__ if hasattr(record, name)}
    message = record.failure.message if record.failure else ""
    return BuildEvent(**own, stream_name=record.request.stream_name, message=message)


class Everything:
    """All builds, as a `imaginator.web.streaming.Source` that never ends."""

    def __init__(self, builder: Builder, clock: IReactorTime, redact: Redact, last: Position | None) -> None:
        self._events = builder.events
        self._status = builder.status
        self._clock = clock
        self._redact = redact
        known = last is not None and last.part == self._events.era
        self._number = last.number if last and known else -1

    async def __call__(self) -> bytes:
        """The changes since the last block; a comment where there are none for a while."""
        changes = self._events.since(self._number)
        if changes is not None and not changes:
            await either(self._clock, self._events.later())
            changes = self._events.since(self._number)
        block = b"".join(self._told(self._unfinished() if changes is None else changes))
        self._number = self._events.last
        return block or _COMMENT

    def _unfinished(self) -> Sequence[BuildRecord]:
        status = self._status()
        return [*status.running, *islice(status.queued, MOST_QUEUED)]

    def _told(self, records: Sequence[BuildRecord]) -> list[bytes]:
        # Of several changes each names the last, so that a watcher who is cut off among them gets all of them again.
        position = Position(self._events.era, self._events.last)
        return [event("build", position, build_event(record), self._redact) for record in records]


class OneBuild:
    """One build and its log from a position on, as a `imaginator.web.streaming.Source`."""

    def __init__(
        self, builder: Builder, clock: IReactorTime, redact: Redact, record: BuildRecord, last: Position | None
    ) -> None:
        self._builder = builder
        self._clock = clock
        self._redact = redact
        self._build_id = record.build_id
        self._over = False
        self._told: BuildEvent | None = None
        self._log: LogView | None = None
        self._attempt = int(last.part) if last and last.part.isdigit() else record.attempt
        self._offset = last.number if last else 0

    async def __call__(self) -> bytes:
        """What is new of the build or its log; a comment where there is nothing for a while; empty after the end."""
        while not self._over:
            if block := await self._news():
                return block
            growth = [self._log.grown(self._offset)] if self._log and not self._log.finished else []
            if await either(self._clock, self._builder.events.later(), *growth):
                return _COMMENT
        return b""

    async def _news(self) -> bytes:
        record = await self._builder.get(self._build_id)
        self._log = await self._log_of(record)
        block = self._change(record) + (await self._more(self._log) if self._log else b"")
        if not block and record.state.final:
            self._over = True
            return event("end", self._position(), {})
        return block

    def _position(self) -> Position:
        return Position(str(self._attempt), self._offset)

    def _change(self, record: BuildRecord) -> bytes:
        told = build_event(record)
        if told == self._told:
            return b""
        self._told = told
        return event("build", self._position(), told, self._redact)

    async def _log_of(self, record: BuildRecord) -> LogView | None:
        """The build's log, if there is one; that of another attempt is read from its beginning."""
        if record.attempt != self._attempt:
            self._attempt, self._offset = record.attempt, 0
        try:
            return await self._builder.log(self._build_id)
        except NotFound:
            return None

    async def _more(self, log: LogView) -> bytes:
        """The next whole lines of the log, or what there is of a long one."""
        data = await log.read(self._offset, BLOCK)
        whole = data[: data.rfind(b"\n") + 1] or data
        if not whole:
            return b""
        told = {"Offset": self._offset, "Text": whole.decode(errors="replace")}
        self._offset += len(whole)
        return event("log", self._position(), told)


async def either(clock: IReactorTime, *awaited: Deferred[None]) -> bool:
    """Wait until one of them has fired, or for `QUIET` seconds; whether it was the latter. None is left waiting."""
    try:
        index, _ = await race([deferLater(clock, QUIET), *awaited])
    except FailureGroup:
        # None of them fails but by being cancelled, of which `race` makes the failure of all.
        raise CancelledError from None
    return index == 0
