"""The one face of building that programs and people see; no request owns a build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from imaginator.model.build import BuildFailure, BuildRecord, BuildRequest, State
from imaginator.model.errors import Cancelled, NotFound, NotPermitted, Refused
from imaginator.model.graph import describe_cycle
from imaginator.model.identity import Caller
from imaginator.model.pauses import Disabled, Pause
from imaginator.model.settings import QuickLink
from imaginator.model.variables import check_request_variables
from imaginator.schedule.admission import (
    check_expiry,
    check_keeping,
    check_new_expiry,
    check_owner,
    check_permission,
)
from imaginator.schedule.dependencies import Dependencies
from imaginator.schedule.events import Events
from imaginator.schedule.logview import ArchivedLog, LogView
from imaginator.schedule.pauses import Pauses
from imaginator.schedule.queue import AUTOMATON
from imaginator.schedule.runner import Runner, RunnerParts
from imaginator.schedule.shells import Shells
from imaginator.store.history import BuildQuery, History
from imaginator.store.interface import ImageStore

__all__ = ["Builder", "LogView", "Status"]

SHUTDOWN = 8.0
"""Seconds that running builds get to end cleanly when the daemon stops."""

_LIVES = ("expires_in", "keep_failed")
_AUTOMATON = Caller(AUTOMATON, full_access=True)

_log = Logger()


class Status(NamedTuple):
    """What the status page shows.

    ``rpc_closed`` says why RPC is refused, empty where it is served; ``obstacle`` why no build may start, and
    ``trouble`` why nothing can be written down, which is such an obstacle. ``queued`` is in the order in which builds
    will start, and ``pauses`` what is disabled.
    """

    running: Sequence[BuildRecord]
    queued: Sequence[BuildRecord]
    failed: Sequence[BuildRecord]
    good: Sequence[BuildRecord]
    errors: Sequence[str]
    streams: Sequence[str]
    store: str
    rpc_closed: str
    obstacle: str
    trouble: str
    pauses: Sequence[Pause]


UNCHANGED = "nothing has changed"


class Verdict(NamedTuple):
    """What the last automatic cycle made of a stream: ``what``, such as ``built``, and why."""

    at: datetime
    what: str
    why: str

    @property
    def words(self) -> str:
        """Both, for people."""
        return f"{self.what}: {self.why}"

    @property
    def failed(self) -> bool:
        """Whether there ought to be another image than there is."""
        return self.what == "failed"

    @property
    def unchanged(self) -> bool:
        """Whether the latest image is what a new build would make."""
        return self.why == UNCHANGED


class Automation(Protocol):
    """The cycles that bring images up to date; `imaginator.schedule.autobuild.AutoBuild` is one."""

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        """By stream."""

    async def start(self, wait_to_start: bool, wait_for_complete: bool) -> None:
        """Begin a cycle now; raises `Refused` where one is under way, unless it is to be waited for."""


class Builder(Service):
    """Builds images; ``store_line`` tells people which image store is used.

    ``dependencies`` knows the graph of all streams, ``shells`` opens the kept trees of failed builds. ``automation``,
    which builds with this one, is set once it is made.
    """

    automation: Automation

    def __init__(
        self,
        parts: RunnerParts,
        history: History,
        pauses: Pauses,
        store_line: str,
        dependencies: Dependencies,
        shells: Shells,
    ) -> None:
        self._parts = parts
        self.dependencies = dependencies
        self._history = history
        self._pauses = pauses
        self._queue = parts.queue
        self._runner = Runner(parts)
        self._store_line = store_line
        self.shells = shells
        self.rpc_closed = ""

    async def load(self) -> None:
        """Take up what an earlier daemon left; comes before the service starts."""
        for path in self._parts.logs.iterdir():
            path.unlink()
        await self._pauses.load()
        await self._queue.load()

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to build."""
        super().startService()
        self._runner.pump()

    async def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """End running builds and keep them queued."""
        super().stopService()
        stopping = Deferred.fromCoroutine(self._runner.stop())
        stopping.addTimeout(SHUTDOWN, self._parts.reactor)
        stopping.addErrback(lambda failure: _log.failure("builds did not end in time", failure))
        await stopping

    def go_on(self) -> None:
        """Start what may start, since what was in its way is gone."""
        self._runner.pump()

    def now(self) -> datetime:
        """The time, as records have it."""
        return self._runner.now()

    @property
    def events(self) -> Events:
        """What becomes of builds, as it happens."""
        return self._queue.events

    @property
    def store(self) -> ImageStore:
        """The images."""
        return self._parts.store

    async def submit(self, request: BuildRequest, caller: Caller) -> BuildRecord:
        """Queue a build for a person, or join the queued one that is the same; written down when this returns.

        Raises `NotFound`, `NotPermitted`, `Refused` or `InvalidRequest`.
        """
        definition = await self._parts.configuration.find(request.stream_name)
        if definition is None:
            raise NotFound(f"unknown stream: {request.stream_name}")
        check_permission(request.stream_name, definition, caller)
        check_expiry(request, caller, self._parts.limits)
        check_keeping(request)
        check_request_variables(request.variables)
        self._pauses.check_requests()
        plain = msgspec.structs.replace(request, fail_if_busy=False)
        known = self._queue.identical(plain)
        record = self._record(plain, caller)
        if request.fail_if_busy and (known or not self._runner.idle_for(record)):
            raise Refused(f"busy: a build of {request.stream_name} would have to wait")
        return self._placed(await (self._join(known, plain) if known else self._add(record)))

    async def rebuild(self, request: BuildRequest, reason: str = "") -> BuildRecord:
        """Build for the daemon itself, and return the final record; joins any build whose image serves as well."""
        record = self._queue.equivalent(request)
        if record is None:
            record = await self._add(msgspec.structs.replace(self._record(request, _AUTOMATON), reason=reason))
        return await self.wait(record.build_id)

    async def _join(self, known: BuildRecord, request: BuildRequest) -> BuildRecord:
        """The queued build, which is a person's now; what it brings lives for the longer of both times."""
        await self._queue.lift(known.build_id)
        longer = {name: max(getattr(known.request, name), getattr(request, name)) for name in _LIVES}
        joined = msgspec.structs.replace(known.request, **longer)
        return known if joined == known.request else await self._queue.change(known, request=joined)

    def _record(self, request: BuildRequest, caller: Caller) -> BuildRecord:
        return BuildRecord(
            build_id=self._queue.new_id(),
            request=request,
            requester=caller.user,
            submitted_at=self.now(),
            privileged=caller.full_access,
            for_people=caller is not _AUTOMATON,
        )

    async def _add(self, record: BuildRecord) -> BuildRecord:
        await self._queue.add(record)
        self._parts.reactor.callLater(0, self._runner.pump)
        return record

    async def wait(self, build_id: str) -> BuildRecord:
        """A build's record in its final state; raises `NotFound`."""
        if self._queue.get(build_id) is not None:
            return await self._runner.wait(build_id)
        return await self.get(build_id)

    async def get(self, build_id: str) -> BuildRecord:
        """A build's record as it is now; raises `NotFound`."""
        known = self._queue.get(build_id)
        return self._placed(known) if known else await self._history.get(build_id)

    def _placed(self, record: BuildRecord) -> BuildRecord:
        """A record that tells the build's place in the queue."""
        place = self._queue.place(record)
        return msgspec.structs.replace(record, place=place) if place else record

    async def builds(self, query: BuildQuery) -> list[BuildRecord]:
        """The builds that are asked for, newest first, each as it is now."""
        found = await self._history.list(query)
        return [self._placed(self._queue.get(record.build_id) or record) for record in found]

    async def cancel(self, build_id: str, caller: Caller) -> BuildRecord:
        """End a build, and return when it has ended; one that has ended before stays as it is.

        Raises `NotFound`, and `NotPermitted` for anybody but its requester and callers with full access.
        """
        record = await self.get(build_id)
        if not caller.full_access and caller.user != record.requester:
            raise NotPermitted(f"no permission to cancel: {build_id}")
        if record.state.final:
            return record
        reason = Cancelled(f"cancelled by {caller.user}")
        running = self._runner.running(build_id)
        waiting = self._runner.wait(build_id)
        if running is not None:
            running.interrupt(reason)
        elif self._queue.place(record):
            await self._withdraw(record, reason)
        return await waiting

    async def _withdraw(self, record: BuildRecord, reason: Cancelled) -> None:
        """Take a build out of the queue."""
        failure = BuildFailure(reason.code, reason.kind, str(reason))
        ended = await self._queue.change(record, state=State.CANCELLED, finished_at=self.now(), failure=failure)
        self._runner.tell(ended)

    async def disable(self, what: Disabled, seconds: float, caller: Caller) -> datetime | None:
        """Disable something for a while; when it ends, or None for 0 seconds, which enable it. Raises `Refused`."""
        until = await self._pauses.disable(what, seconds, caller.user)
        _log.info("{user}: {what} disabled until {until}", user=caller.user, what=what, until=until or "now")
        return until

    async def change_expiry(self, name: str, expires_at: datetime | None, caller: Caller) -> None:
        """Let an image expire at another time; None for never. Raises `NotFound`, `NotPermitted` or `Refused`."""
        image = await self.store.get(name)
        check_owner(image, caller)
        check_new_expiry(image, expires_at, self.now(), caller, self._parts.limits)
        await self.store.set_expiry(name, expires_at)
        when = expires_at.isoformat() if expires_at else "never"
        _log.info("image {name} expires {when}, as {user} wished", name=name, when=when, user=caller.user)

    async def delete_image(self, name: str, caller: Caller) -> None:
        """Delete an image; builds that stand on it go on. Raises `NotFound` or `NotPermitted`."""
        check_owner(await self.store.get(name), caller)
        await self.store.delete(name)
        _log.info("image {name} was deleted by {user}", name=name, user=caller.user)

    def kept_until(self, build_id: str) -> datetime | None:
        """When the tree of a failed build goes; None where none is kept."""
        return self.shells.kept_until(build_id)

    async def log(self, name: str) -> LogView:
        """The log of a build, named by its id or its image; raises `NotFound`, for a build too that has not begun."""
        record = await self._history.of_image(name) if "/" in name else await self.get(name)
        if record is None:
            raise NotFound(f"no build log of: {name}")
        return self._log_of(record)

    @property
    def streams(self) -> Sequence[str]:
        """The names of all streams that are named, sorted."""
        return self._parts.configuration.names

    def version(self) -> object:
        """Something that is another where what the status page or the list of streams shows has changed."""
        configuration = self._parts.configuration
        return (
            self.events.last,
            self.store.version,
            configuration.settings,
            configuration.streams,
            configuration.errors,
            self._runner.obstacle(),
            self._pauses.current(),
            self.rpc_closed,
            self.dependencies.latest.generated_at,
        )

    async def expected(self, record: BuildRecord) -> float:
        """How many seconds a build should take, as far as its stream's last good one tells; 0 where there is none."""
        query = BuildQuery(stream_name=record.request.stream_name, states=(State.SUCCEEDED,), limit=1)
        return sum(time.seconds for last in await self._history.list(query) for time in last.stages)

    async def last_states(self) -> dict[str, State]:
        """The state of each stream's last build that was asked for."""
        return await self._history.last_states()

    def quick_links(self) -> Sequence[QuickLink]:
        """What the configuration has the page of the graph offer."""
        return self._parts.configuration.settings.relationships_quick_links

    async def mentioned(self, builds: Sequence[BuildRecord], text: str) -> dict[str, str]:
        """Of some builds those whose logs have a text, in whatever case: id → the first line that has it."""
        return await self._parts.archive.search(builds, text)

    async def current_log(self, stream: str) -> LogView:
        """The log of a stream's running build; raises `NotFound`."""
        record = self._queue.active_of(stream)
        if record is not None:
            return self._log_of(record)
        raise NotFound(f"no build is running of: {stream}")

    async def last_log(self, stream: str) -> LogView:
        """The log of a stream's last build that has ended; raises `NotFound`."""
        ended = tuple(state for state in State if state.final)
        for record in await self._history.list(BuildQuery(stream_name=stream, states=ended)):
            if record.request.stream_name == stream and record.attempt:
                return self._log_of(record)
        raise NotFound(f"no build has ended of: {stream}")

    def _log_of(self, record: BuildRecord) -> LogView:
        running = self._runner.running(record.build_id)
        if running is not None:
            return running.log
        try:
            return ArchivedLog(self._parts.archive.path_of(record))
        except FileNotFoundError:
            state = "is not kept any more" if record.state.final else "has not begun"
            raise NotFound(f"the log of build {record.build_id} {state}") from None

    def status(self) -> Status:
        """What the status page shows."""
        configuration = self._parts.configuration
        return Status(
            running=self._queue.active(),
            queued=self._queue.queued(),
            failed=list(self._queue.failed),
            good=list(self._queue.good),
            errors=[configuration.redact(error) for error in (*configuration.errors, *self._cycles())],
            streams=configuration.names,
            store=self._store_line,
            rpc_closed=self.rpc_closed,
            obstacle=self._runner.obstacle(),
            trouble=self._parts.trouble(),
            pauses=self._pauses.current(),
        )

    def _cycles(self) -> Iterator[str]:
        """Circles of streams, which nobody can build, as far as the latest graph has them."""
        return map(describe_cycle, self.dependencies.latest.graph.cycles)
