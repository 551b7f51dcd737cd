"""Holds: what must not be collected although no image in the catalogue needs it, or none needs it yet.

A build, or whoever reads an image, opens a hold and closes it in the end, however that comes. It keeps *images*, which
stay whole when they expire or are deleted, and *content*, the ids of objects and nodes that are about to be part of a
new image. Holds live in memory: after ``kill -9`` there are none, hence nothing that they kept.

The rule that makes this safe: everything is held first and looked for afterwards. What was found before it was held
may be gone by then, and is stored once more; what is found while it is held stays. A hold that is closed during a round
of the collector, its image having been added, say, keeps its content until that round has ended, for the round may have
asked earlier what images need. So no clock decides, and no build waits for the collector. For all threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class Held:
    """What one hold keeps."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.images: set[str] = set()
        self.content: set[bytes] = set()

    def keep_image(self, name: str) -> None:
        """Keep an image, if it is there."""
        with self._lock:
            self.images.add(name)

    def keep_content(self, ids: Iterable[bytes]) -> None:
        """Keep objects or nodes, those that are there from now on."""
        ids = frozenset(ids)
        with self._lock:
            self.content |= ids


class Holds:
    """All holds on one store. ``closed`` counts those that have ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[Held] = []
        self._lingering: list[Held] = []
        self._round: Round | None = None
        self.closed = 0

    @contextmanager
    def opened(self) -> Iterator[Held]:
        """A hold, closed when the context is left."""
        held = Held(self._lock)
        with self._lock:
            self._held.append(held)
        try:
            yield held
        finally:
            with self._lock:
                self._held.remove(held)
                self._lingering.append(held)
                self._forget()
                self.closed += 1

    @contextmanager
    def round(self) -> Iterator[Round]:
        """A round of the collector, of which there is one at a time."""
        with self._lock:
            assert self._round is None
            this = self._round = Round(self._lock, self._all)
        try:
            yield this
        finally:
            with self._lock:
                this.over = True
                self._round = None
                self._forget()

    def images(self) -> set[str]:
        """The names of the images that are held."""
        with self._lock:
            return {name for held in self._held for name in held.images}

    def _all(self) -> list[Held]:
        return [*self._held, *self._lingering]

    def _forget(self) -> None:
        if self._round is None:
            self._lingering.clear()


class Round:
    """One round of the collector, which asks here before it removes anything: once it is over, nothing is removed."""

    def __init__(self, lock: threading.Lock, held: Callable[[], list[Held]]) -> None:
        self._lock = lock
        self._held = held
        self.over = False

    def remove(self, found: bytes, action: Callable[[], object]) -> bool:
        """Call ``action``, which removes the object ``found``, unless that is held; whether it was called.

        Everybody else waits meanwhile, the reactor too: it has to be quick.
        """
        with self._lock:
            if self.over or any(found in held.content for held in self._held()):
                return False
            action()
            return True

    def spared(self, found: Iterable[bytes]) -> set[bytes]:
        """Those of some nodes that are held; for the catalogue's writer, which adds images as well."""
        with self._lock:
            held = self._held()
            return {each for each in found if self.over or any(each in one.content for one in held)}
