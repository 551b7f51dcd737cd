"""What of the host a build of a manifest stream sees during steps 2 to 9: bind mounts, and its stream's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from imaginator.build.environment import PATH
from imaginator.build.monitor import Monitor
from imaginator.model.errors import BuildFailed
from imaginator.model.settings import Settings
from imaginator.sandbox.process import Reactor, capture
from imaginator.sandbox.sandbox import Bind
from imaginator.store.caches import cache_of, trim_cache
from imaginator.store.workers import Workers

REMOVAL = 600.0
"""Seconds that removing what cannot be looked at may take."""


def shared_directories(settings: Settings, stream: str, state: Path) -> tuple[Bind, ...]:
    """The directories that builds of ``stream`` see, those that hold others first; for worker threads.

    Raises `BuildFailed` where the host has no such directory, or where it would show the state directory ``state``.
    """
    binds = [*_configured(settings, state.resolve())]
    if settings.cache is not None:
        place = cache_of(Path(settings.cache.base_directory), stream)
        binds.append(Bind(place, os.fsencode(settings.cache.mount_point), writable=True))
    return tuple(sorted(binds, key=lambda bind: bind.target))


def _configured(settings: Settings, state: Path) -> Iterator[Bind]:
    paths = {**dict.fromkeys(settings.bind_mounts, False), **dict.fromkeys(settings.bind_mounts_writable, True)}
    for path, writable in paths.items():
        source = Path(path)
        if not source.is_dir():
            raise BuildFailed(f"bind mount {path}: the host has no such directory")
        resolved = source.resolve()
        if state.is_relative_to(resolved) or resolved.is_relative_to(state):
            raise BuildFailed(f"bind mount {path}: it shows the state directory {state}, which no build may see")
        yield Bind(source, os.fsencode(path), writable)


async def trim(settings: Settings, stream: str, reactor: Reactor, workers: Workers, monitor: Monitor) -> None:
    """Bring a stream's cache within its limit, after a good build; what goes wrong is told, and fails nothing."""
    if settings.cache is None:
        return
    try:
        files = await workers.run(cache_of, Path(settings.cache.base_directory), stream)
        if not await workers.run(trim_cache, files, settings.cache.bytes):
            monitor.note("the stream's cache has directories too deep in one another to be looked at: it is emptied")
            argv = ["rm", "-rf", "--one-file-system", "--", str(files)]
            await capture(reactor, argv, {"PATH": PATH}, timeout=REMOVAL)
    except (BuildFailed, OSError) as error:
        monitor.note(f"the stream's cache cannot be trimmed: {error}")
