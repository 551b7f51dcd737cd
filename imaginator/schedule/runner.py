"""Runs queued builds, as many at a time as may be, and sees each to its end.

A build holds a *slot* while it works, and none while it waits for its source image to be built. However a build ends,
its log goes to the archive, its record is final on disk, and only then its waiters are told. While the catalogue cannot
be written, on a full disk say, an end is written down again and again, and told to nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.logger import Logger

from imaginator.build.buildlog import LARGEST_LOG, BuildLog
from imaginator.build.engine import Engine
from imaginator.build.job import SourceWish
from imaginator.model.build import BuildFailure, BuildRecord, BuildRequest, Stage, State
from imaginator.model.clock import wall_time
from imaginator.model.durations import format_duration
from imaginator.model.errors import BuildFailed, Cancelled, ImaginatorError, StoreUnwritable, TimedOut
from imaginator.model.image import Image
from imaginator.sandbox.process import Reactor
from imaginator.schedule.admission import BuildLimits
from imaginator.schedule.configuration import Configuration
from imaginator.schedule.jobs import Jobs
from imaginator.schedule.queue import Queue
from imaginator.schedule.sources import SourceFinder
from imaginator.schedule.spare import SpareSlots
from imaginator.store.interface import ImageStore
from imaginator.store.logs import LogArchive

BETWEEN_WRITES = 1.0
"""Seconds until what the catalogue did not take is written down again."""

_log = Logger()


class RunnerParts(NamedTuple):
    """What runs builds. ``logs`` is the folder of the logs that still grow.

    ``obstacle`` says why no build may start now, empty where they may; ``trouble`` why nothing can be written down;
    ``spare`` gives slots that no build wants.
    """

    reactor: Reactor
    engine: Engine
    store: ImageStore
    configuration: Configuration
    queue: Queue
    archive: LogArchive
    logs: Path
    limits: BuildLimits
    jobs: Jobs
    spare: SpareSlots
    obstacle: Callable[[], str] = str
    trouble: Callable[[], str] = str


class Progress:
    """A build's monitor: its log, and its stage in the queue."""

    def __init__(self, queue: Queue, build_id: str, log: BuildLog) -> None:
        self._queue = queue
        self._build_id = build_id
        self._log = log

    def stage(self, stage: Stage) -> None:
        """A stage begins."""
        self._log.stage(stage)
        self._queue.touch(self._build_id, stage=stage, stages=self._log.stages)

    def log(self, data: bytes) -> None:
        """Output of a command."""
        self._log.log(data)

    def note(self, text: str) -> None:
        """One line of the build itself."""
        self._log.note(text)


class Running:
    """One build at work: ``interrupt`` ends it, and ``reason`` then says why."""

    def __init__(self, log: BuildLog) -> None:
        self.log = log
        self.work: Deferred[Image] | None = None
        self.pause: Deferred[None] | None = None
        self.ended: Deferred[None] = Deferred()
        self.reason: ImaginatorError | None = None
        self.suspended = False

    def interrupt(self, reason: ImaginatorError | None) -> None:
        """End the work; None for a daemon that stops, whose builds go back to the queue."""
        self.reason = self.reason or reason
        for under_way in (self.work, self.pause):
            if under_way is not None:
                under_way.cancel()


