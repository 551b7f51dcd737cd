"""Builds in this process, on the works that a daemon has, without its listener, its cycles and its log."""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace
from twisted.internet.defer import CancelledError

from imaginator.build.job import Job
from imaginator.cli.fetching import check_free, unpack_blocks
from imaginator.cli.origins import OPERATOR, SourceImages
from imaginator.cli.watching import Watching, tell_warnings
from imaginator.cli.wishes import LocalBuild, Outcome
from imaginator.model.architectures import architecture
from imaginator.model.build import BuildFailure, BuildRequest
from imaginator.model.errors import ConfigurationError, ImaginatorError
from imaginator.model.streams import Stream
from imaginator.sandbox.limits import Limits
from imaginator.schedule.jobs import limits_of
from imaginator.service.checks import check_host
from imaginator.service.daemon import UMASK
from imaginator.service.once import run
from imaginator.service.options import settled
from imaginator.service.works import Works
from imaginator.store.tar import tar_blocks

BRIEFLY = 3600.0
"""Seconds that an image may live which is on its way to be a tree."""

Work = Callable[[Works, Watching], Awaitable[str]]


def build_image(build: LocalBuild) -> Outcome:
    """Build an image into the local store; its name."""

    async def work(works: Works, monitor: Watching) -> str:
        source = SourceImages(works, build.origins, monitor)
        image = await works.engine.build(_job(works, build), monitor, source)
        return image.name

    return _outcome(build, work)


def build_tree(build: LocalBuild, output: Path) -> Outcome:
    """Build an image's tree in the directory ``output``; its path."""

    check_free(output)

    async def work(works: Works, monitor: Watching) -> str:
        source = SourceImages(works, build.origins, monitor)
        image = await works.engine.build(_job(works, build), monitor, source)
        try:
            await works.workers.run(lambda: unpack_blocks(tar_blocks(image, works.store), output))
        finally:
            await works.store.delete(image.name)
        return str(output)

    return _outcome(build, work)


def process(build: LocalBuild, root: Path) -> Outcome:
    """Apply the manifest to the tree in ``root``; its path."""

    async def work(works: Works, monitor: Watching) -> str:
        job = _job(works, build)
        # ROOT is its owner's own: what may be written there is a matter of its disk.
        await works.engine.process(replace(job, limits=job.limits._replace(disk=0, inodes=0)), monitor, root)
        return str(root)

    return _outcome(build, work)


def _outcome(build: LocalBuild, work: Work) -> Outcome:
    """What came of ``work``, which is told; raises `click.ClickException` where it could not even begin."""
    os.umask(UMASK)
    try:
        check_host()
        return run(lambda reactor: _done(reactor, build, work))
    except ImaginatorError as error:
        raise click.ClickException(str(error)) from None
    except CancelledError:
        raise click.ClickException("interrupted") from None


async def _done(reactor: Any, build: LocalBuild, work: Work) -> Outcome:
    async with _opened(reactor, build) as works:
        monitor = Watching(works.configuration.redactor, reactor, build.show_log)
        tell_warnings(monitor)
        problem = "interrupted"
        try:
            result = await work(works, monitor)
            problem = ""
            return Outcome(result)
        except (ImaginatorError, click.ClickException) as error:
            problem = works.configuration.redact(str(error))
            code = error.code if isinstance(error, ImaginatorError) else ImaginatorError.code
            kind = error.kind if isinstance(error, ImaginatorError) else ImaginatorError.kind
            return Outcome(failure=BuildFailure(code, kind, problem))
        finally:
            monitor.finish(problem)


@asynccontextmanager
async def _opened(reactor: Any, build: LocalBuild) -> AsyncIterator[Works]:
    """The works of a build's local store; what an interrupted command left there to do is not done any more."""
    works = Works(_options(build), reactor)
    started = [works.workers, works.catalogue]
    try:
        for service in started:
            service.startService()
        await works.make_ready()
        await _configure(works, build)
        await works.builder.load()
        for record in works.builder.status().queued:
            await works.builder.cancel(record.build_id, OPERATOR)
        works.builder.startService()
        yield works
        await works.collector.run()
    finally:
        if works.builder.running:
            await works.builder.stopService()
        for service in reversed(started):
            if service.running:
                service.stopService()


def _options(build: LocalBuild) -> dict[str, Any]:
    return settled(
        state_dir=str(build.state),
        build_log_dir=str(build.state / "build-logs"),
        configuration_url=build.origins.configuration,
        variables_file=build.variables_file,
    )


async def _configure(works: Works, build: LocalBuild) -> None:
    """Read the configuration, where there is one; raises `ConfigurationError` where any of it cannot be used."""
    if build.origins.configuration:
        await works.configuration.load()
        for error in works.configuration.errors:
            raise ConfigurationError(works.configuration.redact(build.origins.configuration), error)


def _job(works: Works, build: LocalBuild) -> Job:
    """The job of a manifest in a plain directory; the rest of its stream is as the configuration has it."""
    configuration = works.configuration
    if "$" in str(build.manifest):
        raise ConfigurationError(str(build.manifest), "a $ in the directory's name would be taken for a variable")
    known = configuration.streams.find(build.stream) or Stream(manifest_url="")
    definition = replace(known, manifest_url=f"dir://{build.manifest}", manifest_directory="")
    limits: Limits = works.sandbox_limits()
    return Job(
        build_id=build.id,
        attempt=1,
        stream_name=build.stream,
        request=BuildRequest(stream_name=build.stream, variables=build.variables),
        definition=definition,
        packager=None,
        arch=architecture(platform.machine()),
        secrets=configuration.secrets,
        settings=configuration.settings,
        requester="",
        expires_in=build.expires_in,
        limits=limits.within(limits_of(definition.limits)),
        destinations=works.options["build-destinations"],
        privileged=True,
    )
