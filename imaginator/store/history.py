"""The history of builds, which is also the queue's memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

import msgspec

from imaginator.model.build import BuildRecord, State
from imaginator.model.errors import NotFound
from imaginator.store.catalogue import Catalogue

_UNFINISHED = tuple(state.value for state in State if not state.final)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(BuildRecord)


class BuildQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which builds, newest first: of a stream or of those below a prefix of it, in one of ``states``, by a requester.

    Empty fields do not choose. ``since`` is the earliest time of submission; ``after`` the id of the last build of
    the page before.
    """

    stream_name: str = ""
    states: tuple[State, ...] = ()
    requester: str = ""
    since: datetime | None = None
    limit: int = 100
    after: str = ""


class History:
    """The builds in ``catalogue``."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def insert(self, record: BuildRecord) -> None:
        """Write down a new build."""
        await self._catalogue.write(lambda connection: _put(connection, record))

    async def update(self, record: BuildRecord) -> None:
        """Write down what became of a build; raises `NotFound` for one that was never inserted."""

        def change(connection: sqlite3.Connection) -> None:
            _get(connection, record.build_id)
            _put(connection, record)

        await self._catalogue.write(change)

    async def get(self, build_id: str) -> BuildRecord:
        """The build of this id; raises `NotFound`."""
        return await self._catalogue.read(lambda connection: _get(connection, build_id))

    async def list(self, query: BuildQuery) -> Sequence[BuildRecord]:
        """The builds that are asked for, newest first."""
        text, values = _sql(query)
        return await self._catalogue.read(lambda connection: _records(connection, text, values))

    async def last_states(self) -> dict[str, State]:
        """The state of each stream's last build that was asked for."""
        text = "SELECT stream, state, MAX(id) FROM builds GROUP BY stream"
        rows = await self._catalogue.read(lambda connection: connection.execute(text).fetchall())
        return {stream: State(state) for stream, state, _ in rows}

    async def unfinished(self) -> Sequence[BuildRecord]:
        """The builds whose state is not final, oldest first."""
        marks = ", ".join("?" * len(_UNFINISHED))
        text = f"SELECT record FROM builds WHERE state IN ({marks}) ORDER BY id"
        return await self._catalogue.read(lambda connection: _records(connection, text, _UNFINISHED))

    async def of_image(self, image_name: str) -> BuildRecord | None:
        """The build that made an image."""
        text = "SELECT record FROM builds WHERE image_name = ? LIMIT 1"
        found = await self._catalogue.read(lambda connection: _records(connection, text, (image_name,)))
        return found[0] if found else None


def _sql(query: BuildQuery) -> tuple[str, list[object]]:
    stream = query.stream_name.rstrip("/")
    marks = ", ".join("?" * len(query.states))
    wishes: list[tuple[str, Sequence[object]]] = [
        ("(stream = ? OR (stream >= ? AND stream < ?))", (stream, f"{stream}/", f"{stream}0") if stream else ()),
        (f"state IN ({marks})", [state.value for state in query.states]),
        ("requester = ?", [query.requester] if query.requester else ()),
        ("submitted_at >= ?", [query.since.timestamp()] if query.since else ()),
        ("id < ?", [query.after] if query.after else ()),
    ]
    chosen = [(text, values) for text, values in wishes if values]
    where = " AND ".join(text for text, _ in chosen) or "1"
    values = [value for _, some in chosen for value in some]
    return f"SELECT record FROM builds WHERE {where} ORDER BY id DESC LIMIT ?", [*values, query.limit]


def _records(connection: sqlite3.Connection, text: str, values: Sequence[object]) -> Sequence[BuildRecord]:
    return [_decoder.decode(record) for (record,) in connection.execute(text, values)]


def _get(connection: sqlite3.Connection, build_id: str) -> BuildRecord:
    row = connection.execute("SELECT record FROM builds WHERE id = ?", (build_id,)).fetchone()
    if row is None:
        raise NotFound(f"no such build: {build_id}")
    return _decoder.decode(row[0])


def _put(connection: sqlite3.Connection, record: BuildRecord) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO builds VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            record.build_id,
            record.request.stream_name,
            record.state.value,
            record.requester,
            record.submitted_at.timestamp(),
            record.image_name,
            _encoder.encode(record),
        ),
    )
