"""The page of the daemon's own log, with what is chosen from it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from twisted.web.server import Request

from imaginator.model.durations import parse_duration
from imaginator.model.errors import InvalidRequest, NotFound
from imaginator.model.journal import LEVELS, Choice, Entry
from imaginator.model.names import check_stream_name, is_build_id
from imaginator.store.history import BuildQuery
from imaginator.web.answers import plain
from imaginator.web.queries import parse_form
from imaginator.web.view import View

MOST_SHOWN = 500
"""Entries that one page shows."""

BUILDS = 100
"""Of how many of a stream's builds entries are found by the build's id alone."""

FIELDS = ("level", "name", "text", "since")


class LogPage(View):
    """The page at ``/logs``."""

    async def show(self, request: Request) -> bytes:
        """The chosen entries, latest first."""
        entries = self._entries()
        form = parse_form(request.uri)
        fields = {name: form.get(name, "").strip() for name in FIELDS}
        chosen = (await self._choice(**fields)).chosen(entries)[::-1]
        return self.page(
            request,
            "logs.html",
            fields=fields,
            levels=LEVELS[1:],
            entries=[(datetime.fromtimestamp(entry.at, UTC), entry) for entry in chosen[:MOST_SHOWN]],
            left_out=max(len(chosen) - MOST_SHOWN, 0),
            count=len(entries),
        )

    def dump(self, request: Request) -> bytes:
        """All entries as plain text, oldest first: the original's address, whose only name here is ``latest``."""
        if parse_form(request.uri).get("name") != "latest":
            raise NotFound("no such log: expected name=latest")
        lines = [f"{_stamp(entry.at)} {entry.level}: {entry.text}" for entry in self._entries()]
        return plain(request, self._parts.redact("\n".join(lines)))

    def _entries(self) -> Sequence[Entry]:
        if self._parts.recent_log is None:
            raise NotFound("this daemon keeps no log in memory")
        return self._parts.recent_log()

    async def _choice(self, level: str, name: str, text: str, since: str) -> Choice:
        if level and level not in LEVELS:
            raise InvalidRequest(f"level {level!r}: expected one of {', '.join(LEVELS)}")
        moment = since_when(since, self.now()).timestamp() if since else 0.0
        return Choice(level or LEVELS[0], moment, text, name, await self._builds(name))

    async def _builds(self, name: str) -> frozenset[str]:
        """The ids of a stream's latest builds."""
        if not name or is_build_id(name):
            return frozenset()
        found = await self._builder.builds(BuildQuery(stream_name=check_stream_name(name), limit=BUILDS))
        return frozenset(record.build_id for record in found if record.request.stream_name == name)


def _stamp(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def since_when(text: str, now: datetime) -> datetime:
    """The moment that ``15m`` ago, or a time of ISO 8601, was; raises `InvalidRequest` for anything else."""
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return datetime.fromtimestamp(max(now.timestamp() - parse_duration(text), 0), UTC)
    except (ValueError, OverflowError):
        example = "2026-11-22 23:38"
        raise InvalidRequest(f"since {text!r}: expected a duration like 15m, or a time like {example} (UTC)") from None
