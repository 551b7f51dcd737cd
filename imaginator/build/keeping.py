"""What becomes of the tree of a build that failed: it is kept, and opened again for somebody to look at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from imaginator.build.job import Job
from imaginator.build.monitor import Monitor
from imaginator.build.recipe import DEVICES, SYSTEM_MOUNTS
from imaginator.build.shared import shared_directories
from imaginator.model.destinations import Destinations
from imaginator.model.settings import Settings
from imaginator.sandbox.dialogue import Dialogue, Size
from imaginator.sandbox.process import Output, Reactor
from imaginator.sandbox.sandbox import Bind, Profile, Sandbox, Workspace
from imaginator.store.kept import Kept, KeptTree
from imaginator.store.workers import Workers


def tree_of(job: Job, environment: dict[str, str], layers: tuple[str, ...], now: datetime) -> KeptTree:
    """What it takes to open the tree of a job as its commands saw it."""
    return KeptTree(
        build_id=job.build_id,
        stream_name=job.stream_name,
        until=now + timedelta(seconds=job.keep_failed),
        layers=layers,
        environment=environment,
        network=job.network,
        limits=job.limits,
    )


async def keep(kept: Kept, tree: KeptTree, directory: Path, monitor: Monitor) -> None:
    """Keep a workspace in which nothing runs any more, and tell how to get there; what goes wrong is told alone."""
    try:
        await kept.keep(tree, directory)
    except OSError as error:
        monitor.note(f"the tree cannot be kept: {error.strerror}")
    else:
        monitor.note(f"the tree is kept until {tree.until:%Y-%m-%d %H:%M:%S} UTC: builder-tool shell {tree.build_id}")


class Words(NamedTuple):
    """A command for a kept tree; with a ``size`` it has a terminal, of the kind that ``terminal`` names (TERM)."""

    argv: Sequence[str]
    size: Size | None
    terminal: str = ""


class Surroundings(NamedTuple):
    """What the daemon's configuration says today of what is seen and reached from a tree."""

    settings: Settings
    destinations: Destinations
    state_dir: Path
    is_bootstrap: bool


@asynccontextmanager
async def opened(
    reactor: Reactor, workers: Workers, tree: KeptTree, workspace: Workspace, around: Surroundings
) -> AsyncIterator[tuple[Sandbox, tuple[Bind, ...]]]:
    """A sandbox over a kept tree, always that of manifests, and what it sees of the host; nothing runs in it after.

    Raises `BuildFailed`. What a bootstrap made is looked at from within, never as the host's root.
    """
    binds: tuple[Bind, ...] = ()
    if not around.is_bootstrap:
        binds = await workers.run(shared_directories, around.settings, tree.stream_name, around.state_dir)
    sandbox = await Sandbox.open(reactor, workspace, Profile.MANIFEST, tree.limits, destinations=around.destinations)
    try:
        await sandbox.tree.make_mount_points([DEVICES, *SYSTEM_MOUNTS, *(bind.target for bind in binds)])
        yield sandbox, binds
    finally:
        await sandbox.close()


def talk(sandbox: Sandbox, binds: Sequence[Bind], tree: KeptTree, words: Words, output: Output) -> Dialogue:
    """Start a command as the build's own were started."""
    environment = {**tree.environment, "TERM": words.terminal} if words.size else tree.environment
    return sandbox.talk(words.argv, environment, network=tree.network, output=output, size=words.size, binds=binds)
