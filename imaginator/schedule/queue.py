"""Which builds wait, run and have ended: written down before anybody is told, and read again after a restart.

A build that a crash interrupted is run once more, then marked failed. The latest state of unfinished builds is kept in
memory; the history has what must not be lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from imaginator.model.build import BuildFailure, BuildRecord, State
from imaginator.model.errors import BuildFailed
from imaginator.model.names import new_build_id
from imaginator.schedule.events import Events
from imaginator.schedule.unfinished import Unfinished
from imaginator.store.history import BuildQuery, History

MOST_ATTEMPTS = 2
"""How often a build is started that the daemon's own end interrupts while it works."""

RECENT = 20
"""How many ended builds of each kind the status page shows."""

AUTOMATON = "imaginator"
"""Who asks for automatic rebuilds, as the original names it."""

INTERRUPTED = f"the daemon ended while this build ran, {MOST_ATTEMPTS} times"


class Queue(Unfinished):
    """The builds that have not ended, and the latest that have."""

    def __init__(self, history: History, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._history = history
        self._now = now
        self._last_id = ""
        self._ending: dict[str, BuildRecord] = {}
        self._awaited: dict[str, str] = {}
        self.events = Events()
        self.good: deque[BuildRecord] = deque(maxlen=RECENT)
        self.failed: deque[BuildRecord] = deque(maxlen=RECENT)

    async def load(self) -> None:
        """Read what an earlier daemon left; what it was running is queued again, or has failed for good."""
        for states, recent in (((State.SUCCEEDED,), self.good), ((State.FAILED, State.CANCELLED), self.failed)):
            recent.extend(await self._history.list(BuildQuery(states=states, limit=RECENT)))
        for last in await self._history.list(BuildQuery(limit=1)):
            self._last_id = last.build_id
        for record in await self._history.unfinished():
            self.put(record)
        await gatherResults([Deferred.fromCoroutine(self._resume(record)) for record in self.active()])

    async def _resume(self, record: BuildRecord) -> None:
        if record.state is State.WAITING:
            # It did nothing that could have ended the daemon, whose end must not count against it.
            await self.change(record, state=State.QUEUED, stage=None, started_at=None, attempt=record.attempt - 1)
        elif record.attempt < MOST_ATTEMPTS:
            await self.change(record, state=State.QUEUED, stage=None, started_at=None)
        else:
            failure = BuildFailure(BuildFailed.code, BuildFailed.kind, INTERRUPTED)
            await self.change(record, state=State.FAILED, stage=None, finished_at=self._now(), failure=failure)

    def new_id(self) -> str:
        """The id of a new build; ids are in the order in which they were given, whatever the clock does."""
        self._last_id = new_build_id(self._now(), self._last_id)
        return self._last_id

    async def add(self, record: BuildRecord) -> None:
        """Write down a new build."""
        self.put(record)
        try:
            await self._history.insert(record)
        except BaseException:
            self.take(record.build_id)
            raise
        self.events.tell(record)
        if record.for_people:
            await self._lift_what_precedes(record.build_id)

    async def change(self, record: BuildRecord, **changes: object) -> BuildRecord:
        """Write down what became of an unfinished build; its new record.

        That a build has ended is seen by nobody before it is on disk.
        """
        changed = msgspec.structs.replace(self._records[record.build_id], **changes)
        if changed.state.final:
            await self._end(changed)
        else:
            self.put(changed)
            await self._history.update(changed)
        self.events.tell(changed)
        return changed

    async def _end(self, ended: BuildRecord) -> None:
        before = self._ending[ended.build_id] = self.take(ended.build_id)
        try:
            await self._history.update(ended)
        except BaseException:
            self.put(before)
            raise
        finally:
            del self._ending[ended.build_id]
        recent = self.good if ended.state is State.SUCCEEDED else self.failed
        recent.appendleft(ended)

    def touch(self, build_id: str, **changes: object) -> None:
        """Change an unfinished build in memory alone, for what a restart may forget (its stage)."""
        changed = msgspec.structs.replace(self._records[build_id], **changes)
        self.put(changed)
        self.events.tell(changed)

    async def begin_to_wait(self, waiter: str, awaited: str) -> None:
        """Write down that a build waits for another one, which is its source build now and inherits its precedence."""
        self._awaited[waiter] = awaited
        record = await self.change(self._records[waiter], state=State.WAITING)
        source = super().get(awaited)
        if source is not None and not source.parent:
            await self.change(source, parent=waiter)
        if record.for_people:
            await self.lift(awaited)

    def stop_waiting(self, waiter: str) -> None:
        """Let a build go on, in memory alone: the next change writes it down."""
        del self._awaited[waiter]
        self.touch(waiter, state=State.RUNNING)

    def get(self, build_id: str) -> BuildRecord | None:
        """A build that has not ended, as far as is written down."""
        return super().get(build_id) or self._ending.get(build_id)

    async def lift(self, build_id: str) -> None:
        """Let a build come before those of the daemon itself, since somebody waits for it; and what it waits for."""
        record = self._records.get(build_id)
        if record is not None and not record.for_people:
            await self.change(record, for_people=True)
            await self._lift_what_precedes(build_id)

    async def _lift_what_precedes(self, build_id: str) -> None:
        """Lift what must end before a build can go on: what it waits for, or the running build of its stream."""
        record = self._records.get(build_id)
        if record is not None and record.state is State.WAITING:
            await self.lift(self._awaited[build_id])
        elif record is not None and record.state is State.QUEUED:
            active = self.active_of(record.request.stream_name)
            if active is not None:
                await self.lift(active.build_id)
