"""The system calls that Python's standard library lacks. Numbers are the same on x86-64 and arm64 from 424 on.

See unshare(2), mount(2), umount2(2), pivot_root(2), prctl(2), openat2(2), syncfs(2).
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

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

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

_PR_SET_PDEATHSIG = 1
_OPENAT2 = 437
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def unshare(flags: int) -> None:
    """Leave the given namespaces for new ones."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: bytes, target: bytes, kind: bytes, flags: int = 0, data: bytes = b"") -> None:
    """mount(2); an empty kind or data is passed as no pointer."""
    result = _libc.mount(source, target, kind or None, ctypes.c_ulong(flags), data or None)
    _check(result, f"mount {os.fsdecode(kind or source)} on {os.fsdecode(target)}")


def unmount(target: bytes, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(target, flags), f"unmount {os.fsdecode(target)}")


def pivot_root_here() -> None:
    """Make the current directory, which is a mount, the root; the old root is gone from this namespace."""
    number = _PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    unmount(b".", MNT_DETACH)
    os.chdir("/")


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends; ends at once where ``parent`` is not the parent any more."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl")
    if parent and os.getppid() != parent:
        os._exit(125)


def open_beneath(root: int, path: bytes, flags: int, links: bool = True) -> int:
    """Open ``path`` as if ``root`` were the root directory: neither ``..`` nor a link leads out of it.

    Without ``links`` a link on the way is an error (ELOOP).
    """
    resolve = RESOLVE_IN_ROOT | (RESOLVE_NO_MAGICLINKS if links else RESOLVE_NO_SYMLINKS)
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, resolve)
    relative = path.lstrip(b"/") or b"."
    descriptor = _libc.syscall(ctypes.c_long(_OPENAT2), root, relative, how, ctypes.c_size_t(len(how)))
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(path))
    return int(descriptor)


def sync_file_system(descriptor: int) -> None:
    """Write everything of the file system that ``descriptor`` lies on to disk."""
    _check(_libc.syncfs(descriptor), "syncfs")
