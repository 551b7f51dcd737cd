"""The pauses that were ordered, in the catalogue."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

from imaginator.model.pauses import Disabled, Pause
from imaginator.store.catalogue import Catalogue


class PauseTable:
    """One pause of each kind at most, in ``catalogue``."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def put(self, pause: Pause) -> None:
        """Write a pause down, in place of the one of its kind."""
        values = (pause.what.value, pause.until.timestamp(), pause.by)
        text = "INSERT OR REPLACE INTO pauses (what, until, requester) VALUES (?, ?, ?)"
        await self._catalogue.write(lambda connection: connection.execute(text, values))

    async def remove(self, what: Disabled) -> None:
        """Forget the pause of a kind, if there is one."""
        text = "DELETE FROM pauses WHERE what = ?"
        await self._catalogue.write(lambda connection: connection.execute(text, (what.value,)))

    async def list(self) -> Sequence[Pause]:
        """All that are written down, ended ones included."""
        return await self._catalogue.read(_pauses)


def _pauses(connection: sqlite3.Connection) -> Sequence[Pause]:
    rows = connection.execute("SELECT what, until, requester FROM pauses ORDER BY what")
    return [Pause(Disabled(what), datetime.fromtimestamp(until, UTC), requester) for what, until, requester in rows]
