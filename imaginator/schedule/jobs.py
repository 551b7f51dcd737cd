"""From a build's record to the self-contained value that the engine takes."""

from __future__ import annotations

from typing import NamedTuple

from imaginator.build.job import Job
from imaginator.model.build import BuildRecord
from imaginator.model.destinations import EVERYWHERE, Destinations
from imaginator.model.errors import BuildFailed
from imaginator.model.limits import StreamLimits
from imaginator.model.packagers import PackagerType
from imaginator.model.settings import BootstrapStream
from imaginator.model.streams import Stream
from imaginator.sandbox.limits import Limits
from imaginator.schedule.configuration import Configuration


class Jobs(NamedTuple):
    """Makes jobs from the configuration in force; the rest is the operator's.

    ``keep_failed`` is for how many seconds the tree of every build is kept that fails, at least.
    """

    configuration: Configuration
    limits: Limits
    destinations: Destinations = EVERYWHERE
    keep_failed: float = 0

    async def of(self, record: BuildRecord) -> Job:
        """The job of a build; raises `BuildFailed` where there is no such stream (any more)."""
        request, configuration = record.request, self.configuration
        definition = await configuration.find(request.stream_name)
        if definition is None:
            raise BuildFailed(f"unknown stream: {request.stream_name}")
        return Job(
            build_id=record.build_id,
            attempt=record.attempt,
            stream_name=request.stream_name,
            request=request,
            definition=definition,
            packager=self._packager(definition),
            arch=configuration.arch,
            secrets=configuration.secrets,
            settings=configuration.settings,
            requester=record.requester,
            expires_in=request.expires_in,
            limits=self._operators_limits(definition).within(limits_of(definition.limits)),
            destinations=self.destinations,
            privileged=record.privileged,
            keep_failed=max(request.keep_failed, self.keep_failed),
        )

    def _operators_limits(self, definition: BootstrapStream | Stream) -> Limits:
        """The flags'; what a bootstrap adds is its whole tree, and the operator's: no disk has to be made for it."""
        return self.limits if isinstance(definition, Stream) else self.limits._replace(disk=0, inodes=0)

    def _packager(self, definition: BootstrapStream | Stream) -> PackagerType | None:
        if isinstance(definition, Stream):
            return None
        return self.configuration.settings.packager_types[definition.packager_type]


def limits_of(wanted: StreamLimits) -> Limits:
    """A stream's limits for the sandbox."""
    return Limits(
        memory=wanted.bytes_of_memory,
        processes=wanted.processes,
        disk=wanted.bytes_of_disk,
        inodes=wanted.inodes,
        cpu_weight=wanted.cpu_weight,
    )
