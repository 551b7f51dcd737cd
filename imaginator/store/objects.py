"""Objects: files of content, named by their SHA-512.

::

    objects/
      ab/             the first two hexadecimal digits
        cdef0123…     the other 126; mode 0400

No lock: an object appears by rename when it is whole and synced, and is never changed. Who relies on one that is
there already holds it first (`holds`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from imaginator.model.errors import StoreCorrupt

EMPTY = b""
"""The digest that stands for no content; it has no object."""


class Objects:
    """The objects below ``directory``, which is made where it is missing. Everything here blocks briefly."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._prefix = f"{directory}/"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, digest: bytes) -> Path:
        """The file of an object, whether it is there or not."""
        text = digest.hex()
        return self.directory / text[:2] / text[2:]

    def open(self, digest: bytes) -> int:
        """A descriptor to read an object with, which the caller closes; raises ``OSError``."""
        text = digest.hex()  # a Path would take as long as opening the file does
        return os.open(f"{self._prefix}{text[:2]}/{text[2:]}", os.O_RDONLY | os.O_CLOEXEC)

    def has(self, digest: bytes) -> bool:
        """Whether an object is here."""
        text = digest.hex()
        return os.path.exists(f"{self._prefix}{text[:2]}/{text[2:]}")

    def missing(self, digests: Iterable[bytes]) -> frozenset[bytes]:
        """Those of ``digests`` that are not here."""
        # pathlib would take longer than the look-ups.
        directory = os.fspath(self.directory)
        wanted = ((digest, digest.hex()) for digest in set(digests) - {EMPTY})
        return frozenset(digest for digest, name in wanted if not os.path.exists(f"{directory}/{name[:2]}/{name[2:]}"))

    def differing(self, sizes: Mapping[bytes, int]) -> frozenset[bytes]:
        """Those of some objects that are here, and of another size than somebody says."""
        return frozenset(digest for digest, size in sizes.items() if self._size(digest) not in (size, None))

    def _size(self, digest: bytes) -> int | None:
        text = digest.hex()
        try:
            return os.stat(f"{self._prefix}{text[:2]}/{text[2:]}").st_size
        except FileNotFoundError:
            return None

    def verify(self, digest: bytes) -> None:
        """Read an object and raise `StoreCorrupt` unless it is what its name says."""
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha512").digest()
        except FileNotFoundError:
            raise StoreCorrupt(f"{path}: the object is missing") from None
        if found != digest:
            raise StoreCorrupt(f"{path}: the content's SHA-512 is {found.hex()}")
