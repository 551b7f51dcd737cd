"""A small disk that can be filled to its last block, and emptied again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.power import mounted

_PIECES = (1 << 20, 4096, 1)
"""How many bytes at a time are written until there is no room even for one."""

PATIENCE = 60.0
"""Seconds that others get to let go of a disk."""


class SmallDisk:
    """An ext4 without a journal in the file ``image``, mounted at ``root``."""

    def __init__(self, image: Path, root: Path) -> None:
        self._image = image
        self.root = root
        self._filler = root / "filler"

    def fill(self) -> None:
        """Take every block that is free."""
        with self._filler.open("ab", buffering=0) as file:
            for piece in _PIECES:
                while _written(file.fileno(), piece):
                    pass

    def empty(self) -> None:
        """Give that back."""
        self._filler.unlink()

    def remount(self, how: str) -> None:
        """Let it be read-only (``ro``) or not (``rw``); raises where it is being written."""
        subprocess.run(["mount", "-o", f"remount,{how}", self.root], check=True)

    def fail(self) -> None:
        """Let the file system find an error in itself: it takes nothing more until it is mounted anew."""
        subprocess.run(["mount", "-o", "remount,errors=remount-ro", self.root], check=True)
        (self._state() / "trigger_fs_error").write_text("1")

    def _state(self) -> Path:
        """Where the kernel tells of the file system as long as it is mounted anywhere."""
        number = self.root.stat().st_dev
        device = Path("/sys/dev/block", f"{os.major(number)}:{os.minor(number)}").resolve().name
        return Path("/sys/fs/ext4", device)

    def repair(self) -> None:
        """Check the file system, which nobody may use meanwhile, and mount it anew."""
        state = self._state()
        subprocess.run(["umount", self.root], check=True)
        # Sandboxes of other daemons may have been made with a copy of the mount, which is gone with them.
        deadline = time.monotonic() + PATIENCE
        while state.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        subprocess.run(["e2fsck", "-f", "-p", self._image], check=False, capture_output=True)
        subprocess.run(["mount", "-o", "loop", self._image, self.root], check=True)


@contextmanager
def read_only_over(place: Path) -> Iterator[None]:
    """A mount of a directory over itself that is read-only until the context is left, and goes with its last user."""
    _mount_read_only(place)
    try:
        yield
        subprocess.run(["mount", "-o", "remount,bind,rw", place], check=True)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def _mount_read_only(place: Path) -> None:
    """Mount a directory over itself: anew as often as somebody opens a file for writing by it meanwhile."""
    while True:
        subprocess.run(["mount", "--bind", place, place], check=True)
        if subprocess.run(["mount", "-o", "remount,bind,ro", place], check=False).returncode == 0:
            return
        subprocess.run(["umount", "--lazy", place], check=True)
        time.sleep(0.01)


def _written(file: int, size: int) -> bool:
    try:
        return os.write(file, bytes(size)) == size
    except OSError:
        return False


@contextmanager
def small_disk(folder: Path, name: str, megabytes: int) -> Iterator[SmallDisk]:
    """A new disk, mounted below ``folder``."""
    image = folder / f"{name}.image"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    # Of blocks as large as real disks have: SQLite counts on a whole page of memory having its room.
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-O", "^has_journal", "-m", "0", image], check=True)
    with mounted(image, folder / name, []) as root:
        yield SmallDisk(image, root)
