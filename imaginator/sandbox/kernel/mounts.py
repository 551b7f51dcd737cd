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
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 0x2

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
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


def clone_mount(source: bytes) -> int:
    """open_tree(2): a descriptor of a new bind mount of a directory that nothing shows yet; mounts below are left."""
    return call("open_tree", _AT_FDCWD, source, _OPEN_TREE_CLONE | os.O_CLOEXEC, what=os.fsdecode(source))


def map_owners(tree: int, user_namespace: int, what: bytes) -> None:
    """mount_setattr(2), MOUNT_ATTR_IDMAP: let a mount show id n of the disk as what n is in a user namespace.

    ``tree`` is a descriptor of `clone_mount`; EINVAL says that its file system cannot be mapped.
    """
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, user_namespace)
    size = ctypes.c_size_t(len(attributes))
    call("mount_setattr", tree, b"", _AT_EMPTY_PATH, attributes, size, what=f"map the owners of {os.fsdecode(what)}")


def restrict_mount(tree: int, *, read_only: bool) -> None:
    """mount_setattr(2): let no set-id bit and no device work in a mount of `clone_mount`, nor writing where asked."""
    flags = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | (_MOUNT_ATTR_RDONLY if read_only else 0)
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    call("mount_setattr", tree, b"", _AT_EMPTY_PATH, attributes, ctypes.c_size_t(len(attributes)))


def attach_mount(tree: int, target: bytes) -> None:
    """move_mount(2): show a mount of `clone_mount` at ``target``."""
    what = os.fsdecode(target)
    call("move_mount", tree, b"", _AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH, what=what)
