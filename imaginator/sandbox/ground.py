"""Where a build's tree is made: in its control groups, in a mount namespace, on its own disk. Standard library only.

All of this is known before the tree is, and takes a while: it is there by the time the manifest is.
"""

from __future__ import annotations

import os

from imaginator.sandbox.beneath import remove_path
from imaginator.sandbox.disk import Disk
from imaginator.sandbox.kernel.mounts import MS_BIND, MS_REC, MS_SLAVE, mount
from imaginator.sandbox.kernel.namespaces import CLONE_NEWNS, unshare


def prepare(directory: bytes, entrances: list[str], limits: tuple[int, int]) -> Ground:
    """Let this process and what it starts join the control groups, and see mounts of their own."""
    for entrance in entrances:
        with open(entrance, "w") as file:
            file.write(str(os.getpid()))
    unshare(CLONE_NEWNS)
    mount(b"none", b"/", b"", MS_SLAVE | MS_REC)
    return Ground(directory, entrances, limits)


class Ground:
    """The workspace ``directory`` of a process in the control groups of ``entrances`` and a mount namespace of its own.

    ``limits`` are the bytes and inodes of the build's own disk, 0 for no limit: with any, there is one. ``working`` is
    the directory whose ``upper`` and ``work`` the build writes to.
    """

    def __init__(self, directory: bytes, entrances: list[str], limits: tuple[int, int]) -> None:
        self.directory = directory
        self.entrances = entrances
        self.limits = limits
        self.disk = Disk(directory, limits) if any(limits) else None
        self.working = self.disk.directory if self.disk else directory
        self.upper = os.path.join(directory, b"upper")
        self.work = os.path.join(self.working, b"work")

    def was_mounted(self) -> bool:
        """Whether the upper is that of a build that has ended; its overlay can be mounted again after this.

        Overlayfs marks what it has mounted volatile, since that might not be whole after a crash of the host.
        """
        mark = os.path.join(self.work, b"work")
        was_there = os.path.lexists(mark)
        remove_path(mark)
        return was_there

    def cover(self, place: bytes) -> None:
        """Let the workspace's ``upper`` be the one that the build writes to: ``place``, where there is one."""
        if place:
            mount(place, self.upper, b"", MS_BIND)
        elif self.disk:
            self.disk.cover(self.upper)

    def check(self) -> None:
        """Raise `OSError` where something that the build wrote was lost."""
        if self.disk:
            self.disk.check()

    def uncover(self) -> None:
        """Let the workspace's ``upper`` hold what the build wrote, in every mount namespace."""
        if self.disk:
            self.disk.uncover(self.upper)
