"""Finds the image that a manifest builds on; builds it first where it is missing or too old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imaginator.build.job import SourceWish
from imaginator.model.build import BuildRecord, BuildRequest, State
from imaginator.model.durations import format_duration
from imaginator.model.errors import BuildFailed, Cancelled, SourceImageNeeded
from imaginator.model.image import Image
from imaginator.model.names import check_stream_name
from imaginator.model.tags import matches
from imaginator.schedule.configuration import Configuration
from imaginator.schedule.queue import Queue
from imaginator.store.interface import ImageStore, Wanted

if TYPE_CHECKING:
    from imaginator.schedule.runner import Runner, Running

DEFAULT_EXPIRY = 3600.0
"""Seconds that a source image lives whose builder asked for none."""


class SourceFinder:
    """Answers the wishes of running builds, and knows which stream waits for which."""

    def __init__(self, store: ImageStore, configuration: Configuration, queue: Queue, runner: Runner) -> None:
        self._store = store
        self._configuration = configuration
        self._queue = queue
        self._runner = runner
        self._waits: dict[str, str] = {}

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
        if await self._configuration.find(wish.stream) is None:
            raise SourceImageNeeded(f"{problem}: unknown stream: {wish.stream}", wish.stream)
        self._check_circle(record, wish.stream)
        running.log.note(f"{problem}: building it first")
        return await self._build(record, running, wish)

    def _problem(self, image: Image | None, request: BuildRequest, stream: str) -> str:
        """Why there must be another image; empty when this one will do."""
        if image is None:
            return f"no source image: {stream}"
        age = (self._runner.now() - image.current_at).total_seconds()
        if request.max_source_age and age > request.max_source_age:
            return f"too old source image: {stream} ({format_duration(age)})"
        return ""

    def _check_circle(self, record: BuildRecord, source: str) -> None:
        """One build of a stream runs at a time: who waits for a stream also waits for what that one waits for."""
        stream = record.request.stream_name
        path = [stream, source]
        while path[-1] != stream and path[-1] in self._waits:
            path.append(self._waits[path[-1]])
        if path[-1] == stream:
            raise BuildFailed(f"build cycle: {' -> '.join(path)}")

    async def _build(self, record: BuildRecord, running: Running, wish: SourceWish) -> Image:
        """Build the source while this build waits without a slot."""
        request = self._request(record, wish)
        known = self._queue.equivalent(request)
        child = known or self._child(record, request)
        self._waits[record.request.stream_name] = wish.stream
        try:
            if known is None:
                await self._queue.add(child)
            ended = await self._wait(record, running, child)
        finally:
            del self._waits[record.request.stream_name]
        if ended.state is State.SUCCEEDED:
            return await self._built(ended.image_name, wish)
        reason = ended.failure.message if ended.failure else str(ended.state)
        kind = Cancelled if ended.state is State.CANCELLED else BuildFailed
        raise kind(f"source image {wish.stream}: {reason}")

    async def _built(self, name: str, wish: SourceWish) -> Image:
        """The image that was built for a wish; raises `BuildFailed` where it has not the tags that were wished for."""
        image = await self._store.get(name)
        for key, values in wish.tags.items():
            if not matches(image.tags, {key: values}):
                expected = f"expected {' or '.join(values)}, as SourceImageTagsToMatch says"
                raise BuildFailed(f"source image {name}: its tag {key} is {image.tags.get(key, '')!r}: {expected}")
        return image

    async def _wait(self, record: BuildRecord, running: Running, child: BuildRecord) -> BuildRecord:
        """The record of ``child`` when it has ended."""
        waiting = self._runner.wait(child.build_id)
        try:
            await self._queue.begin_to_wait(record.build_id, child.build_id)
            self._runner.suspend(running)
            ended = await waiting
            await self._runner.resume(running)
        finally:
            # A build that is ended while it waits needs no slot to clean up.
            running.suspended = False
            self._queue.stop_waiting(record.build_id)
        await self._queue.change(record)
        return ended

    def _request(self, record: BuildRecord, wish: SourceWish) -> BuildRequest:
        return BuildRequest(
            stream_name=wish.stream,
            git_branch=wish.commit,
            expires_in=record.request.expires_in or DEFAULT_EXPIRY,
            max_source_age=record.request.max_source_age,
            variables=wish.variables,
            keep_failed=record.request.keep_failed,
        )

    def _child(self, record: BuildRecord, request: BuildRequest) -> BuildRecord:
        return BuildRecord(
            build_id=self._queue.new_id(),
            request=request,
            requester="",
            submitted_at=self._runner.now(),
            parent=record.build_id,
            for_people=record.for_people,
        )
