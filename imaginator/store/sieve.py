"""Filters applied to whole trees, with a memory of where they find nothing.

What a filter matches beneath a directory follows from the filter, the directory's path and its node. Most of an image
is as it was in its source, so that once a filter has gone through it, only what changed is looked at again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

from imaginator.model.filters import Filter
from imaginator.model.tree import NodeReader, join

REMEMBERED = 200_000
"""Subtrees; about 100 bytes each."""

WORTH_REMEMBERING = 16
"""Inodes of a subtree; a smaller one is looked at again in no time."""


class SieveMemory:
    """The subtrees in which a filter matches nothing; the oldest are forgotten first. For all threads."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._spared: dict[bytes, None] = {}

    def __contains__(self, key: bytes) -> bool:
        """Whether a subtree is remembered."""
        return key in self._spared

    def add(self, key: bytes) -> None:
        """Remember a subtree."""
        self._spared[key] = None
        while len(self._spared) > self._limit:
            self._spared.pop(next(iter(self._spared)), None)


class Sieve:
    """A filter over the trees that ``read`` knows. Everything here reads nodes: it is for worker threads."""

    def __init__(self, patterns: Filter, read: NodeReader, memory: SieveMemory) -> None:
        self._read = read
        self._memory = memory
        self._lines = hashlib.sha256(ascii(patterns.lines).encode()).digest()  # a line may hold any character
        self.matches = patterns.matches

    def spares(self, path: bytes, node: bytes) -> bool:
        """Whether the filter matches nothing beneath the directory at ``path``, whose node is ``node``."""
        return self._key(path, node) in self._memory or self._survey(path, node) is not None

    def matching(self, path: bytes, node: bytes) -> Iterator[bytes]:
        """What the filter matches beneath a directory, but not what lies beneath a match."""
        if self.spares(path, node):
            return
        for entry in self._read(node).entries:
            child = join(path, entry.name)
            if self.matches(child):
                yield child
            elif entry.node:
                yield from self.matching(child, entry.node)

    def _survey(self, path: bytes, node: bytes) -> int | None:
        """How many inodes lie beneath a directory, at least; None where the filter matches one."""
        time.sleep(0)  # as in merkle: the reactor's thread gets a turn
        count: int | None = 0
        for entry in self._read(node).entries:
            child = join(path, entry.name)
            below = None if self.matches(child) else self._below(child, entry.node)
            count = None if count is None or below is None else count + below + 1
        if count is not None and count >= WORTH_REMEMBERING:
            self._memory.add(self._key(path, node))
        return count

    def _below(self, path: bytes, node: bytes) -> int | None:
        if not node:
            return 0
        return WORTH_REMEMBERING if self._key(path, node) in self._memory else self._survey(path, node)

    def _key(self, path: bytes, node: bytes) -> bytes:
        return hashlib.blake2b(self._lines + node + path, digest_size=16).digest()
