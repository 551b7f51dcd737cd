"""Rebuilds images by itself: every interval all bootstrap streams, then the streams that are listed for it.

An image so built expires after twice the interval; where its build fails, the one before is kept as long instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger

from imaginator.model.build import BuildRequest, State
from imaginator.model.errors import ImaginatorError
from imaginator.schedule.builder import Builder
from imaginator.schedule.configuration import Configuration
from imaginator.store.interface import Wanted

_log = Logger()


class AutoBuild:
    """One cycle is one `run`; ``interval`` is in seconds."""

    def __init__(self, builder: Builder, configuration: Configuration, interval: float) -> None:
        self._builder = builder
        self._configuration = configuration
        self._interval = interval

    async def run(self) -> None:
        """Bring every stream up to date, sources before the streams over them; returns when all have ended."""
        settings = self._configuration.settings
        bootstraps = sorted(settings.bootstrap_streams)
        await self._rebuild(bootstraps)
        await self._rebuild([name for name in settings.image_streams_to_auto_rebuild if name not in bootstraps])

    async def _rebuild(self, names: Sequence[str]) -> None:
        work = [Deferred.fromCoroutine(self._one(name)) for name in names]
        try:
            await gatherResults(work, consumeErrors=True)
        except FirstError as first:
            first.subFailure.raiseException()

    async def _one(self, name: str) -> None:
        """Build one stream, or let its latest image live on."""
        request = BuildRequest(stream_name=name, expires_in=2 * self._interval, max_source_age=2 * self._interval)
        try:
            record = await self._builder.rebuild(request)
            built = record.state is State.SUCCEEDED
        except ImaginatorError as error:
            _log.warn("automatic rebuild of {name}: {error}", name=name, error=str(error))
            built = False
        if not built:
            await self._extend(name)

    async def _extend(self, name: str) -> None:
        """Never shortens a life; an image that does not expire is left alone."""
        image = await self._builder.store.find_latest(Wanted(name))
        if image is None or image.expires_at is None:
            return
        until = self._builder.now() + timedelta(seconds=2 * self._interval)
        if until > image.expires_at:
            await self._builder.store.set_expiry(image.name, until)
            _log.info("image {name} is kept until {until}", name=image.name, until=until.isoformat())
