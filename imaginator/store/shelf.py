"""The layers that are on the disk: how large each is, when it was used last, and how many builds stand on it now.

::

    layers/
      ID/         its own modification time is when the layer was used last
        tree/     what overlayfs sees
        size      the bytes that the tree takes, in decimal

For all threads. A layer goes by losing its name at once, so that nobody finds half of one; the lock is held while that
is decided, so that who says first that a layer is in use and then finds it there can rely on it. A new layer is in use
before it is there, and until an image has it or never will.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imaginator.store.quota import Kept, make_room

TREE = "tree"
SIZE = "size"
GONE = ".gone-"
"""How the names of layers begin that are being removed."""
PARTIAL = "restore-"
"""How the names of trees begin that are to become layers."""


class Shelf:
    """The layers below ``directory``, of which at most ``limit`` bytes are kept (0: all)."""

    def __init__(self, directory: Path, limit: int = 0) -> None:
        self._directory = directory
        self._limit = limit
        self._users: Counter[str] = Counter()
        self._lock = threading.Lock()

    def path(self, layer: str) -> Path:
        """The tree of a layer, whether it is there or not."""
        return self._directory / layer / TREE

    def has(self, layers: Sequence[str]) -> bool:
        """Whether there are some, and all of them are here."""
        with self._lock:
            return bool(layers) and all(self.path(layer).is_dir() for layer in layers)

    @contextmanager
    def in_use(self, layers: Sequence[str]) -> Iterator[None]:
        """Keep layers here until the context is left, and remember that they were used."""
        self._users.update(layers)
        try:
            for layer in layers:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(self._directory / layer)
            yield
        finally:
            self._users.subtract(layers)

    def add(self, layer: str, tree: Path, size: int) -> None:
        """Make a tree the layer of a new id by moving it here."""
        place = self._directory / layer
        place.mkdir(mode=0o700)
        (place / SIZE).write_text(str(size))
        tree.rename(place / TREE)

    def take_excess(self, bytes_more: int = 0) -> list[Path]:
        """Take away the layers used longest ago until the rest is within the limit; what is left to be removed.

        ``bytes_more`` is to be gained in any case, as far as there are layers that nobody uses.
        """
        taken: list[Path] = []
        layers = list(self._layers())
        total = sum(layer.size for layer in layers)
        if self._limit or bytes_more:
            make_room(layers, min(self._limit or total, total - bytes_more), lambda layer: self._take(layer, taken))
        return taken

    def unused(self) -> set[str]:
        """The layers that nobody uses."""
        names = {place.name for place in self._directory.iterdir()}
        with self._lock:
            return {name for name in names if not (self._users[name] or name.startswith((GONE, PARTIAL)))}

    def take(self, layers: Iterable[str]) -> list[Path]:
        """Take away layers, but for those that somebody uses; what is left to be removed."""
        taken: list[Path] = []
        for layer in layers:
            self._take(layer, taken)
        return taken

    def _take(self, layer: str, taken: list[Path]) -> bool:
        """Take a layer's name away, unless somebody uses it or it is gone already."""
        gone = self._directory / f"{GONE}{layer}"
        with self._lock:
            if self._users[layer]:
                return False
            try:
                (self._directory / layer).rename(gone)
            except FileNotFoundError:  # who else makes room was faster
                return False
        taken.append(gone)
        return True

    def leftovers(self) -> list[Path]:
        """What a killed daemon was about to remove, or had not finished."""
        return [place for place in self._directory.iterdir() if place.name.startswith((GONE, PARTIAL))]

    def _layers(self) -> Iterator[Kept[str]]:
        for place in self._directory.iterdir():
            with contextlib.suppress(FileNotFoundError, ValueError):
                if not place.name.startswith(GONE):
                    yield Kept(place.stat().st_mtime, place.name, int((place / SIZE).read_text()))
