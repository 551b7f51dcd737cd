"""What a plain directory holds, as one name: the counterpart of the id of a tree in Git."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

_BLOCK = 1 << 20


def content_of(directory: Path) -> str:
    """A digest of names, kinds, modes and contents below ``directory``; blocks, so for worker threads.

    Raises ``OSError`` where something cannot be read.
    """
    total = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        mode = path.lstat().st_mode
        total.update(b"%o %b\0" % (mode, os.fsencode(path.relative_to(directory))))
        total.update(_content(path, mode))
    return total.hexdigest()


def _content(path: Path, mode: int) -> bytes:
    """A digest of what a file holds, or of where a link leads."""
    found = hashlib.sha256()
    if stat.S_ISLNK(mode):
        found.update(os.fsencode(path.readlink()))
    elif stat.S_ISREG(mode):
        with path.open("rb", buffering=0) as file:
            while data := file.read(_BLOCK):
                found.update(data)
    return found.digest()
