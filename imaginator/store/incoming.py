"""Objects that come from elsewhere, in blocks: hashed, written down and published in batches.

What is durable when is as in `imaginator.sandbox.collecting`: new content is synced under another name before it gets
its own, and an object is told of once its directory is synced. Small objects wait in memory for a batch of them;
a large one is written down as it comes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from twisted.internet.defer import Deferred, succeed

from imaginator.sandbox.collecting import object_path, rename, sync, sync_all
from imaginator.store.objects import Objects
from imaginator.store.workers import Workers

SMALL = 1 << 20
"""Bytes up to which an object waits in memory."""

_MOST_BYTES = 8 << 20
_MOST_OBJECTS = 256


T = TypeVar("T")


class Added(NamedTuple):
    """An object that is there now, and whether it was new."""

    digest: bytes
    new: bool


class _Written(NamedTuple):
    """Content on its way, and where it lies."""

    digest: bytes
    path: str


class Incoming:
    """Takes objects into ``objects``; ``directory``, on the same file system, is there as long as this is open."""

    def __init__(self, objects: Objects, workers: Workers, directory: Path) -> None:
        self._objects = objects
        self._workers = workers
        self._directory = directory
        self._waiting: list[bytes | _Written] = []
        self._bytes = 0
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        self._directory.mkdir(mode=0o700)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        await self._workers.run(_removed, self._directory)

    @property
    def is_full(self) -> bool:
        """Whether what waits is to be published."""
        return self._bytes >= _MOST_BYTES or len(self._waiting) >= _MOST_OBJECTS

    async def take(self, size: int, blocks: AsyncIterator[bytes]) -> None:
        """Take an object, which is published with others."""
        if size <= SMALL:
            self._waiting.append(b"".join([block async for block in blocks]))
        else:
            self._waiting.append(await self._write_down(blocks))
        self._bytes += size

    def publish(self) -> Deferred[Sequence[Added]]:
        """Make all that was taken durable and known by its digest, in the order in which it came.

        Others may be taken meanwhile, and are published once this is done.
        """
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        return self._workers.run(self._published, waiting)

    async def _write_down(self, blocks: AsyncIterator[bytes]) -> _Written:
        path, content = self._fresh(), hashlib.sha512()
        descriptor = _made(path)
        writing: Deferred[None] = succeed(None)
        try:
            async for block in blocks:
                await writing
                # The next block comes meanwhile.
                writing = self._workers.run(_append, descriptor, block, content)
            await writing
        finally:
            # A thread that writes still would write to whatever gets this descriptor next.
            writing.addBoth(_closed, descriptor)
        return _Written(content.digest(), path)

    def _published(self, waiting: Sequence[bytes | _Written]) -> Sequence[Added]:
        fresh: dict[bytes, str] = {}
        added = [self._written(one, fresh) for one in waiting]
        if not added:
            return added
        root = os.fsencode(self._objects.directory)
        sync_all([os.fsencode(path) for path in fresh.values()], os.fsencode(self._directory))
        for digest, path in fresh.items():
            rename(os.fsencode(path), object_path(root, digest))
        for directory in sorted({os.path.dirname(object_path(root, one.digest)) for one in added}):
            sync(directory)
        sync(root)
        return added

    def _written(self, one: bytes | _Written, fresh: dict[bytes, str]) -> Added:
        """An object whose content lies in ``fresh``, where it is new."""
        digest = one.digest if isinstance(one, _Written) else hashlib.sha512(one).digest()
        new = digest not in fresh and not self._objects.has(digest)
        if new:
            fresh[digest] = one.path if isinstance(one, _Written) else self._write(one)
        return Added(digest, new)

    def _write(self, data: bytes) -> str:
        path = self._fresh()
        descriptor = _made(path)
        try:
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)
        return path

    def _fresh(self) -> str:
        return f"{self._directory}/{next(self._numbers)}"


def _made(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)


def _append(descriptor: int, block: bytes, content: hashlib._Hash) -> None:
    content.update(block)
    _write_all(descriptor, block)


def _closed(result: T, descriptor: int) -> T:
    os.close(descriptor)
    return result


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])


def _removed(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()
