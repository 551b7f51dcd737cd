"""A builder without builds: a test moves its records by hand through the life that the real one gives them.

`FakeBuilder` has the whole face of `imaginator.schedule.builder.Builder`, `FakeStore` that of an image store,
`FakeLog` that of a build log that grows while somebody reads it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from twisted.internet.defer import Deferred, succeed

from imaginator.model.build import BuildFailure, BuildRecord, BuildRequest, Stage, State
from imaginator.model.errors import NotFound, NotPermitted, Refused
from imaginator.model.identity import Caller
from imaginator.model.image import Image
from imaginator.model.marks import Marks
from imaginator.model.names import new_build_id, stream_of
from imaginator.model.pauses import Disabled, Pause
from imaginator.model.settings import QuickLink
from imaginator.model.tree import Entry, Inode, Kind, Node, NodeReader
from imaginator.schedule.admission import BuildLimits, check_new_expiry, check_owner
from imaginator.schedule.builder import Verdict
from imaginator.schedule.dependencies import Snapshot
from imaginator.schedule.events import Events
from imaginator.store.interface import Hold, ImageStore, ImageSummary, Note, Wanted, silent

if TYPE_CHECKING:
    from imaginator.store.history import BuildQuery

LIMITS = BuildLimits(4, 1, 86400.0, 900.0, 86400.0, 730 * 3600.0)
START = datetime(2026, 11, 22, 23, 38, 5, tzinfo=UTC)
EMPTY_ROOT = Entry(b"", Inode(Kind.DIRECTORY, 0o755))


class Status(NamedTuple):
    """What the status page shows, as the real builder gathers it."""

    running: Sequence[BuildRecord] = ()
    queued: Sequence[BuildRecord] = ()
    failed: Sequence[BuildRecord] = ()
    good: Sequence[BuildRecord] = ()
    errors: Sequence[str] = ()
    streams: Sequence[str] = ()
    store: str = "embedded store in memory"
    rpc_closed: str = ""
    obstacle: str = ""
    trouble: str = ""
    pauses: Sequence[Pause] = ()


class FakeLog:
    """A build log in memory: `append` and `finish` are the build, the rest is what a reader sees."""

    def __init__(self, data: bytes = b"", finished: bool = False) -> None:
        self.data = bytearray(data)
        self.finished = finished
        self.path = Path("/nonexistent/buildLog")
        self.reads: list[tuple[int, int]] = []
        self.marks = Marks()
        self._waiting: list[Deferred[None]] = []

    def append(self, data: bytes) -> None:
        """Let the build say something."""
        self.data += data
        self._wake()

    def finish(self) -> None:
        """End the build; every waiting reader is told."""
        self.finished = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(None)

    @property
    def size(self) -> int:
        """How many bytes there are so far."""
        return len(self.data)

    @property
    def readers(self) -> int:
        """How many wait for more."""
        return len(self._waiting)

    async def read(self, offset: int, limit: int) -> bytes:
        """At most ``limit`` bytes from ``offset`` on."""
        self.reads.append((offset, limit))
        return bytes(self.data[offset : offset + limit])

    def grown(self, offset: int) -> Deferred[None]:
        """Fires when there is something after ``offset``, or the log is finished."""
        if self.finished or len(self.data) > offset:
            return succeed(None)
        waiting: Deferred[None] = Deferred(lambda gone: self._waiting.remove(gone))
        self._waiting.append(waiting)
        return waiting


class FakeHold(Hold):
    """A hold that only says what it keeps."""

    def __init__(self, images: list[str]) -> None:
        self.images = images

    async def image(self, image: Image) -> None:
        """Say that it is held."""
        self.images.append(image.name)

    def content(self, ids: Iterable[bytes]) -> None:
        """Say nothing."""


class FakeStore(ImageStore):
    """Images in memory; nodes and objects only where a test puts them."""

    def __init__(self, images: Iterable[Image] = ()) -> None:
        self.images = {image.name: image for image in images}
        self.tree: dict[bytes, Node] = {}
        self.held: list[str] = []
        self.directory = Path("/nonexistent")

    async def find_latest(self, wanted: Wanted) -> Image | None:
        """The last image of the stream, whatever its commit and tags."""
        names = sorted(name for name in self.images if stream_of(name) == wanted.stream)
        return self.images[names[-1]] if names else None

    async def get(self, name: str) -> Image:
        """The image called ``name``; raises `NotFound`."""
        if name not in self.images:
            raise NotFound(f"no such image: {name}")
        return self.images[name]

    async def list(self, prefix: str = "") -> Sequence[ImageSummary]:
        """The images below ``prefix``, by name."""
        below = prefix and prefix.rstrip("/") + "/"
        return [
            ImageSummary(image.name, image.created_at, image.expires_at, image.figures)
            for name, image in sorted(self.images.items())
            if name.startswith(below)
        ]

    @property
    def version(self) -> int:
        """How many there are, which is all that changes here."""
        return len(self.images)

    async def streams(self) -> frozenset[str]:
        """The streams of the images."""
        return frozenset(map(stream_of, self.images))

    async def missing(self, digests: Iterable[bytes]) -> frozenset[bytes]:
        """All of them."""
        return frozenset(digests)

    async def add(
        self, draft: Image, nodes: Mapping[bytes, bytes], layers: Sequence[str], note: Note = silent
    ) -> Image:
        """Keep ``draft`` under its own name."""
        self.images[draft.name] = draft
        return draft

    async def computed(self, image: Image) -> dict[bytes, bytes]:
        """There are none."""
        return {}

    async def set_expiry(self, name: str, expires_at: datetime | None) -> None:
        """Change when an image expires; raises `NotFound`."""
        self.images[name] = msgspec.structs.replace(await self.get(name), expires_at=expires_at)

    async def extend(self, names: Sequence[str], until: datetime, confirmed_at: datetime | None = None) -> None:
        """Change when images expire."""
        for name in names:
            image = await self.get(name)
            self.images[name] = msgspec.structs.replace(image, expires_at=until, confirmed_at=confirmed_at)

    async def delete(self, name: str) -> None:
        """Forget an image; raises `NotFound`."""
        del self.images[(await self.get(name)).name]

    @contextmanager
    def hold(self) -> Iterator[Hold]:
        """Nothing is ever collected here, but ``held`` has the images that somebody holds."""
        yield FakeHold(self.held)
        self.held.clear()

    def nodes(self) -> NodeReader:
        """A reader of `tree`."""
        return self.tree.__getitem__

    def open_object(self, digest: bytes) -> int:
        """A file of `directory`."""
        return os.open(self.directory / digest.hex(), os.O_RDONLY)

    @property
    def objects(self) -> Path:
        """The directory of the objects."""
        return self.directory


class FakeDependencies:
    """A graph that a test sets; ``asked`` are the ages that were asked for."""

    def __init__(self) -> None:
        self.latest = Snapshot(generated_at=START, attempted_at=START)
        self.asked: list[float] = []

    async def choose(self, max_age: float, excludes: Sequence[str], includes: Sequence[str]) -> Snapshot:
        """The part of the graph that is asked for."""
        self.asked.append(max_age)
        return self.latest._replace(graph=self.latest.graph.chosen(excludes, includes))

    async def look(self, max_age: float = 0.0) -> Snapshot:
        """All of it."""
        self.asked.append(max_age)
        return self.latest


class FakeAutomation:
    """Notes how cycles were started; one is under way as long as ``busy`` is set."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.started: list[tuple[bool, bool]] = []
        self.busy = False

    async def start(self, wait_to_start: bool, wait_for_complete: bool) -> None:
        """Begin a cycle, or refuse."""
        if self.busy and not wait_to_start:
            raise Refused("auto build busy")
        self.started.append((wait_to_start, wait_for_complete))


