"""Keeps images up to date by itself: every interval all bootstrap streams, and the streams that are listed for it.

A *cycle* looks at each of these streams, at the stream that it builds on first, and has an image built where what goes
into one has changed. Otherwise, and where a build fails, the latest image is extended: it lives for twice the interval
from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from imaginator.build.job import SourceWish
from imaginator.build.sharing import Shared
from imaginator.model.build import BuildRequest, State
from imaginator.model.durations import format_duration
from imaginator.model.errors import BuildFailed, ImaginatorError, Refused
from imaginator.model.pauses import Disabled
from imaginator.schedule.builder import UNCHANGED, Builder, Verdict
from imaginator.schedule.configuration import Configuration
from imaginator.schedule.extending import Extensions
from imaginator.schedule.freshness import Freshness, Judgement
from imaginator.schedule.patience import Patience
from imaginator.schedule.pauses import Pauses
from imaginator.store.interface import Wanted

WITHOUT_INTERVAL = 3600.0
"""Seconds that images live which are built by a cycle that somebody started, where there is no interval."""

_log = Logger()


class AutoBuildParts(NamedTuple):
    """What cycles need. ``interval`` is in seconds of ``clock``, 0 where they are only started by hand."""

    builder: Builder
    configuration: Configuration
    freshness: Freshness
    pauses: Pauses
    interval: float
    clock: IReactorTime

    @property
    def life(self) -> float:
        """Seconds that an image lives which is built or extended."""
        return 2 * self.interval or WITHOUT_INTERVAL


class AutoBuild(Service):
    """One cycle at a time; ``verdicts`` are by stream."""

    def __init__(self, parts: AutoBuildParts) -> None:
        self._parts = parts
        self._patience = Patience(parts.interval, parts.clock)
        self._latest: Shared[None] | None = None
        self.verdicts: dict[str, Verdict] = {}

    async def run(self) -> None:
        """One cycle, the one that is under way if there is one; returns when all its streams are done with."""
        await self._begun().result()

    async def start(self, wait_to_start: bool, wait_for_complete: bool) -> None:
        """Begin a cycle now; raises `Refused` where one is under way, unless it is to be waited for."""
        if self._running is not None and not wait_to_start:
            raise Refused("auto build busy")
        while (running := self._running) is not None:
            await running.result()
        begun = self._begun()
        if wait_for_complete:
            await begun.result()

    async def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """End what is under way; builds are the builder's."""
        super().stopService()
        if (running := self._running) is not None:
            await running.end()

    @property
    def _running(self) -> Shared[None] | None:
        """The cycle that is under way: one without streams has ended as soon as it has begun."""
        return None if self._latest is None or self._latest.has_ended else self._latest

    def _begun(self) -> Shared[None]:
        begun = self._latest = self._running or Shared(self._cycle())
        return begun

    async def _cycle(self) -> None:
        begun = self._parts.clock.seconds()
        cycle = _Cycle(self._parts, self._patience, self.verdicts)
        try:
            await cycle.run()
        except CancelledError:
            raise
        except Exception:
            _log.failure("the automatic rebuild failed")
        took = self._parts.clock.seconds() - begun
        _log.info("automatic rebuild: {told}, in {took}", told=cycle.told(), took=format_duration(round(took, 1)))


