"""Says why a stream needs another image: what goes into one now is compared with what went into the latest.

A round is one look at many streams. In it each repository is asked once, and the packager of each source image is
brought up to date once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from imaginator.build.environment import build_environment
from imaginator.build.heads import Heads
from imaginator.build.job import Job, SourceWish
from imaginator.build.looking import Looker, Sight
from imaginator.build.sharing import Shared
from imaginator.build.sources import Sources
from imaginator.build.turns import Turns
from imaginator.model.build import BuildRecord, BuildRequest
from imaginator.model.durations import format_duration
from imaginator.model.fingerprint import Fingerprint, differences, digest
from imaginator.model.image import Image
from imaginator.model.renewal import RebuildWhen, Renewal
from imaginator.model.settings import BootstrapStream, Settings
from imaginator.model.streams import Stream
from imaginator.schedule.inquiry import Alone, Inquiry, Line, Question, question_of
from imaginator.schedule.jobs import Jobs
from imaginator.store.interface import ImageStore, Wanted

LOOKS = 8
"""Streams that are looked at side by side."""

BASES = 64
"""Images to build on that are remembered: each has the list of its packages."""

NO_IMAGE = "there is no image yet"

Settled = Callable[[SourceWish], Awaitable[None]]
"""Waits until the stream that a manifest builds on is up to date, where the round sees to that."""


class FreshnessParts(NamedTuple):
    """What judging needs. ``now`` tells the time; ``rebuild_unchanged`` makes all look outdated."""

    clock: IReactorTime
    jobs: Jobs
    store: ImageStore
    looker: Looker
    inquiry: Inquiry
    now: Callable[[], datetime]
    rebuild_unchanged: bool = False


class Judgement(NamedTuple):
    """Why a stream needs another image than the one called ``latest``: empty where it does not, or there is none."""

    reason: str
    latest: str = ""


class Round:
    """What was found out in one round."""

    def __init__(self, sources: Sources) -> None:
        self.heads = Heads(sources)
        self.lines: dict[str, Line] = {}
        self._bases: dict[str, Shared[Image | None]] = {}

    async def close(self) -> None:
        """End what is being asked, and wait until nothing is left of it."""
        await self.heads.close()
        for line in self.lines.values():
            await line.closed()

    async def base(self, store: ImageStore, wish: SourceWish) -> Image | None:
        """The image to build on, once its stream is settled; many streams share one, so the last few are remembered."""
        key = digest((wish.stream, wish.commit, wish.tags))
        if key not in self._bases:
            self._bases[key] = Shared(store.find_latest(Wanted(wish.stream, wish.commit, wish.tags)))
            if len(self._bases) > BASES:
                del self._bases[next(iter(self._bases))]
        return await self._bases[key].result()


class Freshness:
    """Judges streams; raises whatever keeps it from seeing what goes into an image."""

    def __init__(self, parts: FreshnessParts) -> None:
        self._parts = parts
        self._looks = Turns(parts.clock, LOOKS)

    def round(self) -> Round:
        """A new round."""
        return Round(self._parts.looker.sources)

    async def judge(self, request: BuildRequest, this: Round, settled: Settled) -> Judgement:
        """Whether an image has to be built, and why, in a few words."""
        job = await self._parts.jobs.of(BuildRecord(build_id="", request=request, requester="", submitted_at=self._now))
        if isinstance(job.definition, Stream):
            return await self._of_manifest(job, job.definition, this, settled)
        return await self._of_bootstrap(job, job.definition, this)

    @property
    def _now(self) -> datetime:
        return self._parts.now()

    async def _of_bootstrap(self, job: Job, definition: BootstrapStream, this: Round) -> Judgement:
        async with self._looks.turn():
            now = await self._parts.looker.bootstrap(job, definition)
        image = await self._parts.store.find_latest(Wanted(job.stream_name))
        if image is None:
            return Judgement(NO_IMAGE)
        told = self._without_looking(definition, image, "") or self._compared(image, now)
        question = question_of(job.settings, image, build_environment(job, ""))
        return Judgement(told or await self._packages(image, question, this), image.name)

    async def _of_manifest(self, job: Job, definition: Stream, this: Round, settled: Settled) -> Judgement:
        async with self._looks.turn():
            sight = await self._parts.looker.manifest(job, definition, this.heads)
        await settled(sight.wish)
        image = await self._parts.store.find_latest(Wanted(job.stream_name))
        if image is None:
            return Judgement(NO_IMAGE)
        return Judgement(await self._why(job, definition, image, sight, this), image.name)

    async def _why(self, job: Job, definition: Stream, image: Image, sight: Sight, this: Round) -> str:
        unseen = sight.unseen(definition) or _shared(job.settings)
        if told := self._without_looking(definition, image, unseen):
            return told
        source = await this.base(self._parts.store, sight.wish)
        if source is None:
            return f"no source image: {sight.wish.stream}"
        now = self._parts.looker.fingerprint(job, definition, sight, source.name)
        told = self._compared(image, now)
        if told or not sight.facts.manifest.packages:
            return told
        return await self._installed(job, definition, image, source, sight, this)

    def _without_looking(self, definition: Renewal, image: Image, unseen: str) -> str:
        """Why there has to be a new image whatever goes into it; ``unseen`` is what nobody can look at."""
        age = (self._now - image.created_at).total_seconds()
        if self._parts.rebuild_unchanged:
            return "--rebuild-unchanged"
        if definition.oldest and age > definition.oldest:
            return f"the image is older than {format_duration(definition.oldest)} (MaximumImageAge)"
        if definition.rebuild_when is RebuildWhen.ALWAYS:
            return "RebuildWhen is always"
        if definition.rebuild_when is None and unseen:
            return f"not all that goes into it can be seen: {unseen}"
        return ""

    def _compared(self, image: Image, now: Fingerprint) -> str:
        if image.fingerprint is None:
            return f"it is not known what {image.name} was made from"
        return "; ".join(differences(image.fingerprint, now))

    async def _installed(
        self, job: Job, definition: Stream, image: Image, source: Image, sight: Sight, this: Round
    ) -> str:
        """What the packager would install otherwise for a package list."""
        prepare = self._parts.looker.preparation(definition, sight)
        alone = Alone(sight.environment, prepare) if prepare else None
        names = sight.facts.manifest.packages
        return await self._packages(image, question_of(job.settings, source, sight.environment, names, alone), this)

    async def _packages(self, image: Image, question: Question | None, this: Round) -> str:
        if question is None:
            return f"the packager of {image.origin.source_image or image.name} cannot tell what it would install"
        return await self._parts.inquiry.differences(image, question, this.lines)


def _shared(settings: Settings) -> str:
    """What builds of manifests see of the host, which may change what they do; empty for nothing."""
    if settings.bind_mounts or settings.bind_mounts_writable:
        return "builds see bind mounts"
    return "builds have a cache" if settings.cache else ""
