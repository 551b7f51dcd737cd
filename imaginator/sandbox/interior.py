"""What a command sees beside its tree: ``/proc``, ``/sys`` and ``/dev``, each as little as programs can do with.

Done by process 1 of the command's namespaces, which is root there and nothing outside. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import stat

from imaginator.sandbox.confinement import DEVICES, EMPTY, MOUNTED
from imaginator.sandbox.kernel.mounts import (
    MS_BIND,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    attach_mount,
    clone_mount,
    mount,
    pivot_root_here,
)

LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}

DEV_OPTIONS = b"mode=0755,size=1m,nr_inodes=1024"
"""Few inodes: a program that makes one device node after another until one works (busybox' mount) comes to an end."""

READ_ONLY = ("proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus", "proc/fs")
"""What of ``/proc`` is for the host's administrator to write."""

HIDDEN = (
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kallsyms",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "sys/devices/virtual/dmi",
    "sys/devices/virtual/powercap",
    "sys/firmware",
)
"""What tells of the host and is of no use to a build: directories are seen empty, files as ``/dev/null``.

What only the host's root may open is not listed: in the build's user namespace nobody is that.
"""


def enter_root(mounts: bool) -> None:
    """Make the current directory, a mount, the root, with a ``/dev`` of the nodes that are in the present one.

    With ``mounts`` there are ``/proc`` and ``/sys`` too. Where the image has no such directory, or a link, there is
    none.
    """
    _unlock_root()
    if mounts:
        if is_real_directory("proc"):
            mount(b"proc", b"proc", b"proc", MOUNTED | MS_NOEXEC)
            _forbid_namespaces()
        if is_real_directory("sys"):
            mount(b"sysfs", b"sys", b"sysfs", MOUNTED | MS_NOEXEC | MS_RDONLY)
        _mask()
    if is_real_directory("dev"):
        _mount_devices()
    pivot_root_here()


def _unlock_root() -> None:
    """Make the current directory a mount of this namespace: one that came from the host's may not become the root."""
    tree = clone_mount(b".", below=True)
    attach_mount(tree, b".")
    os.fchdir(tree)
    os.close(tree)


def is_real_directory(path: str) -> bool:
    """Whether a mount point is there, and not a link that would lead the mount elsewhere."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _forbid_namespaces() -> None:
    """Let there be no user namespace within the build's own, whatever asks for one: see namespaces(7)."""
    with open("proc/sys/user/max_user_namespaces", "wb", buffering=0) as file:
        file.write(b"0")


def _mask() -> None:
    for path in READ_ONLY:
        with contextlib.suppress(FileNotFoundError):
            _bind(path, path)
            mount(b"none", os.fsencode(path), b"", MS_BIND | MS_REMOUNT | MS_RDONLY | MOUNTED | MS_NOEXEC)
    for path in HIDDEN:
        if os.path.lexists(path):
            _bind(f"/dev/{EMPTY}" if is_real_directory(path) else "/dev/null", path)


def _bind(source: str, target: str) -> None:
    mount(os.fsencode(source), os.fsencode(target), b"", MS_BIND)


def _mount_devices() -> None:
    """A small ``/dev``: the usual nodes, terminals of its own, shared memory, links to the open files."""
    os.umask(0)
    mount(b"tmpfs", b"dev", b"tmpfs", MS_NOSUID | MS_NOEXEC, DEV_OPTIONS)
    for name in DEVICES:
        os.close(os.open(f"dev/{name}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        _bind(f"/dev/{name}", f"dev/{name}")
    for name, target in LINKS.items():
        os.symlink(target, f"dev/{name}")
    os.mkdir("dev/pts", 0o755)
    options = b"newinstance,ptmxmode=0666,mode=0620,gid=5"
    mount(b"devpts", b"dev/pts", b"devpts", MS_NOSUID | MS_NOEXEC, options)
    os.mkdir("dev/shm", 0o1777)
    mount(b"tmpfs", b"dev/shm", b"tmpfs", MOUNTED, b"mode=1777")
