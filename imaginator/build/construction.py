"""An image under construction: its tree, and commands run in it, told to the monitor."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from imaginator.build import packager
from imaginator.build.monitor import Monitor
from imaginator.build.retry import retried
from imaginator.model.errors import BuildFailed, TimedOut
from imaginator.sandbox.process import Output, Tail, finish
from imaginator.sandbox.sandbox import Bind, Sandbox
from imaginator.sandbox.tree import Tree

T = TypeVar("T")

LARGEST_ANSWER = 64 << 20
"""Bytes of output that the build itself reads, such as a package list."""


class Access(NamedTuple):
    """What a command may use: the network, mounts other than ``/dev``, and for how many seconds (None: no limit).

    With ``discard`` it cannot change the image. ``binds`` are added to what all commands see of the host.
    """

    network: bool = False
    mounts: bool = True
    discard: bool = False
    seconds: float | None = None
    binds: Sequence[Bind] = ()


OFFLINE = Access()
ONLINE = Access(network=True)


class Bounded:
    """Collects output up to ``limit`` bytes; ``size`` counts all of it."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self.limit = limit
        self._parts: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        """Take some output."""
        self._parts.append(data[: max(0, self.limit - self.size)])
        self.size += len(data)

    @property
    def data(self) -> bytes:
        """What was kept."""
        return b"".join(self._parts)


async def together(*works: Coroutine[Deferred[Any], Any, T]) -> list[T]:
    """The results of works that are done side by side; raises the first failure when all have ended.

    When this is cancelled, so are they, and it ends after them.
    """
    outcomes = await DeferredList([ensureDeferred(work) for work in works], consumeErrors=True)
    return [_result(result) for _, result in outcomes]


def _result(result: Any) -> Any:
    if isinstance(result, Failure):
        result.raiseException()
    return result


class Construction:
    """One sandbox with the environment of its commands; ``network``: whether scripts and tests may use it."""

    def __init__(
        self, clock: IReactorTime, sandbox: Sandbox, monitor: Monitor, environment: dict[str, str], network: bool
    ) -> None:
        self.monitor = monitor
        self.network = network
        self._clock = clock
        self._sandbox = sandbox
        self._environment = environment
        self._shared: tuple[Bind, ...] = ()

    @property
    def tree(self) -> Tree:
        """The image's tree."""
        return self._sandbox.tree

    @asynccontextmanager
    async def sharing(self, binds: Sequence[Bind]) -> AsyncIterator[None]:
        """Let all commands see directories of the host; missing mount points are there as long as the context is."""
        stubs = await self.tree.make_mount_points([bind.target for bind in binds])
        self._shared = tuple(binds)
        yield
        self._shared = ()
        await self.tree.remove_mount_points(stubs)

    async def command(
        self, title: str, argv: Sequence[str], access: Access = OFFLINE, output: Output | None = None
    ) -> None:
        """Run a command, by default with its output in the log.

        Raises `BuildFailed` with ``title``, how the command ended, and its last lines of output.
        """
        tail = Tail(output or self.monitor.log)
        child = self._sandbox.run(
            argv,
            self._environment,
            network=access.network,
            mounts=access.mounts,
            discard=access.discard,
            binds=(*self._shared, *access.binds),
            output=tail,
        )
        try:
            ended = await finish(child, timeout=access.seconds)
        except TimedOut as error:
            raise BuildFailed(_told(title, str(error), tail)) from None
        if not ended.ok:
            raise BuildFailed(_told(title, ended.describe(), tail))

    async def packager(self, *arguments: str) -> None:
        """Run a step of the image's packager without network; raises `BuildFailed`."""
        await self._packager(arguments, OFFLINE)

    async def packager_online(self, *arguments: str, binds: Sequence[Bind] = ()) -> None:
        """Run a step of the image's packager that needs the network, a few times if need be; raises `BuildFailed`."""
        access = ONLINE._replace(binds=binds)
        await retried(self._clock, lambda: self._packager(arguments, access), self.monitor.note)

    async def packager_answer(self, *arguments: str) -> bytes:
        """The output of a step of the image's packager; raises `BuildFailed` where it fails or says too much."""
        answer = Bounded(LARGEST_ANSWER)
        await self._packager(arguments, OFFLINE, answer)
        if answer.size > answer.limit:
            raise BuildFailed(f"package {arguments[0]}: {answer.size} bytes of output, at most {answer.limit} are read")
        return answer.data

    async def _packager(self, arguments: Sequence[str], access: Access, output: Output | None = None) -> None:
        argv = [packager.PATH.decode(), *arguments]
        self.monitor.note(f"$ {shlex.join(argv)}")
        await self.command(f"package {arguments[0]}", argv, access, output)


def _told(title: str, end: str, tail: Tail) -> str:
    return f"{title}: {end}\n{tail.text()}".rstrip()