class FakeBuilder:
    """The face of the real builder over a table of records, with methods that play the builds.

    ``builders`` maps a stream to the users who may build it; the streams are its keys.
    """

    def __init__(
        self,
        builders: Mapping[str, Sequence[str]] | None = None,
        store: ImageStore | None = None,
        now: Callable[[], datetime] = lambda: START,
    ) -> None:
        self.builders = dict(builders or {})
        self.store = store or FakeStore()
        self.records: dict[str, BuildRecord] = {}
        self.logs: dict[str, FakeLog] = {}
        self.events = Events()
        self.unchanging: object = None
        self.kept: dict[str, datetime] = {}
        self.errors: list[str] = []
        self.dependencies = FakeDependencies()
        self.automation = FakeAutomation()
        self.rpc_closed = ""
        self.obstacle = ""
        self.trouble = ""
        self.pauses: list[Pause] = []
        self._now = now
        self._waiters: dict[str, list[Deferred[BuildRecord]]] = {}

    @property
    def streams(self) -> Sequence[str]:
        """The names of the streams, sorted."""
        return sorted(self.builders)

    async def submit(self, request: BuildRequest, caller: Caller) -> BuildRecord:
        """Queue a build, or return the queued one that is the same; refuse unknown streams and strangers."""
        if request.stream_name not in self.builders:
            raise NotFound(f"unknown stream: {request.stream_name}")
        if not caller.full_access and caller.user not in self.builders[request.stream_name]:
            raise NotPermitted(f"no permission to build: {request.stream_name}")
        if request.fail_if_busy and self._in(State.RUNNING):
            raise Refused("busy")
        if request.expires_in <= 0:
            raise Refused("minimum expiration duration is 15m")
        same = (r for r in self.records.values() if r.state is State.QUEUED and r.request == request)
        return next(same, None) or self.add(request, caller.user)

    async def wait(self, build_id: str) -> BuildRecord:
        """The record in its final state."""
        record = await self.get(build_id)
        if record.state.final:
            return record
        waiters = self._waiters.setdefault(build_id, [])
        waiting: Deferred[BuildRecord] = Deferred(waiters.remove)
        waiters.append(waiting)
        return await waiting

    async def get(self, build_id: str) -> BuildRecord:
        """One record; raises `NotFound`."""
        if build_id not in self.records:
            raise NotFound(f"no such build: {build_id}")
        record = self.records[build_id]
        if record.state is not State.QUEUED:
            return record
        earlier = [one for one in self._in(State.QUEUED) if one.build_id <= build_id]
        return msgspec.structs.replace(record, place=len(earlier))

    async def builds(self, query: BuildQuery) -> list[BuildRecord]:
        """The records that the query asks for, newest first."""
        found = [record for record in self.records.values() if _asked_for(record, query)]
        return sorted(found, key=lambda record: record.build_id, reverse=True)[: query.limit]

    async def cancel(self, build_id: str, caller: Caller) -> BuildRecord:
        """End a build; only its requester and full access may."""
        record = await self.get(build_id)
        if not caller.full_access and caller.user != record.requester:
            raise NotPermitted(f"no permission to cancel: {build_id}")
        if record.state.final:
            return record
        failure = BuildFailure(-32007, "cancelled", f"cancelled by {caller.user}")
        return self._end(build_id, state=State.CANCELLED, failure=failure)

    async def change_expiry(self, name: str, expires_at: datetime | None, caller: Caller) -> None:
        """Let an image expire at another time, by the real rules."""
        image = await self.store.get(name)
        check_owner(image, caller)
        check_new_expiry(image, expires_at, self._now(), caller, LIMITS)
        await self.store.set_expiry(name, expires_at)

    async def delete_image(self, name: str, caller: Caller) -> None:
        """Delete an image, by the real rules."""
        check_owner(await self.store.get(name), caller)
        await self.store.delete(name)

    async def disable(self, what: Disabled, seconds: float, caller: Caller) -> datetime | None:
        """Remember a pause."""
        self.pauses = [pause for pause in self.pauses if pause.what is not what]
        if not seconds:
            return None
        pause = Pause(what, self._now() + timedelta(seconds=seconds), caller.user)
        self.pauses.append(pause)
        return pause.until

    def kept_until(self, build_id: str) -> datetime | None:
        """When the tree of a failed build goes; tests put it there."""
        return self.kept.get(build_id)

    async def log(self, name: str) -> FakeLog:
        """The log of a build, named by its id or its image; raises `NotFound`."""
        for record in self.records.values():
            if name in (record.build_id, record.image_name):
                return self.logs[record.build_id]
        raise NotFound(f"no build log of: {name}")

    def version(self) -> object:
        """Another one each time, but where a test says that nothing changes."""
        return self.unchanging or object()

    async def expected(self, record: BuildRecord) -> float:
        """A hundred seconds."""
        return 100.0

    async def last_states(self) -> dict[str, State]:
        """The state of each stream's last build."""
        return {record.request.stream_name: record.state for record in self.records.values()}

    def quick_links(self) -> Sequence[QuickLink]:
        """One link."""
        return (QuickLink("Only the web", "/showDirectedGraph?include=web"),)

    async def mentioned(self, builds: Sequence[BuildRecord], text: str) -> dict[str, str]:
        """Those whose logs have the text, which is told of them."""
        return {build.build_id: text for build in builds if text.encode() in self.logs[build.build_id].data}

    async def current_log(self, stream: str) -> FakeLog:
        """The log of the stream's running build; raises `NotFound`."""
        return self._log_of(stream, lambda record: record.state is State.RUNNING)

    async def last_log(self, stream: str) -> FakeLog:
        """The log of the stream's last finished build; raises `NotFound`."""
        return self._log_of(stream, lambda record: record.state.final)

    def _log_of(self, stream: str, which: Callable[[BuildRecord], bool]) -> FakeLog:
        for record in reversed(self.records.values()):
            if record.request.stream_name == stream and which(record):
                return self.logs[record.build_id]
        raise NotFound(f"no build log of: {stream}")

    def status(self) -> Status:
        """Every record under its heading, and what a test set in `errors` and `rpc_closed`."""
        return Status(
            running=self._in(State.RUNNING, State.WAITING),
            queued=self._in(State.QUEUED),
            failed=self._in(State.FAILED, State.CANCELLED),
            good=self._in(State.SUCCEEDED),
            errors=self.errors,
            streams=self.streams,
            rpc_closed=self.rpc_closed,
            obstacle=self.obstacle,
            trouble=self.trouble,
            pauses=self.pauses,
        )

    def _in(self, *states: State) -> Sequence[BuildRecord]:
        return [record for record in self.records.values() if record.state in states]

    def add(self, request: BuildRequest, requester: str = "alice", age: float = 0) -> BuildRecord:
        """Put a build into the queue, submitted ``age`` seconds ago."""
        submitted = self._now() - timedelta(seconds=age)
        record = BuildRecord(
            build_id=new_build_id(submitted), request=request, requester=requester, submitted_at=submitted
        )
        self.records[record.build_id] = record
        self.logs[record.build_id] = FakeLog()
        return record

    def start(self, build_id: str, stage: Stage = Stage.FETCH, log: bytes = b"") -> BuildRecord:
        """Let a queued build run, or move a running one to another stage."""
        self.logs[build_id].append(log)
        record = self.records[build_id]
        started = record.started_at or record.submitted_at + timedelta(seconds=2)
        return self._change(build_id, state=State.RUNNING, stage=stage, attempt=1, started_at=started)

    def succeed(self, build_id: str, image: Image) -> BuildRecord:
        """End a build with an image, which goes into a `FakeStore`."""
        if isinstance(self.store, FakeStore):
            self.store.images[image.name] = image
        return self._end(build_id, state=State.SUCCEEDED, image_name=image.name)

    def fail(self, build_id: str, failure: BuildFailure) -> BuildRecord:
        """End a build with an error."""
        return self._end(build_id, state=State.FAILED, failure=failure)

    def _end(self, build_id: str, **changes: object) -> BuildRecord:
        record = self._change(build_id, finished_at=self._now(), stage=None, **changes)
        self.logs[build_id].finish()
        for waiting in self._waiters.pop(build_id, []):
            waiting.callback(record)
        return record

    def _change(self, build_id: str, **changes: object) -> BuildRecord:
        record = msgspec.structs.replace(self.records[build_id], **changes)
        self.records[build_id] = record
        self.events.tell(record)
        return record


def _asked_for(record: BuildRecord, query: BuildQuery) -> bool:
    stream = record.request.stream_name
    return (
        (not query.stream_name or f"{stream}/".startswith(query.stream_name.rstrip("/") + "/"))
        and (not query.states or record.state in query.states)
        and (not query.requester or record.requester == query.requester)
        and (query.since is None or record.submitted_at >= query.since)
        and (not query.after or record.build_id < query.after)
    )
