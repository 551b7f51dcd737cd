"""A disk whose power can be cut.

The disk is a file with an ext4 on it, mounted through a loop device. What was written but not synced is in the page
cache of that mount only, so a copy of the file holds what a disk does after a power cut. Its journal is committed by
no timer within a test's time, and its own writing back begins after 30 seconds: only a sync gets anything there.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_SIZE = 128 << 20
_MEMORY = Path("/dev/shm")
"""Where a disk lies: on the real one, each sync would take its time for nothing."""
_MENDED = 1
"""The exit status of e2fsck when it found something and mended it."""
_fsync = os.fsync
"""The system's own, whatever a test puts into its place."""


class Disk:
    """The file ``image``, mounted at ``root``; without a ``journal`` the order on the disk is nobody's promise."""

    def __init__(self, folder: Path, journal: bool) -> None:
        self.root = folder / "mounted"
        self.cuts: list[Path] = []
        self._folder = folder
        self._image = folder / "disk"
        self._journal = journal

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Make the file system and mount it."""
        with self._image.open("wb") as file:
            file.truncate(_SIZE)
        features = [] if self._journal else ["-O", "^has_journal"]
        lazy = "lazy_itable_init=0,lazy_journal_init=0"
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", lazy, *features, self._image], check=True)
        with mounted(self._image, self.root, ["commit=300"] if self._journal else []):
            yield

    def write_back(self) -> None:
        """Write names and sizes to the disk but no data that was not synced, as may happen at any time.

        A neighbour's fsync commits the whole journal; a sync of the device writes the metadata that no journal holds.
        """
        number = self.root.stat().st_dev
        device = Path("/sys/dev/block", f"{os.major(number)}:{os.minor(number)}").resolve().name
        with (self.root / "neighbour").open("ab") as file, Path("/dev", device).open("rb") as disk:
            file.write(b".")
            file.flush()
            _fsync(file.fileno())
            _fsync(disk.fileno())

    def sync(self) -> None:
        """Write everything to the disk."""
        subprocess.run(["sync", "--file-system", self.root], check=True)

    def cut(self) -> Path:
        """Keep what would be on the disk if the power were cut now; `opened` shows it."""
        copy = self._folder / f"cut{len(self.cuts)}"
        subprocess.run(["cp", "--sparse=always", self._image, copy], check=True)
        self.cuts.append(copy)
        return copy

    @contextmanager
    def opened(self, cut: Path) -> Iterator[Path]:
        """A cut as it is after the next start: the journal replayed, or the file system checked."""
        if not self._journal:
            checked = subprocess.run(["e2fsck", "-f", "-y", cut], capture_output=True, check=False)
            assert checked.returncode in (0, _MENDED), checked.stdout
        with mounted(cut, cut.with_suffix(".mounted"), []) as root:
            yield root


@contextmanager
def new_disk(journal: bool) -> Iterator[Disk]:
    """A mounted disk in memory; nothing of it is left at the end."""
    with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="disk-") as folder:
        disk = Disk(Path(folder), journal)
        with disk.mounted():
            yield disk


@contextmanager
def mounted(image: Path, place: Path, options: Sequence[str]) -> Iterator[Path]:
    """An image mounted at a new directory; its loop device ends with the mount."""
    place.mkdir()
    subprocess.run(["mount", "-o", ",".join(["loop", *options]), image, place], check=True)
    try:
        yield place
    finally:
        _unmount(place)
        place.rmdir()


def _unmount(place: Path) -> None:
    """Unmount; what somebody still uses is at least taken out of sight, and an error."""
    try:
        subprocess.run(["umount", place], check=True)
    except subprocess.CalledProcessError:
        subprocess.run(["umount", "--lazy", place], check=True)
        raise