class _Cycle:
    """One cycle; each stream is done with once, whoever asks for it."""

    def __init__(self, parts: AutoBuildParts, patience: Patience, verdicts: dict[str, Verdict]) -> None:
        self._parts = parts
        self._patience = patience
        self._verdicts = verdicts
        self._round = parts.freshness.round()
        self._streams: dict[str, Shared[None]] = {}
        self._waits: dict[str, str] = {}
        self._problems: dict[str, Shared[bool]] = {}
        self._life = timedelta(seconds=parts.life)
        self._confirmed = Extensions(self._confirm)
        self._counts = {"built": 0, "extended": 0, "failed": 0}

    async def run(self) -> None:
        """See to all streams; where it is cancelled, that ends."""
        settings = self._parts.configuration.settings
        names = sorted({*settings.bootstrap_streams, *settings.image_streams_to_auto_rebuild})
        for gone in self._verdicts.keys() - set(names):
            del self._verdicts[gone]
        try:
            ended = await DeferredList([self._settled(name) for name in names], consumeErrors=True)
            if not all(good for good, _ in ended):
                raise CancelledError  # nothing else keeps a stream from being done with
        finally:
            for stream in self._streams.values():
                await stream.end()
            for problem in self._problems.values():
                await problem.end()
            await self._round.close()

    def told(self) -> str:
        """What came of it, in numbers."""
        counts = ", ".join(f"{count} {what}" for what, count in self._counts.items())
        return f"{len(self._streams)} streams looked at, {counts}"

    def _settled(self, name: str) -> Deferred[None]:
        if name not in self._streams:
            self._streams[name] = Shared(self._see_to(name))
        return self._streams[name].result()

    async def _see_to(self, name: str) -> None:
        try:
            await self._decide(name)
        except CancelledError:
            raise
        except Exception:
            _log.failure("automatic rebuild of {name}", name=name)
            self._judge(name, "failed", "the daemon's log tells more")

    async def _decide(self, name: str) -> None:
        """Build, or let the latest image live on."""
        if (until := self._parts.pauses.until(Disabled.AUTO_BUILDS)) is not None:
            await self._extend(name)
            return self._judge(name, "extended", f"automatic builds are disabled until {until:%Y-%m-%d %H:%M:%S} UTC")
        try:
            reason, latest = await self._judgement(name)
        except ImaginatorError as error:
            return await self._unseen(name, self._parts.configuration.redact(str(error)))
        if reason:
            await self._changed(name, reason)
            return None
        self._patience.forget(name)
        await self._confirmed.add(latest)
        return self._judge(name, "extended", UNCHANGED)

    async def _judgement(self, name: str) -> Judgement:
        async def settled(wish: SourceWish) -> None:
            await self._source(name, wish)

        return await self._parts.freshness.judge(self._request(name), self._round, settled)

    async def _unseen(self, name: str, problem: str) -> None:
        """Have it built, so that a log tells what is wrong; where that fails, it is told of all with this problem."""
        reason = f"what goes into an image cannot be seen: {problem}"
        first = self._problems.get(problem)
        if first is None:
            self._problems[problem] = Shared(self._changed(name, reason))
            await self._problems[problem].result()
        elif await first.result():
            await self._changed(name, reason)
        else:
            await self._extend(name)
            self._judge(name, "failed", problem)

    async def _changed(self, name: str, reason: str) -> bool:
        """Build, unless that has failed lately; whether there is a new image."""
        if pause := self._patience.pause(name, reason):
            await self._extend(name)
            self._judge(name, "failed", f"{pause} ({reason})")
            return False
        return await self._build(name, reason)

    async def _source(self, name: str, wish: SourceWish) -> None:
        """Wait for the stream that ``name`` builds on, which thereby belongs to the cycle; raises `BuildFailed`."""
        if wish.commit or wish.variables or await self._parts.configuration.find(wish.stream) is None:
            return
        path = [name, wish.stream]
        while path[-1] != name and path[-1] in self._waits:
            path.append(self._waits[path[-1]])
        if path[-1] == name:
            raise BuildFailed(f"build cycle: {' -> '.join(path)}")
        self._waits[name] = wish.stream
        try:
            await self._settled(wish.stream)
        finally:
            del self._waits[name]

    async def _build(self, name: str, reason: str) -> bool:
        try:
            record = await self._parts.builder.rebuild(self._request(name), reason)
            problem = record.failure.message if record.failure else ""
            good = record.state is State.SUCCEEDED
        except ImaginatorError as error:
            problem, good = str(error), False
        if good:
            self._patience.forget(name)
            self._judge(name, "built", reason)
            return True
        self._patience.failed(name, reason)
        await self._extend(name)
        self._judge(name, "failed", self._parts.configuration.redact(problem))
        return False

    async def _extend(self, name: str) -> None:
        """Let the latest image live on, whether it is what a new build would make or not."""
        store = self._parts.builder.store
        if image := await store.find_latest(Wanted(name)):
            await store.extend([image.name], self._parts.builder.now() + self._life)

    async def _confirm(self, names: Sequence[str]) -> None:
        """Let images live on that are what new builds would make."""
        now = self._parts.builder.now()
        await self._parts.builder.store.extend(names, now + self._life, now)

    def _judge(self, name: str, what: str, words: str) -> None:
        self._counts[what] += 1
        verdict = self._verdicts[name] = Verdict(self._parts.builder.now(), what, words)
        if not verdict.unchanged:
            _log.info("automatic rebuild of {name}: {words}", name=name, words=verdict.words)

    def _request(self, name: str) -> BuildRequest:
        return BuildRequest(stream_name=name, expires_in=self._parts.life, max_source_age=self._parts.life)
