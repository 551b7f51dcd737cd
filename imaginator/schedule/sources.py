"""Finds the image that a manifest builds on; builds it first where it is missing or too old."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from imaginator.build.job import SourceWish
from imaginator.model.build import BuildRecord, BuildRequest, State
from imaginator.model.durations import format_duration
from imaginator.model.errors import BuildFailed, Cancelled, SourceImageNeeded
from imaginator.model.image import Image
from imaginator.model.names import check_stream_name, new_build_id
from imaginator.schedule.configuration import Configuration
from imaginator.schedule.queue import Queue
from imaginator.store.interface import ImageStore, Wanted

if TYPE_CHECKING:
    from imaginator.schedule.runner import Runner, Running

DEFAULT_EXPIRY = 3600.0
"""Seconds that a source image lives whose builder asked for none."""


class SourceFinder:
    """Answers the wishes of running builds."""

    def __init__(self, store: ImageStore, configuration: Configuration, queue: Queue, runner: Runner) -> None:
        self._store = store
        self._configuration = configuration
        self._queue = queue
        self._runner = runner

    async def find(self, record: BuildRecord, running: Running, wish: SourceWish) -> Image:
        """The image that ``wish`` means, for the build ``record``.

        Raises `SourceImageNeeded` where it would have to be built and may or can not be, `BuildFailed` where building
        it failed or would go round in a circle.
        """
        check_stream_name(wish.stream)
        image = await self._store.find_latest(Wanted(wish.stream, wish.commit, wish.tags))
        problem = self._problem(image, record.request, wish.stream)
        if image is not None and not problem:
            return image
        if record.request.disable_recursive_build:
            raise SourceImageNeeded(problem, wish.stream)
        self._check_circle(record, wish.stream)
        if await self._configuration.find(wish.stream) is None:
            raise SourceImageNeeded(f"{problem}: unknown stream: {wish.stream}", wish.stream)
        running.log.note(f"{problem}: building it first")
        return await self._build(record, running, wish)

    def _problem(self, image: Image | None, request: BuildRequest, stream: str) -> str:
        """Why there must be another image; empty when this one will do."""
        if image is None:
            return f"no source image: {stream}"
        age = (self._runner.now() - image.created_at).total_seconds()
        if request.max_source_age and age > request.max_source_age:
            return f"too old source image: {stream} ({format_duration(age)})"
        return ""

    def _check_circle(self, record: BuildRecord, stream: str) -> None:
        names = [one.request.stream_name for one in self._ancestry(record)][::-1]
        if stream in names:
            circle = [*names[names.index(stream) :], stream]
            raise BuildFailed(f"build cycle: {' -> '.join(circle)}")

    def _ancestry(self, record: BuildRecord) -> Iterator[BuildRecord]:
        """A build, the one that waits for it, the one that waits for that, and so on."""
        parent: BuildRecord | None = record
        while parent is not None:
            yield parent
            parent = self._queue.get(parent.parent)

    async def _build(self, record: BuildRecord, running: Running, wish: SourceWish) -> Image:
        """Build the source while this build waits without a slot."""
        child = await self._submit(record, wish)
        waiting = self._runner.wait(child.build_id)
        self._queue.touch(record.build_id, state=State.WAITING)
        self._runner.suspend(running)
        try:
            ended = await waiting
        finally:
            await self._runner.resume(running)
            self._queue.touch(record.build_id, state=State.RUNNING)
        if ended.state is State.SUCCEEDED:
            return await self._store.get(ended.image_name)
        reason = ended.failure.message if ended.failure else str(ended.state)
        kind = Cancelled if ended.state is State.CANCELLED else BuildFailed
        raise kind(f"source image {wish.stream}: {reason}")

    async def _submit(self, record: BuildRecord, wish: SourceWish) -> BuildRecord:
        request = BuildRequest(
            stream_name=wish.stream,
            git_branch=wish.commit,
            expires_in=record.request.expires_in or DEFAULT_EXPIRY,
            max_source_age=record.request.max_source_age,
            variables=wish.variables,
        )
        known = self._queue.equivalent(request)
        if known is not None:
            return known
        now = self._runner.now()
        child = BuildRecord(
            build_id=new_build_id(now), request=request, requester="", submitted_at=now, parent=record.build_id
        )
        await self._queue.add(child)
        return child
