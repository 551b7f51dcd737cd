"""What holds the commands of a build: its ids, its device nodes, its filter of system calls. Standard library only."""

from __future__ import annotations

import os
import stat

from imaginator.sandbox.kernel.mounts import (
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    attach_mount,
    clone_mount,
    mount,
    restrict_mount,
)
from imaginator.sandbox.owners import Owners, UserNamespace

MOUNTED = MS_NOSUID | MS_NODEV
"""For every mount of a build: no set-id bit and no device node of an image ever works."""

DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
"""Names and numbers of the device nodes that every program may expect (Linux' admin-guide/devices.txt)."""

EMPTY = "empty"
"""A directory beside them, to be seen in place of others."""

WORKSHOP = "workshop"
"""Another one, where each command mounts what it then moves into its tree."""


class Confinement:
    """One build's; ``scratch`` is a directory that it takes for its own mounts, in the holder's mount namespace.

    ``program`` is a BPF program for seccomp(2), and ``supervised`` names the calls that it leaves to the attendant, by
    machine and number (see `policy`).
    """

    def __init__(self, scratch: bytes, program: bytes, supervised: dict[tuple[int, int], str]) -> None:
        self.program = program
        self.supervised = supervised
        self._user = UserNamespace()
        self.namespace = self._user.descriptor
        self.first = self._user.first
        self.owners = Owners(self.first)
        self.scratch = scratch
        self.devices = os.path.join(scratch, b"devices")
        mount(b"tmpfs", scratch, b"tmpfs", MS_NOSUID | MS_NOEXEC, b"mode=0711,size=1m")
        self._make_devices()

    def _make_devices(self) -> None:
        """The nodes that commands see, on a file system of the host's: in one of their own none would work."""
        os.mkdir(self.devices)
        for name in (EMPTY, WORKSHOP):
            os.mkdir(os.path.join(self.devices, os.fsencode(name)), 0o555)
        for name, (major, minor) in DEVICES.items():
            path = os.path.join(self.devices, os.fsencode(name))
            os.mknod(path, stat.S_IFCHR, os.makedev(major, minor))
            os.chmod(path, 0o666)
            os.chown(path, self.first, self.first)

    def show(self, source: bytes, name: bytes, *, read_only: bool) -> bytes:
        """Show a directory of the host, its owners mapped, at ``name`` in the scratch; the path there."""
        target = os.path.join(self.scratch, name)
        os.mkdir(target)
        self.bind(source, target, read_only=read_only)
        return target

    def bind(self, source: bytes, target: bytes, *, read_only: bool, below: bool = False) -> None:
        """Show a directory of the host, its owners mapped, at ``target``, with the mounts ``below`` it or without."""
        tree = clone_mount(source, below=below)
        try:
            restrict_mount(tree, source, read_only=read_only, owners=self.namespace, below=below)
            attach_mount(tree, target)
        finally:
            os.close(tree)
