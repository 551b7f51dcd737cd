"""A build's own disk: a file system in a sparse file, so that no build can fill the disk of all.

::

    WORKSPACE/disk.img   the file: ext4 without a journal, which nobody replays
    WORKSPACE/disk/      where it is mounted, in the holder's mount namespace
      upper/  work/      what the overlay writes; ``upper`` is seen at WORKSPACE/upper too
    WORKSPACE/upper/     beneath that mount, on the state directory's file system: gets the finished upper

Project quotas would need no copy at the end; few hosts have them. What is copied is what a build has changed. Standard
library only (see `holder`).
"""

from __future__ import annotations

import errno
import os
import time

from imaginator.sandbox import programs
from imaginator.sandbox.kernel.files import sync_file_system
from imaginator.sandbox.kernel.loop import attach_loop, attached
from imaginator.sandbox.kernel.mounts import MNT_DETACH, MS_BIND, MS_NOATIME, MS_NODEV, MS_NOSUID, mount, unmount
from imaginator.sandbox.moving import copy_below

IMAGE = "disk.img"
INODE = 256
"""Bytes of an ext4 inode: their tables come on top of what a build may write."""
SMALLEST = 16 << 20
FEWEST = 1024
UNLIMITED_DISK = 1 << 40
BYTES_AN_INODE = 16384
"""mke2fs(8)'s own ratio, where only the bytes are limited."""

OPTIONS = b"nobarrier,noinit_itable"
"""See ext4(5): nothing of a build needs to survive a power cut before it is a layer; tables need not be zeroed."""
NEARLY = 1 << 20
"""Bytes that count as none: a program that needs more than is left leaves them unused."""
_PATIENCE = 10.0


class Disk:
    """The disk of the build in ``workspace``, made or, where a former holder of the build has left it, mounted again.

    ``limits`` are the bytes and the number of inodes that it holds; 0 for either means no limit, not both.
    """

    def __init__(self, workspace: bytes, limits: tuple[int, int]) -> None:
        self.directory = os.path.join(workspace, b"disk")
        self._limits = limits
        image = os.path.join(workspace, os.fsencode(IMAGE))
        fresh = not os.path.exists(image)
        if fresh:
            _format(image, *limits)
        os.makedirs(self.directory, exist_ok=True)
        self._mount(image)
        self._descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in (b"upper", b"work") if fresh else ():
            os.mkdir(os.path.join(self.directory, name), 0o755)

    def _mount(self, image: bytes) -> None:
        file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        try:
            _wait_until_free(file)
            device, path = attach_loop(file)
            try:
                mount(path, self.directory, b"ext4", MS_NOSUID | MS_NODEV | MS_NOATIME, OPTIONS)
            finally:
                os.close(device)
        finally:
            os.close(file)

    def cover(self, upper: bytes) -> None:
        """Let the workspace's ``upper`` be the disk's from now on."""
        self._below = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        mount(os.path.join(self.directory, b"upper"), upper, b"", MS_BIND)

    def check(self) -> None:
        """Raise `OSError` where something that was written was lost, since the state directory's disk is full."""
        try:
            sync_file_system(self._descriptor)
        except OSError as error:
            problem = "what the build wrote was lost, no space left for the build's disk"
            raise OSError(error.errno, problem, "disk.img") from None

    def uncover(self, upper: bytes) -> None:
        """Copy the finished upper to where the workspace's own lies, and unmount the disk."""
        copy_below(os.path.join(self.directory, b"upper"), b"/proc/self/fd/%d" % self._below)
        unmount(upper, MNT_DETACH)
        os.close(self._below)
        os.close(self._descriptor)
        unmount(self.directory, MNT_DETACH)

    def used_up(self) -> list[str]:
        """What is used up, by how much there was, such as ``100 MiB``."""
        status = os.statvfs(self.directory)
        left = {
            f"{status.f_blocks * status.f_frsize >> 20} MiB": status.f_bavail * status.f_frsize // NEARLY,
            f"{status.f_files} files and directories": status.f_favail,
        }
        return [name for name, count in left.items() if count == 0]


def _format(image: bytes, size: int, inodes: int) -> None:
    # More than there is would not fail where a program writes, but be lost where Linux gets it to the disk.
    place = os.statvfs(os.path.dirname(image))
    size = max(min(size or UNLIMITED_DISK, place.f_bavail * place.f_frsize), SMALLEST)
    count = max(inodes or size // BYTES_AN_INODE, FEWEST)
    fresh = image + b".new"
    with open(fresh, "wb") as file:
        file.truncate(size + count * INODE)
    argv = ["mkfs.ext4", "-q", "-F", "-O", "^has_journal,^resize_inode", "-m", "0", "-I", str(INODE), "-N", str(count)]
    programs.run([*argv, "-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", os.fsdecode(fresh)], "")
    os.rename(fresh, image)


def _wait_until_free(file: int) -> None:
    """Two mounts of one file would ruin it: that of a holder that has just ended may still be going away."""
    patience = time.monotonic() + _PATIENCE
    while attached(file):
        if time.monotonic() > patience:
            raise OSError(errno.EBUSY, "the file of the build's disk is still mounted elsewhere", "disk.img")
        time.sleep(0.01)
