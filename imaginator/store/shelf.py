"""The layers that are on the disk: how large each is, when it was used last, and how many builds stand on it now.

::

    layers/
      ID/         its own modification time is when the layer was used last
        tree/     what overlayfs sees
        size      the bytes that the tree takes, in decimal

For all threads. A layer goes by losing its name at once, so that nobody finds half of one; the lock is held while that
is decided, so that who says first that a layer is in use and then finds it there can rely on it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
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

    def add(self, tree: Path, size: int) -> str:
        """Make a tree a layer by moving it here; its id."""
        layer = secrets.token_hex(12)
        place = self._directory / layer
        place.mkdir(mode=0o700)
        (place / SIZE).write_text(str(size))
        tree.rename(place / TREE)
        return layer

    def take_excess(self) -> list[Path]:
        """Take away the layers used longest ago until the rest is within the limit; what is left to be removed."""
        taken: list[Path] = []
        if self._limit:
            make_room(self._layers(), self._limit, lambda layer: self._take(layer, taken))
        return taken

    def _take(self, layer: str, taken: list[Path]) -> bool:
        """Take a layer's name away, unless somebody uses it or it is gone already."""
        gone = self._directory / f"{GONE}{layer}"
        with self._lock:
            if self._users[layer]:
                return False
            try:
                (self._directory / layer).rename(gone)
            except FileNotFoundError:  # the collector was faster
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