class Runner:
    """Starts what may start whenever `pump` is called; ``wait`` observes a build's end."""

    def __init__(self, parts: RunnerParts) -> None:
        self._parts = parts
        parts.spare.offer = self.pump
        self._running: dict[str, Running] = {}
        self._returning: deque[Deferred[None]] = deque()
        self._waiters: dict[str, list[Deferred[BuildRecord]]] = {}
        self._stopping = False
        self._sources = SourceFinder(parts.store, parts.configuration, parts.queue, self)

    def now(self) -> datetime:
        """The time, as records have it."""
        return wall_time(self._parts.reactor)

    def running(self, build_id: str) -> Running | None:
        """A build at work, or waiting for its source."""
        return self._running.get(build_id)

    def obstacle(self) -> str:
        """Why no build may start now; empty where they may."""
        return self._parts.trouble() or self._parts.obstacle()

    def pump(self) -> None:
        """Start what may start."""
        while not self._stopping and self._slots_free():
            if self._returning:
                self._returning.popleft().callback(None)
                continue
            record = self._parts.queue.next(self._parts.limits.concurrent_per_user)
            if not (record or self._parts.spare.wanted) or self.obstacle():
                return
            if record is None:
                self._parts.spare.grant()
            elif not self._started(record):
                return

    def idle_for(self, record: BuildRecord) -> bool:
        """Whether a new build would start at once."""
        per_user = self._parts.limits.concurrent_per_user
        free = self._slots_free() and not self.obstacle()
        return free and self._parts.queue.may_start(record, per_user)

    def _slots_free(self) -> bool:
        working = sum(not running.suspended for running in self._running.values())
        return working + self._parts.spare.taken < self._parts.limits.concurrent

    def _started(self, record: BuildRecord) -> bool:
        try:
            self._start(record)
        except OSError as error:
            _log.error("build {id} cannot start now: {error}", id=record.build_id, error=error)
            return False
        return True

    def _start(self, record: BuildRecord) -> None:
        path = self._parts.logs / record.build_id
        path.unlink(missing_ok=True)
        limit = self._parts.archive.room_for(LARGEST_LOG)
        running = Running(BuildLog(path, self._parts.configuration.redactor, self._parts.reactor, limit))
        self._running[record.build_id] = running
        if record.reason:
            running.log.note(f"built automatically: {record.reason}")
        life = Deferred.fromCoroutine(self._live(record, running))
        life.addErrback(lambda failure: _log.failure("build {id}", failure, id=record.build_id))
        life.addBoth(lambda _: running.ended.callback(None))

    async def _live(self, record: BuildRecord, running: Running) -> None:
        """A build's life from its start to its end."""
        queue = self._parts.queue
        started = {"state": State.RUNNING, "attempt": record.attempt + 1, "started_at": self.now(), "stages": ()}
        try:
            record = await self._written(record, running, started)
            outcome = await self._outcome(record, running)
            if outcome is None:
                running.log.finish()
                record = await queue.change(record, state=State.QUEUED, attempt=record.attempt - 1, stage=None)
            else:
                await self._conclude(record, running, outcome)
        except StoreUnwritable as error:
            _log.error("build {id} is left to the next start: {error}", id=record.build_id, error=error)
        finally:
            del self._running[record.build_id]
            with suppress(OSError):
                (self._parts.logs / record.build_id).unlink(missing_ok=True)
            self.pump()

    async def _written(self, record: BuildRecord, running: Running, changes: Mapping[str, object]) -> BuildRecord:
        """The changed record once it is written down, however long that takes; raises `StoreUnwritable` at the end."""
        while True:
            try:
                return await self._parts.queue.change(record, **changes)
            except StoreUnwritable:
                if self._stopping:
                    raise
            running.pause = deferLater(self._parts.reactor, BETWEEN_WRITES)
            with suppress(CancelledError):
                await running.pause

    async def _outcome(self, record: BuildRecord, running: Running) -> dict[str, object] | None:
        """The last changes of a build's record; None for a build that goes back to the queue."""
        try:
            image = await self._worked(record, running)
        except CancelledError:
            return self._failed(running.reason) if running.reason else None
        except ImaginatorError as error:
            return self._failed(error)
        except Exception:
            _log.failure("build {id} broke", id=record.build_id)
            return self._failed(BuildFailed(f"internal error: the daemon's log tells more of build {record.build_id}"))
        return {"state": State.SUCCEEDED, "image_name": image.name}

    def _failed(self, error: ImaginatorError) -> dict[str, object]:
        state = State.CANCELLED if isinstance(error, Cancelled) else State.FAILED
        redact = self._parts.configuration.redact
        details = {name: redact(value) if isinstance(value, str) else value for name, value in error.details().items()}
        return {"state": state, "failure": BuildFailure(error.code, error.kind, redact(str(error)), details)}

    async def _worked(self, record: BuildRecord, running: Running) -> Image:
        """The engine's image, within the build's time."""
        if running.reason is not None or self._stopping:
            raise CancelledError
        seconds = await self._seconds(record.request)
        too_long = TimedOut(f"the build took longer than {format_duration(seconds)}")
        timer = self._parts.reactor.callLater(seconds, running.interrupt, too_long)
        try:
            running.work = Deferred.fromCoroutine(self._work(record, running))
            return await running.work
        finally:
            if timer.active():
                timer.cancel()

    async def _seconds(self, request: BuildRequest) -> float:
        """How long a build may take: as the flag, the stream and the request say, the shortest of them."""
        definition = await self._parts.configuration.find(request.stream_name)
        wishes = (request.maximum_build_duration, definition.limits.seconds if definition else 0)
        return min([self._parts.limits.maximum_duration, *(wish for wish in wishes if wish)])

    async def _work(self, record: BuildRecord, running: Running) -> Image:
        job = await self._parts.jobs.of(record)
        monitor = Progress(self._parts.queue, record.build_id, running.log)

        async def source(wish: SourceWish) -> Image:
            return await self._sources.find(record, running, wish)

        return await self._parts.engine.build(job, monitor, source, lambda: isinstance(running.reason, TimedOut))

    async def _conclude(self, record: BuildRecord, running: Running, outcome: dict[str, object]) -> None:
        """Close the log and the record, and tell the waiters."""
        failure = outcome.get("failure")
        if isinstance(failure, BuildFailure):
            running.log.note(f"{outcome['state']}: {failure.message}")
        running.log.finish()
        final: dict[str, object] = {"stage": None, "finished_at": self.now(), "stages": running.log.stages, **outcome}
        try:
            kept = msgspec.structs.replace(record, **final)
            await self._parts.archive.store(kept, running.log.path, running.log.marks)
            running.log.path = self._parts.archive.path_of(kept)  # for those who still read
        except OSError as error:
            _log.error("the log of build {id} cannot be kept: {error}", id=record.build_id, error=error.strerror)
        self.tell(await self._written(record, running, final))

    def wait(self, build_id: str) -> Deferred[BuildRecord]:
        """Fires with an unfinished build's final record; cancelling only forgets."""
        waiters = self._waiters.setdefault(build_id, [])
        waiting: Deferred[BuildRecord] = Deferred(waiters.remove)
        waiters.append(waiting)
        return waiting

    def tell(self, record: BuildRecord) -> None:
        """Tell everybody who waits for a build that it has ended."""
        for waiter in self._waiters.pop(record.build_id, []):
            waiter.callback(record)

    def suspend(self, running: Running) -> None:
        """Give a build's slot to others."""
        running.suspended = True
        self.pump()

    async def resume(self, running: Running) -> None:
        """Take a slot again, before any new build does."""
        turn: Deferred[None] = Deferred(self._returning.remove)
        turn.addCallback(lambda _: setattr(running, "suspended", False))
        self._returning.append(turn)
        self.pump()
        await turn

    async def stop(self) -> None:
        """End everything that runs; it goes back to the queue."""
        self._stopping = True
        running = list(self._running.values())
        for one in running:
            one.interrupt(None)
        await gatherResults([one.ended for one in running])
