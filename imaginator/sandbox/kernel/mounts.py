"""Mounts: made, changed, moved, and the root with them. See mount_namespaces(7)."""

from __future__ import annotations

import ctypes
import os
import struct

from imaginator.sandbox.kernel.calls import call, check, libc

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 0x2

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MOVE_MOUNT_T_SYMLINKS = 0x10
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NOSUID = 0x2
_MOUNT_ATTR_NODEV = 0x4
_MOUNT_ATTR_IDMAP = 0x100000


def mount(source: bytes, target: bytes, kind: bytes, flags: int = 0, data: bytes = b"") -> None:
    """mount(2); an empty kind or data is passed as no pointer."""
    result = libc.mount(source, target, kind or None, ctypes.c_ulong(flags), data or None)
    check(result, f"mount {os.fsdecode(kind or source)} on {os.fsdecode(target)}")


def unmount(target: bytes, flags: int = 0) -> None:
    """umount2(2)."""
    check(libc.umount2(target, flags), f"unmount {os.fsdecode(target)}")


def pivot_root_here() -> None:
    """pivot_root(2): the current directory, a mount, becomes the root; the old one is gone from this namespace."""
    call("pivot_root", b".", b".")
    unmount(b".", MNT_DETACH)
    os.chdir("/")


def clone_mount(source: bytes, *, below: bool = False) -> int:
    """open_tree(2): a descriptor of a new bind mount of a directory that nothing shows yet.

    Mounts ``below`` come with it where that is asked for.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if below else 0)
    return call("open_tree", _AT_FDCWD, source, flags, what=os.fsdecode(source))


def restrict_mount(
    tree: int, what: bytes, *, read_only: bool = False, owners: int | None = None, below: bool = False
) -> None:
    """mount_setattr(2) of a mount of `clone_mount`: no set-id bit and no device works there, nor writing where asked.

    With ``owners``, a user namespace's descriptor, id n of the disk is shown as what n is in that namespace; EINVAL
    then says that the file system cannot do this. With ``below`` all of it holds for the mounts below too.
    """
    flags = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | (_MOUNT_ATTR_RDONLY if read_only else 0)
    flags |= 0 if owners is None else _MOUNT_ATTR_IDMAP
    attributes = struct.pack("QQQQ", flags, 0, 0, owners or 0)
    depth = " and those of the mounts below it" if below else ""
    what_failed = f"{os.fsdecode(what)}: map its owners{depth}" if owners else os.fsdecode(what)
    at = _AT_EMPTY_PATH | (_AT_RECURSIVE if below else 0)
    call("mount_setattr", tree, b"", at, attributes, ctypes.c_size_t(len(attributes)), what=what_failed)


def move_mount(source: bytes, target: int) -> None:
    """move_mount(2): move the mount at ``source``, with what is mounted in it, to the directory of a descriptor."""
    call("move_mount", _AT_FDCWD, source, target, b"", _MOVE_MOUNT_T_EMPTY_PATH, what=os.fsdecode(source))


def attach_mount(tree: int, target: bytes) -> None:
    """move_mount(2): show a mount of `clone_mount` at ``target``, links followed."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_SYMLINKS
    call("move_mount", tree, b"", _AT_FDCWD, target, flags, what=os.fsdecode(target))
