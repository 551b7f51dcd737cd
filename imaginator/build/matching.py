"""Which paths of a tree under construction a filter matches, found without walking what its source image has."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from imaginator.model.filters import Filter
from imaginator.model.image import Image
from imaginator.sandbox.tree import Tree
from imaginator.store.sieve import Sieve
from imaginator.store.workers import Workers

Sieves = Callable[[Filter], Sieve]
"""Makes a filter one for whole trees, with the memory that all builds share."""


class Matching:
    """The matches in ``tree``, which stands on ``source`` (None: on nothing)."""

    def __init__(self, tree: Tree, source: Image | None, sieves: Sieves, workers: Workers) -> None:
        self._tree = tree
        self._source = source
        self._sieves = sieves
        self._workers = workers

    async def find(self, patterns: Filter) -> list[bytes]:
        """Every path that the filter matches, but not all that lie beneath a match; some may be gone by now."""
        changed = await self._tree.changed_paths()
        return await self._workers.run(self._find, patterns, changed)

    def _find(self, patterns: Filter, changed: Iterable[bytes]) -> list[bytes]:
        root = self._source.root.node if self._source else b""
        kept = self._sieves(patterns).matching(b"/", root) if root else ()
        return sorted({*kept, *filter(patterns.matches, changed)})
