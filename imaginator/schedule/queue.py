"""Which builds wait, run and have ended: written down before anybody is told, and read again after a restart.

A build that a crash interrupted is run once more, then marked failed. The latest state of unfinished builds is kept in
memory; the history has what must not be lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from imaginator.model.build import BuildFailure, BuildRecord, BuildRequest, State
from imaginator.model.errors import BuildFailed
from imaginator.store.history import BuildQuery, History

MOST_ATTEMPTS = 2
"""How often a build is started that the daemon's own end interrupts."""

RECENT = 20
"""How many ended builds of each kind the status page shows."""

AUTOMATON = "imaginator"
"""Who asks for automatic rebuilds, as the original names it."""

INTERRUPTED = f"the daemon ended while this build ran, {MOST_ATTEMPTS} times"


class Queue:
    """The builds that have not ended, by id, oldest first, and the latest that have."""

    def __init__(self, history: History, now: Callable[[], datetime]) -> None:
        self._history = history
        self._now = now
        self._unfinished: dict[str, BuildRecord] = {}
        self.good: deque[BuildRecord] = deque(maxlen=RECENT)
        self.failed: deque[BuildRecord] = deque(maxlen=RECENT)

    async def load(self) -> None:
        """Read what an earlier daemon left; what it was running is queued again, or has failed for good."""
        for states, recent in (((State.SUCCEEDED,), self.good), ((State.FAILED, State.CANCELLED), self.failed)):
            recent.extend(await self._history.list(BuildQuery(states=states, limit=RECENT)))
        for record in await self._history.unfinished():
            await self._resume(record)

    async def _resume(self, record: BuildRecord) -> None:
        self._unfinished[record.build_id] = record
        if record.state is not State.QUEUED and record.attempt >= MOST_ATTEMPTS:
            failure = BuildFailure(BuildFailed.code, BuildFailed.kind, INTERRUPTED)
            await self.change(record, state=State.FAILED, stage=None, finished_at=self._now(), failure=failure)
        elif record.state is not State.QUEUED:
            await self.change(record, state=State.QUEUED, stage=None, started_at=None)

    async def add(self, record: BuildRecord) -> None:
        """Write down a new build."""
        self._unfinished[record.build_id] = record
        try:
            await self._history.insert(record)
        except BaseException:
            del self._unfinished[record.build_id]
            raise

    async def change(self, record: BuildRecord, **changes: object) -> BuildRecord:
        """Write down what became of a build; its new record."""
        changed = msgspec.structs.replace(record, **changes)
        self._unfinished[record.build_id] = changed
        await self._history.update(changed)
        if changed.state.final:
            del self._unfinished[record.build_id]
            recent = self.good if changed.state is State.SUCCEEDED else self.failed
            recent.appendleft(changed)
        return changed

    def touch(self, build_id: str, **changes: object) -> None:
        """Change an unfinished build in memory alone, for what a restart may forget (its stage)."""
        self._unfinished[build_id] = msgspec.structs.replace(self._unfinished[build_id], **changes)

    def get(self, build_id: str) -> BuildRecord | None:
        """An unfinished build."""
        return self._unfinished.get(build_id)

    def select(self, *states: State) -> list[BuildRecord]:
        """The unfinished builds in some states, oldest first."""
        return [record for record in self._unfinished.values() if record.state in states]

    def identical(self, request: BuildRequest) -> BuildRecord | None:
        """A queued build that was asked for with the same words, its expiry apart."""
        wanted = msgspec.structs.replace(request, expires_in=0)
        queued = self.select(State.QUEUED)
        return next((one for one in queued if msgspec.structs.replace(one.request, expires_in=0) == wanted), None)

    def equivalent(self, request: BuildRequest) -> BuildRecord | None:
        """An unfinished build whose image would serve as well: same stream, branch and variables."""
        wanted = (request.stream_name, request.git_branch, request.variables)
        for record in self._unfinished.values():
            one = record.request
            if not record.state.final and (one.stream_name, one.git_branch, one.variables) == wanted:
                return record
        return None


def startable(queued: Iterable[BuildRecord], active: Sequence[BuildRecord], per_user: int) -> BuildRecord | None:
    """The first build that may start beside the ``active`` ones: of another stream, and its user's limit not reached.

    ``queued`` is oldest first. Builds for people come before those of the daemon itself.
    """
    streams = {record.request.stream_name for record in active}
    users = [record.requester for record in active if record.requester and not record.privileged]
    allowed = [
        record
        for record in queued
        if record.request.stream_name not in streams
        and (record.privileged or not record.requester or users.count(record.requester) < per_user)
    ]
    return min(allowed, key=lambda record: record.requester == AUTOMATON, default=None)
