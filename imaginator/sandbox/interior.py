"""What a command sees beside its tree: ``/proc``, ``/sys`` and ``/dev``, each as little as programs can do with.

Done by process 1 of the command's namespaces, which is root there and nothing outside. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from imaginator.sandbox.confinement import DEVICES, EMPTY, MOUNTED, WORKSHOP
from imaginator.sandbox.kernel.files import open_beneath
from imaginator.sandbox.kernel.mounts import (
    MS_BIND,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    attach_mount,
    clone_mount,
    mount,
    move_mount,
    pivot_root_here,
)

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}

DEV_OPTIONS = b"mode=0755,size=1m,nr_inodes=1024"
"""Few inodes: a program that makes one device node after another until one works (busybox' mount) comes to an end."""

READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "fs")
"""What of ``/proc`` is for the host's administrator to write."""

HIDDEN_OF_PROCESSES = (
    *("acpi", "asound", "interrupts", "kallsyms", "kcore", "keys"),
    *("latency_stats", "sched_debug", "scsi", "timer_list"),
)
HIDDEN_OF_SYSTEM = ("devices/virtual/dmi", "devices/virtual/powercap", "firmware")
"""What tells of the host and is of no use to a build: directories are seen empty, files as ``/dev/null``.

What only the host's root may open is not listed: in the build's user namespace nobody is that.
"""

_WORKSHOP = f"/dev/{WORKSHOP}"


def enter_root(mounts: bool) -> None:
    """Make the current directory, a mount, the root, with a ``/dev`` of the nodes that are in the present one.

    With ``mounts`` there are ``/proc`` and ``/sys`` too. Where the image has no such directory, or a link, there is
    none.
    """
    _unlock_root()
    root = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if mounts:
        _furnish(root, b"proc", _mount_processes)
        _furnish(root, b"sys", _mount_system)
    _furnish(root, b"dev", _mount_devices)
    os.close(root)
    pivot_root_here()


def _furnish(root: int, name: bytes, make: Callable[[], None]) -> None:
    """Let ``make`` mount something at `_WORKSHOP`, and move it to a directory of the tree.

    It is made where no other command of the build can reach: in the tree, one that runs beside this could put a link to
    the host in the way of each step.
    """
    try:
        target = open_beneath(root, name, os.O_PATH | os.O_DIRECTORY, links=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return
        raise
    make()
    move_mount(os.fsencode(_WORKSHOP), target)
    os.close(target)


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


def _mount_processes() -> None:
    mount(b"proc", os.fsencode(_WORKSHOP), b"proc", MOUNTED | MS_NOEXEC)
    _forbid_namespaces()
    for name in READ_ONLY:
        path = os.path.join(_WORKSHOP, name)
        with contextlib.suppress(FileNotFoundError):
            _bind(path, path)
            mount(b"none", os.fsencode(path), b"", MS_BIND | MS_REMOUNT | MS_RDONLY | MOUNTED | MS_NOEXEC)
    _hide(HIDDEN_OF_PROCESSES)


def _mount_system() -> None:
    mount(b"sysfs", os.fsencode(_WORKSHOP), b"sysfs", MOUNTED | MS_NOEXEC | MS_RDONLY)
    _hide(HIDDEN_OF_SYSTEM)


def _forbid_namespaces() -> None:
    """Let there be no user namespace within the build's own, whatever asks for one: see namespaces(7)."""
    with open(os.path.join(_WORKSHOP, "sys/user/max_user_namespaces"), "wb", buffering=0) as file:
        file.write(b"0")


def _hide(names: Iterable[str]) -> None:
    for path in (os.path.join(_WORKSHOP, name) for name in names):
        if os.path.lexists(path):
            _bind(f"/dev/{EMPTY}" if is_real_directory(path) else "/dev/null", path)


def _bind(source: str, target: str) -> None:
    mount(os.fsencode(source), os.fsencode(target), b"", MS_BIND)


def _mount_devices() -> None:
    """A small ``/dev``: the usual nodes, terminals of its own, shared memory, links to the open files."""
    os.umask(0)
    mount(b"tmpfs", os.fsencode(_WORKSHOP), b"tmpfs", MS_NOSUID | MS_NOEXEC, DEV_OPTIONS)
    for name in DEVICES:
        path = os.path.join(_WORKSHOP, name)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        _bind(f"/dev/{name}", path)
    for name, target in LINKS.items():
        os.symlink(target, os.path.join(_WORKSHOP, name))
    terminals, memory = (os.path.join(_WORKSHOP, name) for name in ("pts", "shm"))
    os.mkdir(terminals, 0o755)
    options = b"newinstance,ptmxmode=0666,mode=0620,gid=5"
    mount(b"devpts", os.fsencode(terminals), b"devpts", MS_NOSUID | MS_NOEXEC, options)
    os.mkdir(memory, 0o1777)
    mount(b"tmpfs", os.fsencode(memory), b"tmpfs", MOUNTED, b"mode=1777")
